"""Argument checks shared by the public entry points."""

from __future__ import annotations

import math
from numbers import Integral, Real

from escnn_soft.errors import ArgumentError

__all__ = ["class_words", "instance", "integer", "number"]


def instance(name: str, value: object, kind: type, remedy: str) -> None:
    """Refuse a value that is not an instance of ``kind``."""
    if not isinstance(value, kind):
        raise ArgumentError(name, value, class_words(kind), remedy)


def class_words(kind: type) -> str:
    """A class with its article."""
    name = kind.__name__
    return f"{'an' if name.startswith(('A', 'E', 'I', 'O', 'R2', 'R3')) else 'a'} {name}"


def integer(name: str, value: object, *, minimum: int) -> int:
    """Return ``value`` as an int that is at least ``minimum``; booleans are refused."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ArgumentError(
            name, value, f"an integer >= {minimum}", f"Pass {name} as a whole number, {minimum} or more."
        )
    return int(value)


def number(
    name: str, value: object, *, minimum: float, maximum: float, error: type[ArgumentError], remedy: str
) -> float:
    """Return ``value`` as a float in [``minimum``, ``maximum``]; NaN and booleans are refused."""
    expected = f"a number >= {minimum:g}" if maximum == math.inf else f"a number in [{minimum:g}, {maximum:g}]"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise error(name, value, expected, remedy)
    result = float(value)
    if math.isnan(result) or not minimum <= result <= maximum:
        raise error(name, value, expected, remedy)
    return result
