"""Rotary position embeddings: what a turn of the token grid does to the channels of queries and keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
from escnn.gspaces import GSpace2D
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.errors import GridActionError
from escnn_soft.functions import grid_exact
from escnn_soft.grading.positions.permutations import GradedPermutation, SignedPermutations, graded_permutation
from escnn_soft.grading.positions.shifts import TokenShifts
from escnn_soft.grading.positions.tokens import token_permutations
from escnn_soft.groups import fibre_group

__all__ = ["RotaryChannels", "RotaryTable"]

TABLE_TOLERANCE = 1e-4
"""Difference of two columns of a table of angles that counts as none: the tables come in float32."""


@dataclass(frozen=True, eq=False)
class RotaryTable:
    r"""The rotations R(p) = diag(e^(i w_c p)) that a rotary embedding applies to queries and keys at the token p.

    Attention scores <R(p) q(p), R(p') k(p')> depend on the offset p' - p alone. Turning the grid by g permutes and
    flips the axes of the coordinates, hence the pairs of channels:

        R(g p) = pi(g) R(p) pi(g)^-1,      pi(g): pairs are permuted, those of a negated frequency conjugated

    For an embedding along two axes, the four channels of a frequency split into the trivial irrep, x^2 - y^2 and the
    vector (x, y) of D_4.

    Attributes:
        phases: e^(i w_c p).  # shape: (points, pairs), complex
        sides: (rows, columns) of the grid.
        interleaved: whether a pair is two neighbouring channels; else channel c and c + pairs.
    """

    phases: Tensor
    sides: tuple[int, int]
    interleaved: bool

    def __post_init__(self) -> None:
        """Give each table its own memo: all layers of a model share it."""
        object.__setattr__(self, "representation", cache(self.representation))

    @property
    def centred(self) -> bool:
        """Whether coordinates are counted from the centre of the grid, so that R(-p) = R(p)^-1."""
        return bool((self.phases.flip(0) - self.phases.conj()).abs().max() < TABLE_TOLERANCE)

    def representation(self, gspace: GSpace2D) -> SignedPermutations:
        """pi: how the group acts on the channels of a head; ``GridActionError`` where the embedding is not closed."""
        if not grid_exact(gspace):
            remedy = "Take C_2, C_4, D_1, D_2 or D_4: other rotations send no axis of the embedding to an axis."
            raise GridActionError("gspace", gspace, "a group that permutes the rotary axes", remedy)
        source = token_permutations(gspace, self.sides).source  # source[g, p] = g^-1 p
        # an offset of the coordinates is a constant phase, which cancels between two rotated tokens
        centred = (self.phases / _mean_phase(self.phases)).numpy()
        matched = [_matched(centred[np.argsort(moved)], centred) for moved in source.numpy()]
        if any(match is None for match in matched):
            remedy = "Frequencies that are mixed or learned per direction are sent to others; leave these layers out."
            raise GridActionError("gspace", gspace, "a rotary embedding whose frequencies the group permutes", remedy)
        pairs = np.stack([match[0] for match in matched if match is not None])
        flips = np.stack([match[1] for match in matched if match is not None])
        _check_law(gspace, pairs, flips)
        return self._on_channels(pairs, flips)

    def _on_channels(self, pairs: NDArray[np.int64], flips: NDArray[np.float64]) -> SignedPermutations:
        n = pairs.shape[1]
        real, imaginary = (np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)) if self.interleaved else (
            np.arange(n), np.arange(n, 2 * n))  # fmt: skip
        source, sign = np.empty((len(pairs), 2 * n), dtype=np.int64), np.ones((len(pairs), 2 * n))
        source[:, real], source[:, imaginary], sign[:, imaginary] = real[pairs], imaginary[pairs], flips
        return SignedPermutations(torch.from_numpy(source), torch.from_numpy(sign))


@dataclass(frozen=True, eq=False)
class RotaryChannels:
    r"""The rows of a projection that are queries and keys of a rotary embedding, head by head, and others after them.

    Channels of tokens that the group leaves alone, as those behind an invariant patch embedding, admit only queries and
    keys with pi(g) q = q at softness 0: one channel in four of an embedding along two axes. The score is then a sum of
    cos(w_c (y - y')) + cos(w_c (x - x')), which still tells distances; everything else comes back with the softness.

    Attributes:
        table: the rotations.
        blocks: how many heads, queries and keys together.
        others: rows after them that are not rotated.
        prefixed: whether class or register tokens are attended that are not rotated.
    """

    table: RotaryTable
    blocks: int
    others: int = 0
    prefixed: bool = True

    def __str__(self) -> str:
        return f"{self.blocks} x {2 * self.table.phases.shape[1]} channels"

    def graded(self, symmetry: GSpace2D | TokenShifts, shape: tuple[int, ...]) -> GradedPermutation:
        """Grade the rows of a projection, or its bias.

        Args:
            symmetry: gspace on the plane.
            shape: of the weight or bias.

        Returns:
            The splitting, in float64.

        Raises:
            GridActionError: if the group does not act on the embedding's channels.
        """
        if isinstance(symmetry, TokenShifts):
            remedy = "Scores depend on offsets, so that shifts change nothing but what wraps around the edges."
            raise GridActionError("symmetry", symmetry, "turns or mirrors for a rotary embedding", remedy)
        if self.prefixed and not self.table.centred:
            expected = "rotary coordinates from the centre of the grid, as class tokens attend without a rotation"
            raise GridActionError("symmetry", symmetry, expected, "Leave these layers out.")
        pi = self.table.representation(symmetry)
        size, blocks = pi.source.shape[1], self.blocks
        source = (pi.source[:, None, :] + size * torch.arange(blocks)[:, None]).flatten(1)
        assert pi.sign is not None
        rows = SignedPermutations(source, pi.sign.repeat(1, blocks)).fixed(0, self.others)
        return graded_permutation(fibre_group(symmetry), rows, trail=shape[1] if len(shape) > 1 else 1)


def _mean_phase(phases: Tensor) -> Tensor:
    """The phase at the centre of the grid: the square root of opposite phases' product, the same for all of them."""
    square = phases[0] * phases[-1]
    root = square.sqrt()
    return root / root.abs()


def _matched(
    moved: NDArray[np.complex128], table: NDArray[np.complex128]
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """For each column of the moved table the column that it equals, and -1 where it is its conjugate; or None."""
    free, pairs, flips = list(range(table.shape[1])), [], []
    for column in moved.T:
        for c in free:
            plain = np.abs(column - table[:, c]).max() < TABLE_TOLERANCE
            if plain or np.abs(column - table[:, c].conj()).max() < TABLE_TOLERANCE:
                break
        else:
            return None
        free.remove(c)
        pairs.append(c)
        flips.append(1.0 if plain else -1.0)
    return np.array(pairs), np.array(flips)


def _check_law(gspace: GSpace2D, pairs: NDArray[np.int64], flips: NDArray[np.float64]) -> None:
    """pi(g) pi(h) = pi(gh), which columns that occur several times could spoil."""
    elements = list(gspace.fibergroup.elements)
    for (i, g), (j, h) in product(enumerate(elements), repeat=2):
        k = elements.index(g @ h)
        same = (pairs[j][pairs[i]] == pairs[k]).all() and (flips[j][pairs[i]] * flips[i] == flips[k]).all()
        if not same:
            remedy = "Leave these layers out."
            raise GridActionError("gspace", gspace, "a rotary embedding whose frequencies the group permutes", remedy)
