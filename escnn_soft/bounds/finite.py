"""No certificate of what is not a number: every comparison with it would be False, and so a check of it pass."""

from __future__ import annotations

from torch import Tensor

from escnn_soft.errors import ArgumentError

__all__ = ["check_finite"]

_LARGEST = 1e150
"""Squares of what is larger overflow in double precision."""


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN, infinities, and what is too large to be squared.

    Args:
        name: what the tensor is called.
        tensor: in double precision.

    Raises:
        ArgumentError: if there is any.
    """
    bad = ~(tensor.abs() <= _LARGEST)
    if bool(bad.any()):
        value = f"{int(bad.sum())} of {bad.numel()} entries, the first {float(tensor[bad][0])}"
        expected = f"a {name} of finite numbers, at most {_LARGEST:g},"
        raise ArgumentError(name, value, expected, "There is no error to certify: look for where training diverged.")
