"""Grading bases of the directions that subgroups keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from escnn.group import GroupElement
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.grading.chain import SubgroupChain
from escnn_soft.grading.factors import times
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.pair_basis import LAWLESS, LevelKey, PairBasis
from escnn_soft.linalg import extend_orthonormal

__all__ = ["Movements", "RelaxedSpace"]

Matrix = NDArray[np.float64]

Movements = Sequence[tuple[GroupElement, NDArray[np.int64]]]
"""All elements of a finite group, each with where it sends the points."""


class RelaxedSpace(KernelSpace):
    """The directions of a kernel space that the last subgroup of a chain keeps, graded by the first that does.

    Args:
        whole: the space of all kernels.
        chain: the subgroups.
        movements: for each subgroup how it moves the points, None if it does not: then a remainder on which the group
            has no law has none for the subgroup either, and the subgroup keeps nothing of it.
    """

    def __init__(
        self, whole: KernelSpace, chain: SubgroupChain, movements: Sequence[Movements | None] | None = None
    ) -> None:
        super().__init__(whole.group, whole.copies, exact=whole.exact, dependent=whole.dependent)
        self.whole = whole
        self.stages = chain.names
        self._chain = chain
        self._movements = [None] * len(chain.names) if movements is None else movements

    def _between(self, out_irrep: IrrepId, in_irrep: IrrepId) -> PairBasis:
        assert self.whole is not None
        whole = self.whole.between(out_irrep, in_irrep)
        kept: list[tuple[LevelKey, Tensor]] = []
        start = 0
        for (_, remainder, sigma, irrep), rows in whole.levels:
            stages = self._kept_lawless(out_irrep, in_irrep) if irrep == LAWLESS else self._chain.kept(irrep)
            for stage, vectors in enumerate(stages):
                d, count = vectors.shape
                if count:  # the level's rows are (copy, d), those of a remainder without a law a single copy
                    embedding = torch.zeros(rows // d * count, whole.rows.shape[0], dtype=torch.float64)
                    embedding[:, start : start + rows] = torch.from_numpy(np.kron(np.eye(rows // d), vectors.T))
                    kept.append(((stage, remainder, sigma, irrep), embedding))
            start += rows
        kept.sort(key=lambda level: level[0])
        embedding = torch.cat([torch.zeros(0, whole.rows.shape[0], dtype=torch.float64), *(part for _, part in kept)])
        levels = tuple((key, len(part)) for key, part in kept)
        return PairBasis(times(embedding, whole.rows), levels, self.exact, embedding, whole)

    def _kept_lawless(self, out_irrep: IrrepId, in_irrep: IrrepId) -> tuple[Matrix, ...]:
        """As :meth:`SubgroupChain.kept`, of the maps (s, out, in) with a remainder's functions."""
        functions = np.concatenate([copy.functions for copy in self.copies if copy.irrep is None], axis=1)
        size = functions.shape[1] * self.group.size(out_irrep) * self.group.size(in_irrep)
        accepted, stages = list[Matrix](), list[Matrix]()
        for movements in self._movements:
            averages = [] if movements is None else self._averages(movements, functions, out_irrep, in_irrep)
            new = extend_orthonormal(accepted, averages)
            accepted += new
            stages.append(np.concatenate([np.zeros((size, 0)), *new], axis=1))
        return tuple(stages)

    def _averages(self, movements: Movements, functions: Matrix, out_irrep: IrrepId, in_irrep: IrrepId) -> list[Matrix]:
        """The averages over a subgroup of the unit matrices E_ij at a point of each orbit, each (s * out * in, 1)."""
        # That of E_ij at p is the mean over h of psi_out(h) E_ij psi_in(h)^T at h p. The subgroup maps the span of the
        # functions to itself, so that averaging commutes with the projection onto it.
        images = np.stack([image for _, image in movements])
        first = np.flatnonzero(images.min(axis=0) == np.arange(images.shape[1]))
        out, in_ = (
            np.stack([self._chain.group.matrix(psi, g).numpy() for g, _ in movements]) for psi in (out_irrep, in_irrep)
        )
        values = functions[images[:, first]]  # shape: (elements, orbits, s)
        means = np.einsum("gps,gai,gbj->pijsab", values, out, in_, optimize=True) / len(movements)
        return list(means.reshape(-1, functions.shape[1] * out.shape[1] * in_.shape[1], 1))
