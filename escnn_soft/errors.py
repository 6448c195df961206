"""One class per way of being wrong; every message names the value, what was expected and the remedy."""

from __future__ import annotations

import reprlib
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = [
    "AliasedBasisError",
    "ArgumentError",
    "BasisFilterError",
    "DtypeError",
    "EmptyBasisError",
    "EscnnSoftError",
    "FieldTypeError",
    "GSpaceError",
    "GridActionError",
    "MissingPackageError",
    "NoPlainLayerError",
    "RepresentationError",
    "ShapeError",
    "SoftnessError",
    "shown",
]

_LONGEST = 200
"""Characters of a value that a message shows."""


class _Shortened(reprlib.Repr):
    """``reprlib``, for which a tensor or an array is its shape and dtype, and a network its class."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST

    def repr1(self, x: object, level: int) -> str:
        tensor = getattr(x, "tensor", x)  # a GeometricTensor holds one
        shape, dtype = getattr(tensor, "shape", None), getattr(tensor, "dtype", None)
        if isinstance(shape, tuple) and shape and dtype is not None:
            return f"{type(x).__name__.lower()}(shape={tuple(shape)}, dtype={dtype})"
        if hasattr(x, "named_modules") or is_dataclass(x):
            whole = repr(x)
            if "\n" in whole:  # a network, or tensors inside
                return f"{whole.partition('(')[0]}({self._inside(x, level - 1)})"
        if isinstance(x, dict):  # an OrderedDict, such as a state_dict, is shortened as well
            return self.repr_dict(x, level)
        return super().repr1(x, level)

    def _inside(self, x: Any, level: int) -> str:
        if not is_dataclass(x) or level <= 0:
            return self.fillvalue
        return ", ".join(f"{field.name}={self.repr1(getattr(x, field.name), level)}" for field in fields(x))


def shown(value: object) -> str:
    """A representation for a message: one line of at most 200 characters, whatever the value.

    Args:
        value: anything.

    Returns:
        Its ``repr``, shortened in the middle; of a tensor or an array shape and dtype
        alone, of a network its class.

    Example:
        >>> import torch
        >>> shown(torch.zeros(3, 4)), shown([torch.nn.Parameter(torch.zeros(2))])
        ('tensor(shape=(3, 4), dtype=torch.float32)', '[parameter(shape=(2,), dtype=torch.float32)]')
        >>> len(shown(list(range(10**6)))), len(shown("x" * 10**6))
        (23, 200)
    """
    try:
        line = " ".join(_Shortened().repr(value).split())
    except Exception as error:  # a value's own code may raise anything, and must not hide what is wrong with it
        return f"<{type(value).__name__} without a repr: {type(error).__name__}>"
    half = (_LONGEST - 3) // 2
    return line if len(line) <= _LONGEST else f"{line[:half]}...{line[-half:]}"


class EscnnSoftError(Exception):
    """Base class of every error that this library raises on purpose.

    The message reads ``Expected <expected> but got <name>=<value> (type=<type>). <remedy>``, with the value as
    :func:`shown`.

    Args:
        name: what the caller calls the value.
        value: the offending value; the attribute keeps it as it is.
        expected: what was expected, as a noun phrase.
        remedy: what to do about it, as a sentence.
    """

    def __init__(self, name: str, value: object, expected: str, remedy: str) -> None:
        self.name, self.value, self.expected, self.remedy = name, value, expected, remedy
        super().__init__(f"Expected {expected} but got {name}={shown(value)} (type={type(value).__name__}). {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process the value goes as it is shown: it may be a network, or hold what does not pickle."""
        words = {"name": self.name, "expected": self.expected, "remedy": self.remedy, "value": shown(self.value)}
        return _again, (type(self), str(self), words)


def _again(cls: type[EscnnSoftError], message: str, words: dict[str, str]) -> EscnnSoftError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    vars(error).update(words)
    return error


class ArgumentError(EscnnSoftError, ValueError):
    """An argument has the wrong type or lies outside its domain."""


class SoftnessError(ArgumentError):
    """A softness is neither a number in [0, 1] nor a policy."""


class ShapeError(ArgumentError):
    """A tensor has the wrong shape."""


class DtypeError(ArgumentError):
    """A tensor has the wrong dtype, or lives on the wrong device."""


class FieldTypeError(ArgumentError):
    """A field type does not fit the layer or its partner."""


class GSpaceError(FieldTypeError):
    """A field type lives on a space on which the layer is not defined."""


class RepresentationError(FieldTypeError):
    """A representation is not orthogonal, so that lengths and angles of weights have no meaning."""


class GridActionError(ArgumentError):
    """A group element does not map the pixel grid to itself."""


class EmptyBasisError(ArgumentError):
    """A band limit holds no function of which a kernel could be made."""


class AliasedBasisError(ArgumentError):
    """Sampled harmonics are linearly dependent on the pixels: no layer minds, and nothing raises this any more.

    The name stays until version 0.3, like all of version 0.1.
    """


class BasisFilterError(ArgumentError):
    """A basis filter does not act on rings and frequencies alone."""


class NoPlainLayerError(ArgumentError, NotImplementedError):
    """No layer of torch's computes what a layer does: it has no ``export`` and no projected training."""


class MissingPackageError(EscnnSoftError, ImportError):
    """A package is needed that is not installed, or not in this version. The message ends with the command to run."""

    name: str  # ImportError's own may be None
