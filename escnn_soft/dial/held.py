"""How the weight under a dial is held."""

from __future__ import annotations

from enum import Enum

__all__ = ["Held"]


class Held(Enum):
    """How the weight under a dial is held, which says how a :class:`Graded` softness brings it into its set."""

    COEFFICIENTS = "coefficients of its levels, from which the weight is made"
    TRAINED = "a dense weight that belongs to the layer: its parts in the levels stand for coefficients"
    GIVEN = "a dense weight from elsewhere: what the set allows is left as it is"
