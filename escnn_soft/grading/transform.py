"""The Fourier transform of weights: coefficients graded by level, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.errors import ShapeError
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.levels import Level
from escnn_soft.grading.pair_basis import LAWLESS, LevelKey, PairBasis
from escnn_soft.groups import Irreps

__all__ = ["Block", "WeightTransform", "weight_transform"]

_FUSED = 256
"""Largest matrix between two irreps, d_out * S * d_in, that is formed for fewer pairs of copies than it has rows."""


@dataclass(frozen=True, eq=False)
class Block:
    """The part of the transform between all copies of one output irrep and all copies of one input irrep.

    Attributes:
        basis: graded basis between one copy and another, in float64.
        span: the rows of the basis that are used.
        rows: these rows, on the transform's device in its dtype.  # shape: (D, d_out * S * d_in)
        level: level of each such row.  # shape: (D,)
        copies: (copies of the output irrep, d_out, copies of the input irrep, d_in).
        shape: of the block's coefficients: (pairs of copies, directions).
    """

    basis: PairBasis
    span: slice
    rows: Tensor
    level: Tensor
    copies: tuple[int, int, int, int]
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Look the shape up once."""
        object.__setattr__(self, "shape", (self.copies[0] * self.copies[2], self.rows.shape[0]))

    def narrow(self, start: int, stop: int) -> Block:
        """The part of the block in levels ``start`` to ``stop``, numbered from ``start``."""
        # rows are sorted by level, so a range of levels is a range of rows
        first, last = torch.searchsorted(self.level, self.level.new_tensor([start, stop])).tolist()
        span = slice(self.span.start + first, self.span.start + last)
        return Block(self.basis, span, self.rows[first:last], self.level[first:last] - start, self.copies)

    def to(self, device: torch.device, dtype: torch.dtype) -> Block:
        """The block on a device in a dtype; the cast is shared by all layers."""
        rows = self.basis.cast(device, dtype)[self.span]
        return Block(self.basis, self.span, rows, self.level.to(device), self.copies)

    def weight(self, coefficients: Tensor, gains: Tensor | None) -> Tensor:
        """Weights between irreps, (copies_out * d_out * S, copies_in * d_in), from coefficients."""
        return self._joined(coefficients, self.rows if gains is None else gains[:, None] * self.rows)

    def coefficients(self, weight: Tensor) -> Tensor:
        """Coefficients, (pairs of copies, D), from weights (copies_out * d_out, S, copies_in * d_in)."""
        return self._pairs(weight) @ self._dual.to(weight)

    def multiplier(self, gains: Tensor) -> Tensor | None:
        """dual @ diag(gains) @ rows: analysis, one factor a row, and synthesis as one matrix; None if it is too large.

        Args:
            gains: factors, in the dtype of the rows.  # shape: (D,)

        Returns:
            The matrix.  # shape: (d_out * S * d_in, d_out * S * d_in)
        """
        size = self.rows.shape[1]
        if size > _FUSED and size > self.copies[0] * self.copies[2]:
            return None
        return self._dual.to(self.rows) @ (gains[:, None] * self.rows)

    def multiplied(self, weight: Tensor, gains: Tensor, matrix: Tensor | None) -> Tensor:
        """A weight with each row's part multiplied, (copies_out * d_out * S, copies_in * d_in).

        Args:
            weight: between irreps.  # shape: (copies_out * d_out, S, copies_in * d_in)
            gains: factors.  # shape: (D,)
            matrix: their :meth:`multiplier`.

        Returns:
            The weight.
        """
        if matrix is None:
            return self.weight(self.coefficients(weight), gains)
        return self._joined(self._pairs(weight), matrix)

    def _joined(self, left: Tensor, right: Tensor) -> Tensor:
        """left @ right, a row a pair of copies, as weights (copies_out * d_out * S, copies_in * d_in)."""
        copies_out, d_out, copies_in, d_in = self.copies
        pairs = (left @ right).view(copies_out, copies_in, d_out, -1, d_in)
        return pairs.permute(0, 2, 3, 1, 4).reshape(-1, copies_in * d_in)

    @property
    def _dual(self) -> Tensor:
        return self.rows.mT if self.basis.orthogonal else self.basis.dual[:, self.span]

    def _pairs(self, weight: Tensor) -> Tensor:
        """One row a pair of copies, (pairs, d_out * S * d_in)."""
        copies_out, d_out, copies_in, d_in = self.copies
        weight = weight.reshape(copies_out, d_out, -1, copies_in, d_in).permute(0, 3, 1, 2, 4)
        return weight.reshape(copies_out * copies_in, -1)


