"""Grading bases between pairs of irreps: Clebsch-Gordan coefficients times spatial functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from itertools import groupby
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions import SpatialCopy
from escnn_soft.grading.factors import Factors, PointFunctions
from escnn_soft.grading.pair_basis import LAWLESS, LevelKey, PairBasis
from escnn_soft.groups import IrrepProducts

__all__ = ["KernelSpace"]

_Some = TypeVar("_Some", Tensor, NDArray[np.int64])

_LARGE = 150
"""Points from which a basis is kept as factors."""


class KernelSpace:
    """The functions on a kernel's points, and with them a graded basis between any two irreps.

    Args:
        group: what acts on the kernels.
        copies: the functions, split into copies of irreps.
        exact: whether the group acts on the points, so that every statement holds for the executed layer.
        dependent: how many functions of the band limit are what others make of them on the points.

    Attributes:
        whole: the space of all kernels, if this is a part of it.
        stages: names of the subgroups by which the part is graded.
    """

    whole: KernelSpace | None = None
    stages: tuple[str, ...] = ()

    def __init__(self, group: IrrepProducts, copies: Sequence[SpatialCopy], *, exact: bool, dependent: int = 0) -> None:
        self.group = group
        self.copies = tuple(copies)
        self.exact = exact
        self.dependent = dependent
        self.points = sum(copy.functions.shape[1] for copy in copies)
        self.between = cache(self._between)

    @cached_property
    @lasting()
    def metric(self) -> Tensor | None:
        """L such that ||K L|| is the norm of the coefficients of a kernel K (..., S) within the band limit, in float64.

        Couplings of irreps are orthonormal, so that only the functions count; None where they are orthonormal too.
        """
        # shape: (S, harmonics)
        if self.exact:
            return None
        harmonic = torch.tensor([not c.remainder for c in self._by_kind for _ in range(c.functions.shape[1])])
        return self.functions.dual.T[harmonic].T.contiguous()

    @cached_property
    def condition(self) -> float:
        """How much larger, relatively, a change of a kernel can be in its coefficients than on the points."""
        if self.exact:
            return 1.0
        s = np.linalg.svd(np.concatenate([copy.functions for copy in self.copies], axis=1), compute_uv=False)
        return float(s[0] / s[-1])

    @cached_property
    def _by_kind(self) -> list[SpatialCopy]:
        """The copies, those of one irrep together."""
        kinds = list(dict.fromkeys(copy.irrep for copy in self.copies))
        return sorted(self.copies, key=lambda copy: kinds.index(copy.irrep))

    @cached_property
    @lasting()
    def functions(self) -> PointFunctions:
        """All functions, those of one irrep together, and those dual to them."""
        matrix = torch.from_numpy(np.concatenate([copy.functions for copy in self._by_kind], axis=1))
        return PointFunctions(matrix, matrix if self.exact else torch.linalg.inv(matrix).mT.contiguous())

    @staticmethod
    def point(group: IrrepProducts) -> KernelSpace:
        """The single constant function on a point: kernels are matrices."""
        return KernelSpace(group, [SpatialCopy(group.trivial, np.ones((1, 1)), False)], exact=True)

    def _between(self, out_irrep: IrrepId, in_irrep: IrrepId) -> PairBasis:
        """The basis between two irreps: psi_out (x) psi_in, then (x) the functions' irrep."""
        if self.points >= _LARGE:
            return self._factored(out_irrep, in_irrep)
        couplings = cache(lambda spatial: self._couplings(out_irrep, in_irrep, spatial))
        directions = []
        for copy in self.copies:
            if copy.irrep is None:
                directions.append(self._lawless(out_irrep, in_irrep, copy))
            else:
                directions += self._coupled(couplings(copy.irrep), copy)
        rows, levels = _sorted(directions)
        return PairBasis(torch.cat(rows), levels, self.exact)

    def _factored(self, out_irrep: IrrepId, in_irrep: IrrepId) -> PairBasis:
        """The same as factors: nothing of the size of a kernel is formed but the functions."""
        d_out, d_in = self.group.size(out_irrep), self.group.size(in_irrep)
        matrices, counts = list[Tensor](), list[int]()
        found: dict[int, list[tuple[LevelKey, NDArray[np.int64]]]] = {}  # of each copy, its directions counted through
        start = 0
        for irrep, members in groupby(self._by_kind, key=lambda copy: copy.irrep):
            copies = list(members)
            if irrep is None:
                parts = [((0, True, self.group.worst_violation, LAWLESS), torch.eye(d_out * d_in, dtype=torch.float64))]
            else:
                couplings = self._couplings(out_irrep, in_irrep, irrep)
                parts = [(self._key(coupled, copies[0]), q.flatten(0, 2)) for coupled, q in couplings]
            matrices.append(torch.cat([q for _, q in parts], dim=1))
            counts.append(len(copies))
            widths = [((sigma, coupled), q.shape[1]) for (_, _, sigma, coupled), q in parts]
            for copy in copies:
                found[id(copy)] = []
                for key, width in widths:
                    found[id(copy)].append(((0, copy.remainder, *key), np.arange(start, start + width)))
                    start += width
        order, levels = _sorted([direction for copy in self.copies for direction in found[id(copy)]])
        places = torch.from_numpy(np.concatenate(order))
        rows = Factors(self.functions, tuple(matrices), tuple(counts), places, (d_out, d_in))
        return PairBasis(rows, levels, self.exact)

    def _couplings(self, out_irrep: IrrepId, in_irrep: IrrepId, spatial: IrrepId) -> list[tuple[IrrepId, Tensor]]:
        """Irreps in psi_out (x) psi_in (x) psi_spatial, each with a tensor (d_out, d_in, d_spatial, d)."""
        group, couplings = self.group, []
        for kappa, a in group.product(out_irrep, in_irrep):
            fibre = torch.from_numpy(a).view(group.size(out_irrep), group.size(in_irrep), -1)
            for irrep, b in group.product(kappa, spatial):
                coupling = torch.from_numpy(b).view(group.size(kappa), group.size(spatial), -1)
                couplings.append((irrep, torch.einsum("abk,kei->abei", fibre, coupling)))
        return couplings

    def _coupled(self, couplings: Sequence[tuple[IrrepId, Tensor]], copy: SpatialCopy) -> list[tuple[LevelKey, Tensor]]:
        functions = torch.from_numpy(copy.functions)  # shape: (S, e)
        return [
            (
                self._key(irrep, copy),
                torch.einsum("abei,se->iasb", coupling, functions).reshape(coupling.shape[-1], -1),
            )
            for irrep, coupling in couplings
        ]

    def _key(self, irrep: IrrepId, copy: SpatialCopy) -> LevelKey:
        return 0, copy.remainder, self.group.violation(irrep), irrep

    def _lawless(self, out_irrep: IrrepId, in_irrep: IrrepId, copy: SpatialCopy) -> tuple[LevelKey, Tensor]:
        d_out, d_in = (torch.eye(self.group.size(irrep), dtype=torch.float64) for irrep in (out_irrep, in_irrep))
        rows = torch.einsum("ac,bd,s->abcsd", d_out, d_in, torch.from_numpy(copy.functions[:, 0]))
        return (0, True, self.group.worst_violation, LAWLESS), rows.reshape(len(d_out) * len(d_in), -1)


def _sorted(directions: list[tuple[LevelKey, _Some]]) -> tuple[list[_Some], tuple[tuple[LevelKey, int], ...]]:
    """Directions level by level, and how many each level has; within a level, in the order of the copies."""
    directions = sorted(directions, key=lambda direction: direction[0])
    counts: dict[LevelKey, int] = {}
    for key, some in directions:
        counts[key] = counts.get(key, 0) + len(some)
    return [some for _, some in directions], tuple(counts.items())
