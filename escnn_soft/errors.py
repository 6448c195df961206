"""One class per way of being wrong; every message names the value, what was expected and the remedy."""

from __future__ import annotations

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
    "RepresentationError",
    "ShapeError",
    "SoftnessError",
]


class EscnnSoftError(Exception):
    """Base class of every error that this library raises on purpose.

    The message reads ``Expected <expected> but got <name>=<value> (type=<type>). <remedy>``.

    Args:
        name: what the caller calls the value.
        value: the offending value.
        expected: what was expected, as a noun phrase.
        remedy: what to do about it, as a sentence.
    """

    def __init__(self, name: str, value: object, expected: str, remedy: str) -> None:
        self.name, self.value, self.expected, self.remedy = name, value, expected, remedy
        super().__init__(f"Expected {expected} but got {name}={value!r} (type={type(value).__name__}). {remedy}")


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
    """There is no equivariant map between the two types, so escnn cannot build the layer."""


class AliasedBasisError(ArgumentError):
    """Sampled harmonics are linearly dependent on the pixels, so that weights have no unique spectrum."""


class BasisFilterError(ArgumentError):
    """A basis filter does not act on rings and frequencies alone."""


class MissingPackageError(EscnnSoftError, ImportError):
    """A package is needed that is not installed, or not in this version. The message ends with the command to run."""

    name: str  # ImportError's own may be None
