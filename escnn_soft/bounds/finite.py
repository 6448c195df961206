"""No certificate of what is not a number: every comparison with it would be False, and so a check of it pass."""

from __future__ import annotations

from torch import Tensor

from escnn_soft.errors import ArgumentError

__all__ = ["check_finite"]

_LARGEST, _SMALLEST = 1e150, 1e-140
"""Squares of what is larger overflow in double precision, those of what is smaller lose digits."""


def check_finite(name: str, tensor: Tensor, *, alone: bool = True) -> None:
    """Refuse NaN, infinities, and what is too large or, altogether, too small to be squared.

    Args:
        name: what the tensor is called.
        tensor: in double precision.
        alone: whether errors are relative to it, and not to something beside which it may be next to nothing.

    Raises:
        ArgumentError: if there is any.
    """
    bad = ~(tensor.abs() <= _LARGEST)
    if bool(bad.any()):
        value = f"{int(bad.sum())} of {bad.numel()} entries, the first {float(tensor[bad][0])}"
        expected = f"a {name} of finite numbers, at most {_LARGEST:g},"
        raise ArgumentError(name, value, expected, "There is no error to certify: look for where training diverged.")
    largest = float(tensor.abs().amax()) if tensor.numel() else 0.0
    if alone and 0.0 < largest < _SMALLEST:
        expected = f"a {name} of zeros, or with an entry of at least {_SMALLEST:g},"
        raise ArgumentError(name, f"entries of at most {largest:.3g}", expected, "Scale it up: errors are relative.")
