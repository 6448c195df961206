"""How a convolution, transposed or not, moves over its input: norms, centring, and which axes it treats alike."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from escnn_soft.linalg import convolution_norm

__all__ = ["Geometry", "Movement", "TransposedGeometry", "per_axis"]

KernelNorm = Callable[[Tensor, Sequence[int] | None, int], float]
"""Bounds the norm of a kernel, with its stride and dilation: by its frequencies, or by its unfoldings."""


def per_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One value for each axis, where a single number stands for all of them."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


@dataclass(frozen=True)
class Movement(ABC):
    """What convolutions and transposed ones have in common; axes are in the order of storage, (..., height, width).

    Attributes:
        stride: step of the kernel.
        padding: pixels added on each side, or taken away where transposed.
        dilation: spacing of the kernel's pixels.
        groups: blocks of fields that are convolved separately.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: int
    groups: int

    @abstractmethod
    def norm(self, kernel: Tensor, bounded_by: KernelNorm = convolution_norm) -> float:
        """Upper bound on the operator norm of a kernel (out, in, *sizes), for images of any size."""

    @abstractmethod
    def blocks(self, kernel: Tensor) -> tuple[Tensor, ...]:
        """The kernels of the groups."""

    @abstractmethod
    def repetition(self) -> float:
        """Upper bound on the norm of the padding itself."""

    @abstractmethod
    def off_centre(self, kernel_size: int, size: int, axis: int) -> str | None:
        """Why the layer is not symmetric about the image's centre along an axis; None if it is."""

    @property
    def conditions(self) -> str:
        """Where operator bounds hold, in words; empty if everywhere."""
        return ""

    @property
    def unequal(self) -> tuple[str, ...]:
        """Arguments that may differ between the axes."""
        return "stride", "padding"

    def lopsided(self, first: int, second: int) -> str | None:
        """Which argument differs between two axes; None if they are treated alike."""
        for name in self.unequal:
            values = getattr(self, name)
            if values[first] != values[second]:
                return f"{name} {values}"
        return None


@dataclass(frozen=True)
class Geometry(Movement):
    """How a convolution moves over its input.

    Attributes:
        padding_mode: what is added.
    """

    padding_mode: str = "zeros"

    @staticmethod
    def of(
        stride: int | tuple[int, ...],
        padding: int | tuple[int, ...],
        dilation: int,
        padding_mode: str,
        groups: int,
        dims: int = 2,
    ) -> Geometry:
        """A geometry from the arguments of a convolution, where one number stands for all axes."""
        return Geometry(per_axis(stride, dims), per_axis(padding, dims), dilation, groups, padding_mode)

    def blocks(self, kernel: Tensor) -> tuple[Tensor, ...]:
        """The kernels of the groups: rows."""
        return kernel.chunk(self.groups)

    @property
    def conditions(self) -> str:
        """The stride has to fit."""
        if max(self.stride) == 1:
            return ""
        return f"where (size + 2 padding - dilation (k - 1) - 1) is a multiple of the stride {self.stride}"

    def off_centre(self, kernel_size: int, size: int, axis: int) -> str | None:
        """Why the windows along an axis are not symmetric about the image's centre; None if they are."""
        span, stride, padding = self.dilation * (kernel_size - 1) + 1, self.stride[axis], self.padding[axis]
        rest = (size + 2 * padding - span) % stride
        if rest == 0:
            return None
        return (
            f"stride {stride} is off-centre on size {size}: "
            f"({size} + 2 * {padding} - {span}) % {stride} = {rest}, and it should be 0"
        )

    def norm(self, kernel: Tensor, bounded_by: KernelNorm = convolution_norm) -> float:
        """Upper bound on the operator norm of the convolution, for images of any size.

        Padding repeats pixels, r times at most along an axis, and so multiplies norms by sqrt(r) at most. Where the
        output is not larger than the input, it is also a part of the convolution, of stride 1, of the periodic
        continuation of the image (circular), of its mirrored one with twice the period (reflect), or of an image whose
        last pixels are repeated (replicate; a single pixel meets the symbol at frequency 0).

        Args:
            kernel: in double precision.  # shape: (out, in / groups, *sizes)
            bounded_by: what bounds the norm of a kernel.

        Returns:
            The bound.
        """
        blocks, dilation = self.blocks(kernel), self.dilation
        largest = max(bounded_by(block, self.stride, dilation) for block in blocks)
        if self.padding_mode == "zeros" or not any(self.padding):
            return largest
        padded = largest * self.repetition()
        if any(2 * p > dilation * (kernel.shape[-1] - 1) for p in self.padding):
            return padded
        dims = len(self.padding)
        repeated = {"circular": [1] * dims, "reflect": [2] * dims, "replicate": [p + 1 for p in self.padding]}
        factor = self._factor(repeated[self.padding_mode])
        return min(padded, max(bounded_by(block, None, 1) for block in blocks) * factor)

    def _factor(self, repeated: Sequence[int]) -> float:
        """sqrt of how often a pixel occurs, over the axes that are padded."""
        return math.prod(math.sqrt(r) for r, padding in zip(repeated, self.padding, strict=True) if padding > 0)

    def repetition(self) -> float:
        """Upper bound on the norm of the padding itself."""
        if self.padding_mode == "zeros":
            return 1.0
        reflects = self.padding_mode != "replicate"
        return self._factor([3 if reflects else 2 * padding + 1 for padding in self.padding])


@dataclass(frozen=True)
class TransposedGeometry(Movement):
    """How a transposed convolution spreads its input: pixel x of the input is the centre of a kernel at stride * x.

    Attributes:
        output_padding: pixels added at the end of each axis of the output; they lie to one side of the centre.
    """

    output_padding: tuple[int, ...]

    def blocks(self, kernel: Tensor) -> tuple[Tensor, ...]:
        """The kernels of the groups: columns."""
        return torch.chunk(kernel, self.groups, dim=1)

    @property
    def conditions(self) -> str:
        """Padding of the output must not lie along an axis that is moved."""
        if not any(self.output_padding):
            return ""
        return f"along whose axes the output_padding {self.output_padding} is 0"

    @property
    def unequal(self) -> tuple[str, ...]:
        """Stride, padding and output padding."""
        return "stride", "padding", "output_padding"

    def off_centre(self, kernel_size: int, size: int, axis: int) -> str | None:
        """Why the output is not symmetric about the image of the input's centre; None if it is, for every size."""
        extra = self.output_padding[axis]
        return f"output_padding {extra} lies on one side of the output only" if extra else None

    def norm(self, kernel: Tensor, bounded_by: KernelNorm = convolution_norm) -> float:
        """Upper bound on the norm of a kernel (out / groups, in, *sizes): that of the adjoint convolution."""
        adjoints = (block.transpose(0, 1) for block in self.blocks(kernel))
        return max(bounded_by(adjoint, self.stride, self.dilation) for adjoint in adjoints)

    def repetition(self) -> float:
        """Nothing is repeated."""
        return 1.0
