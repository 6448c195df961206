"""Padding by zeros, constants or pixels of the image, and cropping."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Rule, not_permuting

__all__ = ["Padding"]


class Padding(Rule):
    """More pixels around the image, or fewer: each pixel of the result is a constant or a copy of one of the image."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """Square root of how often a pixel is copied, the product over the axes."""
        if call.module.mode == "constant":
            return (1.0,)
        copies = 1
        for axis, (before, after) in enumerate(self._margins(call)):
            pixels = torch.arange(call.x.shape[2 + axis], dtype=torch.float64)[None, None]
            line = F.pad(pixels, (before, after), mode=call.module.mode).flatten().long()
            copies *= int(torch.bincount(line).max()) if line.numel() else 1
        return (math.sqrt(copies),)

    def refusal(self, call: Call, row: int) -> str | None:
        """Margins have to be alike on both sides of every axis that moves; a constant has to be invariant."""
        margins = self._margins(call)
        for axis, source in call.action.motion(row):
            if len({*margins[axis], *margins[source]}) > 1:
                return f"padding {call.module.pad} differs between sides that the element swaps"
        added = call.module.mode == "constant" and call.module.value != 0
        return not_permuting(call.action, row) if added else None

    def offset(self, call: Call) -> float:
        """The constant, at every pixel that is added."""
        return abs(float(call.module.value)) * math.sqrt(call.output[0].numel())

    def _margins(self, call: Call) -> list[tuple[int, int]]:
        """Pixels before and after, axis by axis in the order of storage; torch has the last axis first."""
        pad, dims = call.module.pad, call.x.ndim - 2
        pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
        return [*reversed(pairs + [(0, 0)] * (dims - len(pairs)))]