@dataclass(frozen=True, eq=False)
class WeightTransform:
    r"""Analysis and synthesis between weights (out, in, S) and coefficients graded by level.

    W = F_out W_hat F_in^T with the two channel frames, and each block of W_hat between the copies of two irreps is
    C @ rows: a small matrix of Clebsch-Gordan coefficients and spatial functions. Synthesis costs
    O(m n (d_out S d_in + field size)) for m x n channels, never O((m n S)^2).

    Attributes:
        group: what acts on the weights.
        frame_out: change of basis of the output channels.
        frame_in: change of basis of the input channels.
        points: S, the number of pixels; 1 for fibre maps.
        blocks: one per pair of irreps, input irreps running fastest.
        row_levels: level of every row of every block.  # shape: (rows of all blocks,)
        levels: levels in the order of the dial.
        exact: whether the group acts on the pixels, so that statements hold for the executed layer.
        metric: L such that ||W L|| is the norm of the coefficients of a weight W within the band limit; None if that is
            ||W||.  # shape: (S, harmonics)
        source: the transform of all weights, if this is that of the weights that a subgroup keeps.
        dependent: how many functions of the band limit are what others make of them on the pixels.
        condition: how much larger, relatively, a change of a weight can be in its coefficients; 1 if orthogonal.
        shape: of the weights: (out, in, S).
    """

    group: Irreps
    frame_out: ChannelFrame
    frame_in: ChannelFrame
    points: int
    blocks: tuple[Block, ...]
    row_levels: Tensor
    levels: tuple[Level, ...]
    exact: bool
    metric: Tensor | None = None
    source: WeightTransform | None = None
    dependent: int = 0
    condition: float = 1.0
    shape: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Look the shape up once."""
        object.__setattr__(self, "shape", (self.frame_out.size, self.frame_in.size, self.points))

    @property
    def whole(self) -> WeightTransform:
        """The transform of all weights; itself, unless it stops at a subgroup."""
        return self if self.source is None else self.source

    @property
    def dim(self) -> int:
        """Number of coefficients."""
        return sum(level.dim for level in self.levels)

    @cached_property
    @lasting()
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""
        return torch.tensor([level.dial for level in self.levels], dtype=torch.float64)

    @cached_property
    @lasting()
    def equivariant(self) -> WeightTransform:
        """The transform restricted to the level of escnn's own basis."""
        return self.band(0, sum(level.equivariant for level in self.levels))

    @cached_property
    @lasting()
    def soft(self) -> WeightTransform:
        """The transform restricted to all other levels: what is soft, whether it breaks the symmetry or not."""
        return self.band(sum(level.equivariant for level in self.levels), len(self.levels))

    def band(self, start: int, stop: int) -> WeightTransform:
        """The transform restricted to ``levels[start:stop]``; a view.

        Analysis drops the other coefficients, synthesis leaves the other levels out.

        Args:
            start: first level.
            stop: level after the last.

        Returns:
            A transform with these levels alone.
        """
        blocks = tuple(block.narrow(start, stop) for block in self.blocks)
        row_levels = torch.cat([block.level for block in blocks])
        return replace(self, blocks=blocks, row_levels=row_levels, levels=self.levels[start:stop])

    def to(self, device: torch.device, dtype: torch.dtype) -> WeightTransform:
        """The transform on a device in a dtype, cast from float64."""
        return replace(
            self,
            frame_out=self.frame_out.to(device, dtype),
            frame_in=self.frame_in.to(device, dtype),
            blocks=tuple(block.to(device, dtype) for block in self.blocks),
            row_levels=self.row_levels.to(device),
            metric=None if self.metric is None else self.metric.to(device, dtype),
        )

    def synthesis(self, coefficients: Tensor, gains: Tensor | None = None) -> Tensor:
        """Weights from coefficients, each level multiplied by its gain.

        Args:
            coefficients: one number a direction, block by block.  # shape: (dim,)
            gains: one factor a level; all ones by default.  # shape: (levels,)

        Returns:
            The weights.  # shape: (out, in, S)
        """
        pieces = self.pieces(coefficients)
        factors: Sequence[Tensor | None] = [None] * len(self.blocks)
        if gains is not None:
            factors = self.row_gains(gains)
        return self._out_of_blocks(
            [block.weight(c, g) for block, c, g in zip(self.blocks, pieces, factors, strict=True)]
        )

    def _out_of_blocks(self, parts: list[Tensor]) -> Tensor:
        """Weights (out, in, S) from their parts between irreps, (copies_out * d_out * S, copies_in * d_in) each."""
        m, n, s = self.shape
        columns = len(self.frame_in.irreps)
        bands = [torch.cat(parts[i : i + columns], dim=1) for i in range(0, len(parts), columns)]
        weight = self.frame_in.out_of_irreps(torch.cat(bands).T)  # shape: (n, m * S)
        weight = self.frame_out.out_of_irreps(weight.T.reshape(m, s * n))
        return weight.view(m, s, n).transpose(1, 2)

    def row_gains(self, gains: Tensor) -> tuple[Tensor, ...]:
        """The gain of each row of each block, from one gain a level."""
        return gains[self.row_levels].split([block.shape[1] for block in self.blocks])

    def isometric(self, weight: Tensor) -> Tensor:
        """What has the norm of the coefficients of a weight (out, in, S) within the band limit."""
        return weight if self.metric is None else weight @ self.metric

    def spread(self, values: Tensor) -> Tensor:
        """One value a coefficient, from one a level.

        Args:
            values: one a level.  # shape: (levels,)

        Returns:
            In the order of :meth:`analysis`.  # shape: (dim,)
        """
        rows = zip(self.row_gains(values), self.blocks, strict=True)
        return torch.cat([row.expand(block.shape).reshape(-1) for row, block in rows])

    def multipliers(self, gains: Tensor) -> list[Tensor | None]:
        """What :meth:`multiplied` needs of some gains, and can be kept with them.

        Args:
            gains: one factor a level.  # shape: (levels,)

        Returns:
            One matrix a block, or None where it would be too large.
        """
        return [block.multiplier(g) for block, g in zip(self.blocks, self.row_gains(gains), strict=True)]

    def multiplied(self, weight: Tensor, gains: Tensor, multipliers: Sequence[Tensor | None]) -> Tensor:
        """Sum over levels of gain * (part of the weight in the level), in one pass, differentiably.

        Args:
            weight: any weight.  # shape: (out, in, S)
            gains: one factor a level.  # shape: (levels,)
            multipliers: of these gains.

        Returns:
            The weight.  # shape: (out, in, S)
        """
        parts = zip(self.blocks, self._into_blocks(weight), self.row_gains(gains), multipliers, strict=True)
        return self._out_of_blocks([block.multiplied(part, g, matrix) for block, part, g, matrix in parts])

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients block by block.

        Args:
            coefficients: one number a direction.  # shape: (dim,)

        Returns:
            Views, one a block.  # each: (pairs of copies, directions)
        """
        shapes = [block.shape for block in self.blocks]
        parts = coefficients.split([rows * columns for rows, columns in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def analysis(self, weight: Tensor) -> Tensor:
        """Coefficients of a weight: the inverse of :meth:`synthesis` on the span of the levels.

        Args:
            weight: any weights; spatial dimensions may be flat or not.  # shape: (out, in, S) or (out, in, k, k)

        Returns:
            One coefficient a direction.  # shape: (dim,)

        Raises:
            ShapeError: if the weight does not have the transform's shape.
        """
        return torch.cat([c.reshape(-1) for c in self.block_coefficients(weight)])

    def block_coefficients(self, weight: Tensor) -> list[Tensor]:
        """As :meth:`analysis`, one matrix (pairs of copies, directions) a block."""
        m, n, s = self.shape
        if tuple(weight.shape[:2]) != (m, n) or weight.numel() != m * n * s:
            expected = f"shape (out, in, *kernel) = ({m}, {n}, ...) with {s} pixels"
            remedy = "Pass a weight of the layer's own types and kernel size."
            raise ShapeError("weight.shape", tuple(weight.shape), expected, remedy)
        return [block.coefficients(part) for block, part in zip(self.blocks, self._into_blocks(weight), strict=True)]

    def _into_blocks(self, weight: Tensor) -> list[Tensor]:
        """The parts of weights between irreps, (copies_out * d_out, S, copies_in * d_in) each."""
        m, n, s = self.shape
        hat = weight.reshape(m, n, s).transpose(1, 2).reshape(m, s * n)
        hat = self.frame_out.into_irreps(hat).view(m * s, n)
        hat = self.frame_in.into_irreps(hat.T).T.reshape(m, s, n)
        heights, widths = ([copies * d for _, copies, d in f.irreps] for f in (self.frame_out, self.frame_in))
        return [part for band in hat.split(heights) for part in band.split(widths, dim=2)]

    def project(self, weight: Tensor) -> Tensor:
        """The part of a weight in the transform's levels, in the weight's shape."""
        return self.synthesis(self.analysis(weight)).reshape(weight.shape)

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight's coefficients in each level, (levels,)."""
        rows = torch.cat([coefficients.square().sum(0) for coefficients in self.block_coefficients(weight)])
        return weight.new_zeros(len(self.levels)).index_add(0, self.row_levels, rows)

    def __deepcopy__(self, memo: dict[int, object]) -> WeightTransform:
        """The transform never changes, so copies of a layer share it."""
        return self


