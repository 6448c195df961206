"""What a dial needs of a weight: its parts in each level, whatever the weight is."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from escnn_soft.grading.factors import dense
from escnn_soft.grading.levels import Level
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.linalg.one_step import one_step

__all__ = ["GradedPixels", "GradedWeight", "Grading", "SpectralGrading", "without_band_limit"]


@runtime_checkable
class Grading(Protocol):
    """A splitting of all weights of a shape into levels: W = sum over levels of the part of W in the level.

    Immutable: :meth:`to` gives another one, and copies of a module share it.
    """

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels in the order of the dial."""

    @property
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""

    def filtered(self, weight: Tensor, gains: Tensor) -> Tensor:
        """The weight with its part in each level multiplied by a gain, differentiably in both.

        Args:
            weight: in the dtype and on the device of the last :meth:`to`.
            gains: likewise.  # shape: (levels,)

        Returns:
            The sum of gain * part, in the weight's shape; exactly the weight where all gains are 1.
        """

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight in each level, differentiably, (levels,)."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Grading:
        """The splitting on a device in a dtype, cast from float64."""


@runtime_checkable
class SpectralGrading(Grading, Protocol):
    """A splitting that comes from the irreps of a group, so that a ``Budget`` can bound the error of a weight."""

    @property
    def transform(self) -> WeightTransform:
        """The spectrum that grades the weights."""

    @property
    def whole(self) -> SpectralGrading:
        """The splitting of all weights; itself, unless it stops at a subgroup."""

    def block_coefficients(self, weight: Tensor) -> list[Tensor]:
        """Coefficients of a weight, one matrix (pairs of copies, directions) a block of the transform."""


@dataclass(frozen=True, eq=False)
class GradedWeight:
    """Maps between sums of fields, graded by a transform.

    Attributes:
        transform: the spectrum; the weights are (out, in, *pixels), or (out,) for a single column. Of one that stops at
            a subgroup, what breaks the subgroup does not pass.
    """

    transform: WeightTransform
    _kept: list[tuple[weakref.ref[Tensor], int, list[Tensor | None] | None]] = field(default_factory=list, repr=False)
    """The multipliers of the gains that came last: a dial that is not turned hands in the same tensors again."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels in the order of the dial."""
        return self.transform.levels

    @property
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""
        return self.transform.dial

    @property
    def whole(self) -> GradedWeight:
        """The splitting of all weights; itself, unless it stops at a subgroup."""
        return self if self.transform.source is None else GradedWeight(self.transform.source)

    def block_coefficients(self, weight: Tensor) -> list[Tensor]:
        """Coefficients of a weight, one matrix (pairs of copies, directions) a block."""
        return self.transform.block_coefficients(weight.reshape(self.transform.shape))

    def filtered(self, weight: Tensor, gains: Tensor) -> Tensor:
        """The weight with its part in each level multiplied by a gain, in one pass."""
        multipliers = self._multipliers(gains)
        if multipliers is None:
            return weight
        shaped = weight.reshape(self.transform.shape)
        return self.transform.multiplied(shaped, gains, multipliers).reshape(weight.shape)

    def isometric(self, weight: Tensor) -> Tensor:
        """What has the norm of the coefficients of a weight within the band limit."""
        return self.transform.isometric(weight.reshape(self.transform.shape))

    @cached_property
    def _complete(self) -> bool:
        """Whether the levels hold every weight."""
        return self.transform.dim == math.prod(self.transform.shape)

    def _multipliers(self, gains: Tensor) -> list[Tensor | None] | None:
        """The matrices between irreps, None for the identity."""
        traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0  # nothing may be kept then
        if traced or gains.requires_grad or gains.is_inference():
            return self.transform.multipliers(gains)
        others = list(self._kept)  # whatever other threads do meanwhile
        for reference, version, multipliers in others:
            if reference() is gains and version == gains._version:
                return multipliers
        with torch.inference_mode(False):
            unchanged = self._complete and bool((gains == 1).all())
            multipliers = None if unchanged else self.transform.multipliers(gains)
        # a limited dial asks for two kinds of gains in turn
        self._kept[:] = [(weakref.ref(gains), gains._version, multipliers), *others[:1]]
        return multipliers

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight's coefficients in each level, (levels,)."""
        return self.transform.energies(weight.reshape(self.transform.shape))

    def to(self, device: torch.device, dtype: torch.dtype) -> GradedWeight:
        """The splitting on a device in a dtype."""
        return GradedWeight(self.transform.to(device, dtype))

    def __deepcopy__(self, memo: dict[int, object]) -> GradedWeight:
        """It never changes, so copies of a module share it."""
        return self

    def __reduce__(self) -> tuple[type[GradedWeight], tuple[WeightTransform]]:
        """What is kept stays behind."""
        return GradedWeight, (self.transform,)


