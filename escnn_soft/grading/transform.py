"""The Fourier transform of weights: coefficients graded by level, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from itertools import groupby

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.errors import ShapeError
from escnn_soft.grading.arranged import arranged, stacked
from escnn_soft.grading.arrangement import Arrangement, OneByOne, Split
from escnn_soft.grading.block import Block
from escnn_soft.grading.factors import times
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.levels import Level
from escnn_soft.grading.pair_basis import LAWLESS, LevelKey
from escnn_soft.grading.synthesis import synthesised
from escnn_soft.grading.together import Together
from escnn_soft.groups import Irreps
from escnn_soft.linalg.one_step import linear_map

__all__ = ["Block", "WeightTransform", "weight_transform"]


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
    _one_by_one: OneByOne = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look the shape up once, and line the blocks up."""
        object.__setattr__(self, "shape", (self.frame_out.size, self.frame_in.size, self.points))
        blocks = OneByOne(self.blocks, self.frame_out, self.frame_in, self.points)
        object.__setattr__(self, "_one_by_one", blocks)

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
        """The transform on a device in a dtype, cast from float64 once and remembered."""
        casts: dict[object, WeightTransform] = self.__dict__.setdefault("_casts", {})
        if (device, dtype) not in casts:
            casts[device, dtype] = self._cast(device, dtype)
        return casts[device, dtype]

    @torch.inference_mode(False)
    def _cast(self, device: torch.device, dtype: torch.dtype) -> WeightTransform:
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
        a = self.arrangement
        return synthesised(a, gains, [coefficients], a.pieces, a.coefficients)

    def joint_synthesis(self, equivariant: Tensor, soft: Tensor, gains: Tensor | None = None) -> Tensor:
        """As :meth:`synthesis`, from the coefficients of :attr:`equivariant` and those of :attr:`soft`.

        Args:
            equivariant: of the first level.
            soft: of the others.
            gains: one factor a level, the first included; all ones by default.  # shape: (levels,)

        Returns:
            The weights.  # shape: (out, in, S)
        """
        a, split = self.arrangement, self.split
        return synthesised(
            a, gains, [equivariant, soft], lambda e, s: a.joint_pieces(split, e, s), lambda p: a.split(split, p)
        )

    def prepare(self, *, joint: bool = False) -> None:
        """Build what a compiler would see being built.

        Args:
            joint: for :meth:`joint_synthesis`.
        """
        _ = self.arrangement
        if joint:
            self.arrangement.prepare(self.split)

    @cached_property
    @lasting()
    def split(self) -> Split:
        """Where the coefficients of the first level lie, and the others."""
        first = tuple(block.shape[1] for block in self.equivariant.blocks)
        return Split(tuple(block.shape for block in self.blocks), first)

    @property
    def arrangement(self) -> Arrangement:
        """How the blocks are multiplied; a compiler sees them one by one where nothing has been prepared."""
        found: Arrangement | None = self.__dict__.get("_arranged")
        if found is None:
            if torch.compiler.is_compiling():
                return self._one_by_one
            found = self.__dict__["_arranged"] = arranged(self._one_by_one)
        return found

    @cached_property
    @lasting()
    def stacks(self) -> OneByOne | Together:
        """The blocks in stacks, as far as that takes less time."""
        found = self.arrangement
        return found if isinstance(found, OneByOne | Together) else stacked(self._one_by_one)

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
            One stack of matrices a unit of the arrangement, or None where it would be too large.
        """
        return [unit.multiplier(gains[unit.levels]) for unit in self.arrangement.units]

    def multiplied(self, weight: Tensor, gains: Tensor, multipliers: Sequence[Tensor | None]) -> Tensor:
        """Sum over levels of gain * (part of the weight in the level), in one pass, differentiably.

        Args:
            weight: any weight.  # shape: (out, in, S)
            gains: one factor a level.  # shape: (levels,)
            multipliers: of these gains.

        Returns:
            The weight.  # shape: (out, in, S)
        """
        a = self.arrangement
        damping = [unit.row_gains(gains) for unit in a.units]
        units = list(zip(a.units, damping, multipliers, strict=True))

        def forth(w: Tensor) -> Tensor:
            parts = zip(units, a.parts(w), strict=True)
            return a.weight([u.through(times(p, u.dual), g) if m is None else p @ m for (u, g, m), p in parts])

        def back(w: Tensor) -> Tensor:
            parts = zip(units, a.parts(w), strict=True)
            return a.weight([times(u.onto(p, g), u.dual.mT) if m is None else p @ m.mT for (u, g, m), p in parts])

        return forth(weight) if gains.requires_grad else linear_map(forth, back, weight)

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients block by block.

        Args:
            coefficients: one number a direction.  # shape: (dim,)

        Returns:
            Views, one a block.  # each: (pairs of copies, directions)
        """
        return self._one_by_one.pieces(coefficients)

    def analysis(self, weight: Tensor) -> Tensor:
        """Coefficients of a weight: the inverse of :meth:`synthesis` on the span of the levels.

        Args:
            weight: any weights; spatial dimensions may be flat or not.  # shape: (out, in, S) or (out, in, k, k)

        Returns:
            One coefficient a direction.  # shape: (dim,)

        Raises:
            ShapeError: if the weight does not have the transform's shape.
        """
        m, n, s = shape = self.shape
        if tuple(weight.shape[:2]) != (m, n) or weight.numel() != m * n * s:
            expected = f"shape (out, in, *kernel) = ({m}, {n}, ...) with {s} pixels"
            remedy = "Pass a weight of the layer's own types and kernel size."
            raise ShapeError("weight.shape", tuple(weight.shape), expected, remedy)
        a = self.arrangement
        duals = [unit.dual.to(weight.device, weight.dtype) for unit in a.units]

        def forth(w: Tensor) -> Tensor:
            return a.coefficients([times(p, dual) for p, dual in zip(a.parts(w), duals, strict=True)])

        def back(c: Tensor) -> Tensor:
            return a.weight([times(p, dual.mT) for p, dual in zip(a.pieces(c), duals, strict=True)])

        return linear_map(forth, back, weight.reshape(shape))

    def block_coefficients(self, weight: Tensor) -> list[Tensor]:
        """As :meth:`analysis`, one matrix (pairs of copies, directions) a block."""
        return self.pieces(self.analysis(weight))

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

    def __getstate__(self) -> dict[str, object]:
        """What is remembered stays behind."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, object]) -> None:
        """As it was built."""
        self.__dict__.update(state)


@lru_cache(maxsize=256)
def weight_transform(frame_out: ChannelFrame, frame_in: ChannelFrame, space: KernelSpace) -> WeightTransform:
    """Grade all maps between two sums of fields; layers of one geometry share their transform.

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
