"""Field types in words."""

from __future__ import annotations

from collections import Counter

from escnn.nn import FieldType

__all__ = ["between"]


def between(in_type: FieldType, out_type: FieldType) -> str:
    """Two types in words, such as ``irrep_0 -> 2 regular + irrep_0``; fields of one kind are counted together."""
    return f"{_words(in_type)} -> {_words(out_type)}"


def _words(field_type: FieldType) -> str:
    counts = Counter(rho.name for rho in field_type.representations)
    return " + ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())
