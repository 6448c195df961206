"""Results as plain JSON: one way for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

__all__ = ["Record", "as_json"]


@dataclass(frozen=True)
class Record:
    """A result that can be written down: the base of every status, spectrum, certificate and measurement.

    Attributes:
        recorded: properties that are written down beside the fields; ``a.b`` is one of a property, under the key
            ``a_b``.
    """

    recorded: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON: what ``json.dumps(..., allow_nan=False)`` takes.

        The keys are the names of the fields that :class:`dataclasses.dataclass` shows, which leaves out tensors and
        groups, and then of the properties in ``recorded``. Tuples become lists, results inside it dictionaries; None
        stands for what is not finite, such as the supremum of an error that has none. Policies and group elements are
        given in words.

        Returns:
            A new dictionary.

        Example:
            >>> import torch
            >>> from escnn import gspaces
            >>> from escnn_soft import soft_status, soften
            >>> model = soften(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)), 0.3, gspace=gspaces.rot2dOnR2(4))
            >>> layer = soft_status(model).to_dict()["layers"][0]
            >>> layer["name"], layer["softness"], layer["breaking"] < 0.3
            ('0', 0.3, True)
        """
        names = [each.name for each in fields(self) if each.repr]
        return {name.replace(".", "_"): as_json(attrgetter(name)(self)) for name in (*names, *self.recorded)}


def as_json(value: object) -> Any:
    """A value as :meth:`Record.to_dict` writes it.

    Args:
        value: anything.

    Returns:
        None, a bool, int, finite float, string, list or dictionary.

    Example:
        >>> as_json({"a": (1, float("inf"), np.float32(0.5)), "b": slice(2)})
        {'a': [1, None, 0.5], 'b': 'slice(None, 2, None)'}
    """
    if isinstance(value, Record):
        return value.to_dict()
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {" ".join(str(key).split()): as_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(entry) for entry in value]
    return " ".join(str(value).split())  # escnn writes rotations in space on three lines