_PART = 512
"""Rows whose products are added in the weight's own precision."""
_NARROW = 16
"""Rows of at most so many numbers are multiplied in twos: BLAS takes half of the time for them."""


@dataclass(frozen=True, eq=False)
class GradedPixels:
    """Functions on pixels whose channels the group leaves alone: one small matrix acts on the pixels of every channel.

    Attributes:
        transform: the spectrum between one scalar and another, all levels of it, in float64.
        analysis: from pixels to coefficients.  # shape: (S, S)
        synthesis: from coefficients to pixels.  # shape: (S, S)
    """

    transform: WeightTransform
    analysis: Tensor
    synthesis: Tensor

    @staticmethod
    def of(transform: WeightTransform) -> GradedPixels:
        """The splitting of the functions on a transform's pixels."""
        (block,) = transform.blocks
        return GradedPixels(transform, dense(block.basis.dual)[:, block.span], dense(block.rows))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels in the order of the dial; ``dim`` is that of one channel."""
        return self.transform.levels

    @property
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""
        return self.transform.dial

    @property
    def whole(self) -> GradedPixels:
        """Itself: it never stops at a subgroup."""
        return self

    def block_coefficients(self, weight: Tensor) -> list[Tensor]:
        """Coefficients of a weight, (channels, S)."""
        return [_times(weight.reshape(-1, len(self.analysis)), self.analysis)]

    def products(self, coefficients: Tensor) -> Tensor:
        """Sums over the channels of products of two coefficients each, differentiably.

        Args:
            coefficients: of a scale in which no square under- or overflows.  # shape: (channels, S)

        Returns:
            coefficients^T coefficients, in float64.  # shape: (S, S)
        """

        def forth(c: Tensor) -> Tensor:
            together = _together(c)
            whole, rest = together.split([len(together) // _PART * _PART, len(together) % _PART])
            parts = whole.view(-1, _PART, together.shape[1])  # whose sums are short, as rounding grows with them
            sums = (parts.mT @ parts).sum(0, dtype=torch.float64) + rest.mT @ rest
            size = c.shape[1]
            return sums if len(sums) == size else sums[:size, :size] + sums[size:, size:]

        def back(gradient: Tensor, c: Tensor) -> tuple[Tensor]:
            return (_times(c, (gradient + gradient.mT).to(c)),)

        return one_step(forth, back, coefficients)

    def synthesised(self, coefficients: Tensor, gains: Tensor) -> Tensor:
        """Functions (channels, S) from their coefficients, those of each level multiplied by a gain."""
        return _times(coefficients, gains[self.transform.row_levels, None] * self.synthesis)

    def filtered(self, weight: Tensor, gains: Tensor) -> Tensor:
        """The weight with its part in each level multiplied by a gain."""
        less = (gains - 1)[self.transform.row_levels]
        matrix = torch.eye(len(less), device=less.device, dtype=less.dtype) + self.analysis @ (
            less[:, None] * self.synthesis
        )
        return _times(weight.reshape(-1, len(less)), matrix).reshape(weight.shape)

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight's coefficients in each level, (levels,)."""
        rows = self.block_coefficients(weight)[0].square().sum(0)
        return weight.new_zeros(len(self.levels)).index_add(0, self.transform.row_levels, rows)

    def to(self, device: torch.device, dtype: torch.dtype) -> GradedPixels:
        """The splitting on a device in a dtype."""
        transform = replace(self.transform, row_levels=self.transform.row_levels.to(device))
        return GradedPixels(transform, self.analysis.to(device, dtype), self.synthesis.to(device, dtype))

    def __deepcopy__(self, memo: dict[int, object]) -> GradedPixels:
        """It never changes, so copies of a module share it."""
        return self


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows @ matrix, of channels (channels, S)."""
    together = _together(rows)
    if together.shape == rows.shape:
        return rows @ matrix
    return (together @ torch.block_diag(matrix, matrix)).view(len(rows), -1)


def _together(rows: Tensor) -> Tensor:
    """Two rows as one where they are short."""
    n, size = rows.shape
    return rows.reshape(n // 2, 2 * size) if 1 < size <= _NARROW and n % 2 == 0 else rows


def without_band_limit(transform: WeightTransform) -> WeightTransform:
    """A transform whose remainder levels are on the dial by their violation alone.

    Args:
        transform: of a group that acts on the pixels, built without harmonics.

    Returns:
        The same transform; its equivariant level holds every equivariant weight.
    """
    levels = tuple(replace(level, remainder=False, dial=level.sigma) for level in transform.levels)
    return replace(transform, levels=levels)