def weight_transform(frame_out: ChannelFrame, frame_in: ChannelFrame, space: KernelSpace) -> WeightTransform:
    """Grade all maps between two sums of fields.

    Args:
        frame_out: channels of the output.
        frame_in: channels of the input.
        space: the functions on the kernel's points.

    Returns:
        The transform.
    """
    pairs = [
        (space.between(out_irrep, in_irrep), (copies_out, d_out, copies_in, d_in))
        for out_irrep, copies_out, d_out in frame_out.irreps
        for in_irrep, copies_in, d_in in frame_in.irreps
    ]
    dims: dict[LevelKey, int] = {}
    for basis, (copies_out, _, copies_in, _) in pairs:
        for key, rows in basis.levels:
            dims[key] = dims.get(key, 0) + copies_out * copies_in * rows
    keys = sorted(dims)
    position = {key: i for i, key in enumerate(keys)}
    blocks = []
    for basis, copies in pairs:
        level = torch.tensor([position[key] for key, rows in basis.levels for _ in range(rows)], dtype=torch.long)
        blocks.append(Block(basis, slice(0, len(level)), basis.rows, level, copies))
    row_levels = torch.cat([block.level for block in blocks])
    source = None if space.whole is None else weight_transform(frame_out, frame_in, space.whole)
    return WeightTransform(
        space.group, frame_out, frame_in, space.points, tuple(blocks), row_levels,
        tuple(_levels(space, keys, dims)), space.exact, space.metric, source, space.dependent,
        space.condition,
    )  # fmt: skip


def _levels(space: KernelSpace, keys: Sequence[LevelKey], dims: Mapping[LevelKey, int]) -> list[Level]:
    """Levels in the order of the dial: within a stage harmonics at sigma, then the remainder; each stage 1 further."""
    levels: list[Level] = []
    for stage, group in groupby(keys, key=lambda key: key[0]):
        members = list(group)
        start = levels[-1].dial + 1.0 if levels else 0.0
        top = max((sigma for _, remainder, sigma, _ in members if not remainder), default=0.0)
        for key in members:
            _, remainder, sigma, irrep = key
            lawless = irrep == LAWLESS
            place = 1.0 + top + (0.0 if lawless else sigma) if remainder else sigma
            keeps = space.stages[stage] if space.stages else None
            id_ = None if lawless else irrep
            levels.append(
                Level(
                    space.group.group, id_, sigma, remainder, start + place, dims[key],
                    start=start, stage=stage, keeps=keeps,
                )
            )  # fmt: skip
    return levels
