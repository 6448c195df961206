"""escnn's weights as coefficients of the equivariant level: the kernel they stand for, without expanding its basis."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from escnn.nn.modules.basismanager.basisexpansion_singleblock import SingleBlockBasisExpansion
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.escnn.sampled_basis import SampledBasis, pair_blocks, projected, version_of
from escnn_soft.grading import ChannelFrame, Field, WeightTransform
from escnn_soft.grading.arrangement import OneByOne
from escnn_soft.grading.block import Block
from escnn_soft.grading.factors import times
from escnn_soft.linalg.one_step import linear_map

__all__ = ["StrictCoefficients", "expands_slowly", "takes_long"]

_MANY = 5
"""Pairs of representations above which escnn's expansion, which takes one after the other, takes longer."""
_LARGE = 150
"""Products for each number of the kernel above which it does."""

_WIDE = 150
"""Points of a kernel from which coefficients cost more than reading the elements."""
_MUCH = 2**24
"""Numbers of escnn's elements between two fields above which their coefficients then take seconds to find."""


@dataclass(frozen=True, eq=False)
class StrictCoefficients:
    """c = P (A_1 w_1, A_2 w_2, ...): one small matrix for each pair of representations, and a permutation.

    escnn's own expansion multiplies the weights by all pixels of its basis, which may be many times the kernel.

    Attributes:
        matrices: coefficients of escnn's elements between single fields, transposed.  # each: (elements, directions)
        pairs: number of pairs of fields of each.
        order: where each coefficient of the level is found, block by block; behind the last if escnn has none.
        places: where each that is found belongs.
        bases: escnn's elements that the matrices are made of, with their versions.
    """

    matrices: tuple[Tensor, ...]
    pairs: tuple[int, ...]
    order: Tensor
    places: Tensor
    bases: tuple[tuple[Tensor, int], ...]

    @staticmethod
    @lasting()
    def of(
        expansion: SampledBasis, equivariant: WeightTransform, in_fields: Sequence[Field], out_fields: Sequence[Field]
    ) -> StrictCoefficients:
        """The map of a layer.

        Args:
            expansion: escnn's elements, which lie in the equivariant level.
            equivariant: this level, in float64.
            in_fields: fields of the input.
            out_fields: fields of the output.

        Returns:
            The map, in float64 on the CPU.
        """
        level, blocks = _Level.of(equivariant, in_fields, out_fields), list(pair_blocks(expansion))
        matrices = tuple(level.matrix_of(pair, block) for pair, block in blocks)
        found = [level.places(pair).flatten() for pair, _ in blocks]
        places = torch.cat([torch.zeros(0, dtype=torch.long), *found])
        order = torch.full((equivariant.dim,), len(places)).index_copy(0, places, torch.arange(len(places)))
        pairs = tuple(_count(expansion, pair) for pair, _ in blocks)
        return StrictCoefficients(matrices, pairs, order.int(), places.int(), tuple(_versions(expansion)))

    @torch.inference_mode(False)
    def to(self, device: torch.device, dtype: torch.dtype) -> StrictCoefficients:
        """The map on a device in a dtype."""
        return replace(
            self,
            matrices=tuple(matrix.to(device, dtype) for matrix in self.matrices),
            order=self.order.to(device),
            places=self.places.to(device),
        )

    def made_of(self, expansion: SampledBasis) -> bool:
        """Whether escnn's elements are still those that the map is made of."""
        now = _versions(expansion)
        return all(a[0] is b[0] and a[1] == b[1] for a, b in zip(self.bases, now, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> StrictCoefficients:
        """The map of a copied layer: made of the copies of escnn's elements, the rest shared."""
        copies = [copy.deepcopy(basis, memo) for basis, _ in self.bases]
        return replace(self, bases=tuple((basis, version_of(basis)) for basis in copies))

    def __call__(self, weights: Tensor) -> Tensor:
        """The coefficients (dim,), differentiably, from weights in escnn's order and the dtype of the map."""
        return linear_map(self._forth, self._back, weights)

    def _forth(self, weights: Tensor) -> Tensor:
        parts = weights.split([n * len(a) for n, a in zip(self.pairs, self.matrices, strict=True)])
        each = zip(parts, self.pairs, self.matrices, strict=True)
        found = [(part.view(n, len(a)) @ a).reshape(-1) for part, n, a in each]
        if len(self.places) < len(self.order) or not found:
            found.append(weights.new_zeros(1))
        return (found[0] if len(found) == 1 else torch.cat(found)).index_select(0, self.order)

    def _back(self, gradient: Tensor) -> Tensor:
        found = gradient.index_select(0, self.places)
        parts = found.split([n * a.shape[1] for n, a in zip(self.pairs, self.matrices, strict=True)])
        each = zip(parts, self.pairs, self.matrices, strict=True)
        own = [(part.view(n, a.shape[1]) @ a.mT).reshape(-1) for part, n, a in each]
        return own[0] if len(own) == 1 else torch.cat([*own, found[:0]])


def expands_slowly(expansion: SampledBasis, numbers: int) -> bool:
    """Whether escnn's expansion of its weights takes longer than their coefficients and a synthesis.

    Args:
        expansion: escnn's elements.
        numbers: of the kernel.

    Returns:
        The answer, by a rule that was measured on one core for kernels of 4 kB to 4 MB.
    """
    blocks = list(pair_blocks(expansion))
    products = sum(_count(expansion, pair) * block.sampled_basis.numel() for pair, block in blocks)
    return len(blocks) > _MANY or products > _LARGE * numbers


def takes_long(expansion: SampledBasis, points: int) -> bool:
    """Whether a layer would take seconds to build for the coefficients of escnn's elements.

    Where kernels are as large as that, expanding the elements at each pass costs little beside the convolution.

    Args:
        expansion: escnn's elements.
        points: of a kernel.

    Returns:
        The answer.
    """
    return points >= _WIDE and any(block.sampled_basis.numel() > _MUCH for _, block in pair_blocks(expansion))


def _count(expansion: SampledBasis, pair: tuple[str, str]) -> int:
    """Pairs of fields of two representations (input, output)."""
    count: int = expansion._out_count[pair[1]] * expansion._in_count[pair[0]]
    return count


@dataclass(frozen=True, eq=False)
class _Level:
    """The equivariant level of a layer, as its single fields have part in it.

    Attributes:
        level: the level, in float64.
        blocks: of the level, with the place of their first coefficient, by irreps of (output, input).
        fields: by name, those of the output and those of the input.
        copies: likewise, which copy of an irrep among all fields each copy in each of the fields of a name is.
            # each: (fields, copies)
    """

    level: WeightTransform
    blocks: dict[tuple[IrrepId, IrrepId], tuple[Block, int]]
    fields: tuple[dict[str, Field], dict[str, Field]]
    copies: tuple[dict[tuple[str, IrrepId], Tensor], dict[tuple[str, IrrepId], Tensor]]

    @staticmethod
    def of(level: WeightTransform, in_fields: Sequence[Field], out_fields: Sequence[Field]) -> _Level:
        sizes = torch.tensor([0, *(math.prod(block.shape) for block in level.blocks)]).cumsum(0).tolist()
        names = [(o, i) for o, _, _ in level.frame_out.irreps for i, _, _ in level.frame_in.irreps]
        blocks = dict(zip(names, zip(level.blocks, sizes, strict=False), strict=True))
        both = out_fields, in_fields
        fields = tuple({rho.name: rho for rho in some} for some in both)
        return _Level(level, blocks, fields, tuple(_copies(some) for some in both))  # type: ignore[arg-type]

    def pieces(self, pair: tuple[str, str]) -> tuple[ChannelFrame, ChannelFrame, tuple[tuple[IrrepId, IrrepId], ...]]:
        """The frames of a single field of each of two representations (input, output), and the irreps between them."""
        group = self.level.group
        frame_in, frame_out = (ChannelFrame.of(group, [self.fields[1 - k][pair[k]]]) for k in (0, 1))
        return frame_out, frame_in, tuple((o, i) for o, _, _ in frame_out.irreps for i, _, _ in frame_in.irreps)

    def matrix_of(self, pair: tuple[str, str], block: SingleBlockBasisExpansion) -> Tensor:
        """:meth:`matrix` of escnn's elements, remembered for all layers with this tensor."""
        basis, kept = block.sampled_basis, vars(block).setdefault("_strict_coefficients", [])
        graded = [self.blocks[name][0].basis for name in self.pieces(pair)[2]]
        key = [basis, *graded]
        same = kept and len(kept[0]) == len(key) and all(a is b for a, b in zip(kept[0], key, strict=True))
        if not (same and kept[1] == version_of(basis)):
            kept[:] = key, version_of(basis), self.matrix(pair, basis)
        matrix: Tensor = kept[2]
        return matrix

    def matrix(self, pair: tuple[str, str], basis: Tensor) -> Tensor:
        """Coefficients of elements (elements, out, in, S) between two representations, one row an element."""
        frame_out, frame_in, names = self.pieces(pair)
        copies = [(*o[1:], *i[1:]) for o in frame_out.irreps for i in frame_in.irreps]
        blocks = []
        for name, (c_out, d_out, c_in, d_in) in zip(names, copies, strict=True):
            whole, _ = self.blocks[name]
            blocks.append(Block(whole.basis, whole.span, whole.rows, whole.level, (c_out, d_out, c_in, d_in)))
        one = OneByOne(tuple(blocks), frame_out, frame_in, self.level.points)

        def analysis(element: Tensor) -> Tensor:
            parts = zip(one.units, one.parts(element.double()), strict=True)
            return one.coefficients([times(part, unit.dual) for unit, part in parts])

        return projected(analysis, basis.cpu())

    def places(self, pair: tuple[str, str]) -> Tensor:
        """Where the coefficients of all pairs of fields of two representations belong, (out, in, directions)."""
        _, _, names = self.pieces(pair)
        result = []
        for o, i in names:
            block, start = self.blocks[o, i]
            rows, columns = self.copies[0][pair[1], o], self.copies[1][pair[0], i]
            copies = rows[:, None, :, None] * block.copies[2] + columns[None, :, None, :]
            directions = copies[..., None] * block.shape[1] + torch.arange(block.shape[1])
            result.append(start + directions.flatten(2))
        return torch.cat(result, dim=2)


def _copies(fields: Sequence[Field]) -> dict[tuple[str, IrrepId], Tensor]:
    """Which copy of an irrep each is, as a frame counts them: fields of one name together."""
    found: dict[tuple[str, IrrepId], list[list[int]]] = {}
    counts: dict[IrrepId, int] = {}
    for name in dict.fromkeys(rho.name for rho in fields):
        for rho in (rho for rho in fields if rho.name == name):
            mine: dict[IrrepId, list[int]] = {}
            for irrep in map(tuple, rho.irreps):
                mine.setdefault(irrep, []).append(counts.get(irrep, 0))
                counts[irrep] = counts.get(irrep, 0) + 1
            for irrep, copies in mine.items():
                found.setdefault((name, irrep), []).append(copies)
    return {key: torch.tensor(copies) for key, copies in found.items()}


def _versions(expansion: SampledBasis) -> Iterator[tuple[Tensor, int]]:
    """escnn's elements, pair by pair, and how often each was written to."""
    for _, block in pair_blocks(expansion):
        yield block.sampled_basis, version_of(block.sampled_basis)
