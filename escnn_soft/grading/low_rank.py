"""Coefficients as sums of a few products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.nearest_products import Blocks, Factors, nearest_products
from escnn_soft.grading.transform import WeightTransform

__all__ = ["LowRank"]

_EXACT = 1e-9
"""Relative error below which factors that are there already stand for some coefficients."""


@dataclass(frozen=True, eq=False)
class LowRank:
    r"""The coefficients of weights that are sums of ``rank`` products, which all levels share.

    The coefficients between the copies i of an irrep l of the output and the copies j of an irrep m of the input, in
    the directions d of all levels, are

        C_lm[i, j, d] = sum over k = 1 .. rank of U_l[i, k] V_m[j, k] W_lm[k, d]

    So a weight is a sum of ``rank`` terms: a map V[:, k] to one copy of each irrep, an unconstrained kernel W[k]
    between these, and a map U[:, k] to all copies. The two maps are equivariant. The group acts on the directions d
    alone, of which W holds all: g moves W[k] and leaves U and V, so that the weights that are reached, and those of
    them in any levels, are stable under the group. Gains multiply columns of W, so that a dial turns exactly.

    That is rank * (copies of all irreps + directions between single copies) numbers, where there are copies times
    copies times directions. A block of no more pairs of copies than ``rank`` keeps its coefficients themselves; where
    the factors would take as many numbers as the coefficients, all blocks do.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), for the idea; Kolda and
    Bader, "Tensor Decompositions and Applications" (SIAM Review 51, 2009), section 3, for the sum of products.

    Attributes:
        rank: number of products.
        copies_out: of each irrep of the output.
        copies_in: of each irrep of the input.
        directions: between one copy and another, of each block, the irreps of the input running fastest.
        factored: which blocks are products.

    Example:
        >>> from escnn import group, gspaces
        >>> from escnn_soft.grading import fibre_transform
        >>> space = gspaces.no_base_space(group.cyclic_group(4))
        >>> fields = [space.regular_repr] * 16
        >>> soft = fibre_transform(space, fields, fields).soft
        >>> soft.dim, LowRank.of(soft, rank=2).numbers
        (3072, 216)
    """

    rank: int
    copies_out: tuple[int, ...]
    copies_in: tuple[int, ...]
    directions: tuple[int, ...]
    factored: tuple[bool, ...]

    def __post_init__(self) -> None:
        """Look up once what a compiler would see being looked up."""
        _ = self._alike

    @staticmethod
    def of(transform: WeightTransform, rank: int) -> LowRank:
        """The sums of products among the coefficients of a transform.

        Args:
            transform: of the levels that are meant.
            rank: number of products.

        Returns:
            The layout of their factors.
        """
        copies_out, copies_in = (
            [copies for _, copies, _ in f.irreps] for f in (transform.frame_out, transform.frame_in)
        )
        directions = [block.shape[1] for block in transform.blocks]
        pairs = [a * b for a, b in product(copies_out, copies_in)]
        factored = [n > rank and d > 0 for n, d in zip(pairs, directions, strict=True)]
        found = LowRank(rank, tuple(copies_out), tuple(copies_in), tuple(directions), tuple(factored))
        if found.numbers < transform.dim:
            return found
        return LowRank(rank, found.copies_out, found.copies_in, found.directions, (False,) * len(factored))

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Irrep of the output and of the input of each block."""
        return tuple(product(range(len(self.copies_out)), range(len(self.copies_in))))

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """How many numbers W has, block by block, and U and V, irrep by irrep."""
        blocks = list(zip(self.places, self.directions, self.factored, strict=True))
        kernels = [d * (self.rank if f else self.copies_out[i] * self.copies_in[j]) for (i, j), d, f in blocks]
        out, into = ({place[side] for place, _, f in blocks if f} for side in (0, 1))
        return (
            tuple(kernels),
            tuple(self.rank * copies * (i in out) for i, copies in enumerate(self.copies_out)),
            tuple(self.rank * copies * (j in into) for j, copies in enumerate(self.copies_in)),
        )

    @property
    def dim(self) -> int:
        """Number of coefficients."""
        pairs = (self.copies_out[i] * self.copies_in[j] for i, j in self.places)
        return sum(n * d for n, d in zip(pairs, self.directions, strict=True))

    @property
    def numbers(self) -> int:
        """How many numbers W, U and V have together."""
        return sum(map(sum, self.sizes))

    @cached_property
    def _alike(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """The irreps of the output and of the input that have one number of copies, where there are products."""
        _, out, into = self.sizes
        rows, columns = (
            [tuple(i for i, size in enumerate(sizes) if size == same) for same in sorted({*sizes} - {0})]
            for sizes in (out, into)
        )
        return tuple(product(rows, columns))

    def coefficients(self, kernels: Tensor, out: Tensor, into: Tensor) -> Tensor:
        """The coefficients that factors stand for, differentiably.

        Args:
            kernels: W, block by block, and the coefficients of blocks that are no products.
            out: U, irrep by irrep.
            into: V, likewise.

        Returns:
            In the order of the transform.  # shape: (dim,)
        """
        w, u, v = (t.split(sizes) for t, sizes in zip((kernels, out, into), self.sizes, strict=True))
        pieces = list(w)
        for rows, columns in self._alike:  # in few operations: blocks are many and small
            a = torch.stack([u[i] for i in rows]).unflatten(1, (-1, 1, self.rank))
            c = torch.stack([v[j] for j in columns]).unflatten(1, (1, -1, self.rank))
            pairs = (a[:, None] * c).flatten(2, 3).flatten(0, 1).unbind()
            for (i, j), pair in zip(product(rows, columns), pairs, strict=True):
                b = i * len(self.copies_in) + j
                if self.factored[b]:
                    pieces[b] = (pair @ w[b].view(self.rank, -1)).flatten()
        return torch.cat(pieces)

    def drawn(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """U and V to begin with: columns of length 1, on average, so that a step of W is about one of the coefficients.

        Args:
            like: tells device and dtype.

        Returns:
            U and V, normal.
        """
        copies = self.copies_out, self.copies_in
        out, into = (
            [like.new_empty(size).normal_(std=c**-0.5) for size, c in zip(sizes, each, strict=True)]
            for sizes, each in zip(self.sizes[1:], copies, strict=True)
        )
        return torch.cat(out), torch.cat(into)

    def kernels(self, coefficients: Tensor, out: Tensor, into: Tensor) -> Tensor:
        """The W with which U and V come closest to some coefficients.

        Args:
            coefficients: in double precision.  # shape: (dim,)
            out: U.
            into: V.

        Returns:
            W, and the coefficients of blocks that are no products.
        """
        u, v = self._matrices(out, into)
        found = []
        for piece, (i, j), factored in zip(self._pieces(coefficients), self.places, self.factored, strict=True):
            if factored:
                pairs = (u[i][:, None] * v[j]).flatten(0, 1)
                found.append((torch.linalg.pinv(pairs) @ piece.flatten(0, 1)).flatten())
            else:
                found.append(piece.flatten())
        return torch.cat(found)

    @torch.no_grad()
    @torch.inference_mode(False)
    def nearest(self, coefficients: Tensor, out: Tensor, into: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Factors of what comes close to some coefficients: those that are there if they will do, others if not.

        Args:
            coefficients: of any weight.  # shape: (dim,)
            out: U as it is, which also fills columns that are not needed.
            into: V, likewise.

        Returns:
            W, U and V, in double precision on the CPU.
        """
        with lasting():
            wanted, u, v = (t.detach().double().cpu() for t in (coefficients, out, into))
            w = self.kernels(wanted, u, v)
            if float((self.coefficients(w, u, v) - wanted).norm()) <= _EXACT * float(wanted.norm()):
                return w, u, v
            blocks: Blocks = {
                place: piece
                for piece, place, factored in zip(self._pieces(wanted), self.places, self.factored, strict=True)
                if factored
            }
            factors = nearest_products(blocks, self.rank, self._matrices(u, v))
            u, v = (torch.cat([side[i].flatten() for i in sorted(side)]) for side in factors)
            return self.kernels(wanted, u, v), u, v

    def _pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients block by block, (copies_out, copies_in, directions)."""
        shapes = [
            (self.copies_out[i], self.copies_in[j], d) for (i, j), d in zip(self.places, self.directions, strict=True)
        ]
        parts = coefficients.split([a * b * d for a, b, d in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _matrices(self, out: Tensor, into: Tensor) -> Factors:
        """U and V, (copies, rank) for each irrep that has them."""
        first, second = (
            {i: part.view(-1, self.rank) for i, part in enumerate(t.split(sizes)) if part.numel()}
            for t, sizes in zip((out, into), self.sizes[1:], strict=True)
        )
        return first, second

    def __deepcopy__(self, memo: dict[int, object]) -> LowRank:
        """It never changes, so copies of a layer share it."""
        return self
