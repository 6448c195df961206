"""Modules of the user: their Lipschitz constant is claimed, their equivariance is checked on the input."""

from __future__ import annotations

import math
from collections.abc import Callable

from escnn.nn import FieldType, GeometricTensor
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, rounded
from escnn_soft.certification.tensor_action import Action

__all__ = ["Registered"]


class Registered(Rule):
    """A module with a constant of the user's; it has to be equivariant up to rounding.

    Args:
        constant: the function given to ``register_lipschitz``.
        action: the function given to ``register_action``, or None.
    """

    kind = "registered"

    def __init__(self, constant: Callable[..., float], action: Callable[..., FieldType] | None) -> None:
        self.constant, self.action = constant, action

    @property
    def everywhere(self) -> bool:
        """On the orbit of the input, as ``register_lipschitz`` asks for."""
        return False

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """As claimed."""
        field_type = call.types[0]
        value = self.constant(call.module, call.x if field_type is None else GeometricTensor(call.x, field_type))
        valid = isinstance(value, int | float) and value >= 0
        return ((float(value) if valid else math.inf),) * len(call.inputs)

    def no_constant(self, call: Call) -> str:
        """What was registered is no constant."""
        return "what register_lipschitz returns for it is not a finite number >= 0"

    def own(self, call: Call, row: int) -> Deviation | None:
        """Checked by a measurement."""
        return None

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """A sum over everything that a sample holds, as the module is not known."""
        constant = max(1.0, float(self.lipschitz(call, reach)[0]))
        return rounded(call, constant * norms, 64.0 + 2.0 * math.sqrt(call.x[0].numel()))

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """As registered, or as the type of the output says."""
        if self.action is not None and call.types[0] is not None:
            out_type = self.action(call.module, call.type)
        return super().out_action(call, out_type)


def exceeds(measured: Tensor, allowance: Tensor) -> str | None:
    """Why a module that claims to be equivariant is not, with the figure."""
    over = measured > allowance
    if not bool(over.any()):
        return None
    worst = float(measured[over].max())
    return f"it claims to be equivariant, but ||f(g x) - g f(x)|| = {worst:.3g} on this input"
