"""The errors of a kernel on its pixels, element by element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from escnn_soft._record import Record
from escnn_soft.errors import ArgumentError, shown

__all__ = ["PixelErrors"]


@dataclass(frozen=True)
class PixelErrors(Record):
    """Errors ||g . K - K|| of a kernel's pixels, for the elements that move pixels onto pixels.

    Attributes:
        elements: these elements, a subgroup.
        errors: one an element.
        norm: ||K||_F over the pixels.
    """

    recorded: ClassVar[tuple[str, ...]] = ("rms", "sup", "relative.rms", "relative.sup")

    elements: tuple[Any, ...]
    errors: tuple[float, ...]
    norm: float

    def at(self, element: Any) -> float:
        """||g . K - K||_F at one of the elements; ``ArgumentError`` at any other."""
        for g, error in zip(self.elements, self.errors, strict=True):
            if g == element:
                return error
        expected = f"one of {shown(self.elements)}, which move pixels onto pixels"
        raise ArgumentError("element", element, expected, "Ask the certificate itself: it has the continuous kernel.")

    def profile(self) -> tuple[tuple[Any, float], ...]:
        """Pairs of an element and its error."""
        return tuple(zip(self.elements, self.errors, strict=True))

    @property
    def sup(self) -> float:
        """Largest error."""
        return max(self.errors)

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return math.sqrt(sum(error**2 for error in self.errors) / len(self.errors))

    @property
    def relative(self) -> PixelErrors:
        """The errors as fractions of the norm."""
        scale = 1.0 / self.norm if self.norm > 0 else 0.0
        return PixelErrors(self.elements, tuple(scale * e for e in self.errors), scale * self.norm)
