"""Sums of products that come close to some tensors, by alternating least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Blocks", "Factors", "nearest_products"]

Blocks = dict[tuple[int, int], Tensor]
"""Tensors (copies_out, copies_in, directions), by the irreps l and m between which they are."""

Factors = tuple[dict[int, Tensor], dict[int, Tensor]]
"""U_l and V_m, (copies, rank), by irrep."""

_SWEEPS = 100
_POLISHING = 10
"""Sweeps between the leading subspaces of all copies, where they cost little, and between the copies themselves."""
_PROGRESS = 1e-3
"""Relative gain of a sweep below which there is no other."""
_DEPENDENT = 1e-12
"""Relative size of a singular value, or of a column, that counts as none."""


def nearest_products(blocks: Blocks, rank: int, others: Factors) -> Factors:
    r"""U and V of sums of products that come close to some tensors, for all of which they are the same.

        minimise  sum over l, m of || C_lm - sum over k of U_l[:, k] (x) V_m[:, k] (x) W_lm[k] ||^2

    One of U, V and W is solved for at a time, first between the ``rank`` leading directions of each irrep's copies. Of
    two starts the better one is taken: columns drawn by chance, and eigenvectors, which are the answer where the
    tensors are such sums of no more products than there are copies. Elsewhere a local minimum is found, not always the
    best.

    Source: Kolda and Bader, "Tensor Decompositions and Applications" (SIAM Review 51, 2009), figure 3.3, here with
    factors in common; the leading directions are their higher-order SVD, figure 4.3. Leurgans, Ross and Abel, "A
    Decomposition for Three-Way Arrays" (SIAM J. Matrix Anal. Appl. 14, 1993), for the eigenvectors.

    Args:
        blocks: C, in double precision.
        rank: number of products.
        others: columns to put where fewer than ``rank`` are needed.

    Returns:
        U and V with columns of length 1.
    """
    sides = [{place[side] for place in blocks} for side in (0, 1)]
    frames = [{i: _leading(_unfolded(blocks, side, i), rank) for i in sides[side]} for side in (0, 1)]
    cores = {(i, j): torch.einsum("ia,ijd,jb->abd", frames[0][i], c, frames[1][j]) for (i, j), c in blocks.items()}
    starts = [start for start in (_eigenvectors(cores, rank), _by_chance(cores, rank)) if start is not None]
    tried = [_swept(cores, start, _SWEEPS) for start in starts]
    u, v, _ = min(tried, key=lambda found: found[2])
    u, v = ({i: frame[i] @ m for i, m in side.items()} for frame, side in zip(frames, (u, v), strict=True))
    u, v, _ = _swept(blocks, (u, v), _POLISHING)
    return _unit(u, others[0]), _unit(v, others[1])


def _by_chance(cores: Blocks, rank: int) -> Factors:
    """Normal columns, the same each time."""
    generator = torch.Generator().manual_seed(0)
    u: dict[int, Tensor] = {}
    v: dict[int, Tensor] = {}
    for (i, j), c in cores.items():
        for side, irrep, copies in ((u, i, c.shape[0]), (v, j, c.shape[1])):
            if irrep not in side:
                side[irrep] = torch.randn(copies, rank, generator=generator, dtype=c.dtype)
    return u, v


def _eigenvectors(cores: Blocks, rank: int) -> Factors | None:
    """The factors, up to a scale, of what is a sum of ``rank`` products with independent columns; else some."""
    # of U diag(a) V^T and U diag(b) V^T, two mixtures over the directions, one times the inverse of the other is
    # U diag(a / b) U^-1
    square = [place for place, c in cores.items() if c.shape[:2] == (rank, rank) and c.shape[2] > 1]
    if not square:
        return None
    first = max(square, key=lambda place: float(cores[place].norm()))
    u, v = _by_chance(cores, rank)
    mixtures = torch.randn(cores[first].shape[2], 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, other = (cores[first] @ mixtures).unbind(2)
    values, vectors = torch.linalg.eig(one @ torch.linalg.pinv(other))
    # of a complex pair the plane that it spans
    u[first[0]] = torch.where(values.imag < 0, vectors.imag, vectors.real)
    for (i, j), c in cores.items():
        if i == first[0]:
            v[j] = _beside(u[i], c)
    for (i, j), c in cores.items():
        if j == first[1] and i != first[0]:
            u[i] = _beside(v[j], c.transpose(0, 1))
    return u, v


def _beside(columns: Tensor, c: Tensor) -> Tensor:
    """The factor of the second axis, given that of the first."""
    outer = torch.einsum("ka,abd->kbd", torch.linalg.pinv(columns), c)
    return torch.linalg.svd(outer, full_matrices=False)[0][:, :, 0].mT


def _swept(blocks: Blocks, factors: Factors, sweeps: int) -> tuple[dict[int, Tensor], dict[int, Tensor], float]:
    """Better factors, from at most so many sweeps, and the squared distance that was left before the last."""
    u, v = (dict(side) for side in factors)
    before = math.inf
    for _ in range(sweeps):
        w, missing = {}, 0.0
        for (i, j), c in blocks.items():
            along = torch.einsum("ijd,ik,jk->kd", c, u[i], v[j])
            w[i, j] = _inverse(u[i], v[j]) @ along
            missing += float(c.square().sum() - (along * w[i, j]).sum())
        if missing >= (1 - _PROGRESS) * before:
            break
        before = missing
        for i in u:
            u[i] = _solved("ijd,jk,kd->ik", [(c, v[j], w[a, j]) for (a, j), c in blocks.items() if a == i])
            lengths = _lengths(u[i])
            u[i] = u[i] / lengths
            w.update({(a, j): lengths[:, None] * w[a, j] for a, j in blocks if a == i})
        for j in v:
            v[j] = _solved("ijd,ik,kd->jk", [(c, u[i], w[i, b]) for (i, b), c in blocks.items() if b == j])
            v[j] = v[j] / _lengths(v[j])
    return u, v, before


def _solved(contraction: str, parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """One factor of one irrep, from all blocks that it is in, given the two others of each."""
    gram = torch.stack([(matrix.mT @ matrix) * (kernels @ kernels.mT) for _, matrix, kernels in parts]).sum(0)
    along = torch.stack([torch.einsum(contraction, *part) for part in parts]).sum(0)
    inverse: Tensor = torch.linalg.pinv(gram, hermitian=True, rtol=_DEPENDENT)
    return along @ inverse


def _inverse(u: Tensor, v: Tensor) -> Tensor:
    """Of the Gram matrix of the products of two factors' columns."""
    return torch.linalg.pinv((u.mT @ u) * (v.mT @ v), hermitian=True, rtol=_DEPENDENT)


def _unfolded(blocks: Blocks, side: int, irrep: int) -> Tensor:
    """All that belongs to one irrep's copies, a row a copy."""
    parts = [c.transpose(0, side).flatten(1) for place, c in blocks.items() if place[side] == irrep]
    return torch.cat(parts, dim=1)


def _leading(rows: Tensor, count: int) -> Tensor:
    """Orthonormal columns that span the leading left singular vectors."""
    _, vectors = torch.linalg.eigh(rows @ rows.mT)
    return vectors[:, -count:]


def _lengths(matrix: Tensor) -> Tensor:
    """Of the columns, 1 for those of zeros."""
    lengths = matrix.norm(dim=0)
    return torch.where(lengths > 0, lengths, 1.0)


def _unit(matrices: dict[int, Tensor], others: dict[int, Tensor]) -> dict[int, Tensor]:
    """Columns of length 1; other columns where there are none."""
    found = {}
    for i, matrix in matrices.items():
        lengths = matrix.norm(dim=0)
        found[i] = torch.where(lengths > _DEPENDENT * lengths.max(), matrix / _lengths(matrix), others[i])
    return found
