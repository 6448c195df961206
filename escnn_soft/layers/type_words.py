"""Field types in words."""

from __future__ import annotations

from collections import Counter

from escnn.nn import FieldType

__all__ = ["between", "words"]


def between(in_type: FieldType, out_type: FieldType) -> str:
    """Two types in words, such as ``irrep_0 -> 2 regular + irrep_0``; fields of one kind are counted together."""
    return f"{words(in_type)} -> {words(out_type)}"


def words(field_type: FieldType) -> str:
    """A type in words."""
    counts = Counter(rho.name for rho in field_type.representations)
    return " + ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())
