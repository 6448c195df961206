"""All kernels of a band limit as an escnn ``KernelBasis``, for those who sample kernels themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.kernels import KernelBasis
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import ArgumentError, GSpaceError, ShapeError
from escnn_soft.functions import Harmonic
from escnn_soft.grading import WeightTransform, continuous_transform, ring_functions
from escnn_soft.grading.factors import dense

__all__ = ["SoftKernelBasis"]


class SoftKernelBasis(KernelBasis):
    r"""A basis of all kernels K: R^d -> R^{m x n} made of rings and harmonics, sorted by how much they break symmetry.

    Where escnn's ``gspace.build_kernel_basis`` has the equivariant kernels, this basis has those first, and then the
    others level by level: each element lies in one level, rho_out(g) K_i(g^-1 x) rho_in(g)^-1 = sum over j of K_j(x)
    psi(g)_ji with the irrep psi of the level. Its first ``invariants`` elements span exactly escnn's basis of the same
    rings and frequencies. Coefficients are orthonormal: so are the harmonics on the circle or the sphere.

    Attributes of an element, ``basis[i]``: escnn's ``idx``, ``radius``, ``sigma`` (the width of the ring),
    ``irrep:frequency``, ``in_irrep``, ``out_irrep``, ``in_irrep_idx``, ``out_irrep_idx`` and ``shape``; and ``level``,
    with ``irrep`` and ``violation``, its irrep's id and sigma.

    Source: Cesa, Lang and Weiler, A Program to Build E(N)-Equivariant Steerable CNNs (ICLR 2022), for escnn's part.

    Args:
        gspace: escnn gspace on the plane or in space.
        in_repr: representation of the input, n channels.
        out_repr: representation of the output, m channels.
        sigma: width of each ring, or of all.
        rings: radii.
        maximum_frequency: highest frequency of the harmonics.
        filter: function of the attributes ``radius``, ``sigma`` and ``irrep:frequency``, whether to keep a harmonic.

    Attributes:
        levels: the levels, in order.
        invariants: number of equivariant elements.

    Raises:
        GSpaceError: if the gspace is neither on the plane nor in space.
        ArgumentError: if the rings, widths or frequency make no sense, or nothing is kept.
        RepresentationError: if a representation is not orthogonal.

    Example:
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> rho = space.irrep(1)
        >>> basis = SoftKernelBasis(space, rho, rho, sigma=0.6, rings=[0.0, 1.0], maximum_frequency=2)
        >>> basis.dim, basis.shape, basis.sample(torch.rand(7, 2)).shape
        (40, (2, 2), torch.Size([7, 40, 2, 2]))
        >>> basis.invariants == space.build_kernel_basis(rho, rho, 0.6, [0.0, 1.0], maximum_frequency=2).dim
        True
        >>> basis[basis.invariants]["level"].name
        'irrep_1'
    """

    def __init__(
        self,
        gspace: GSpace,
        in_repr: Representation,
        out_repr: Representation,
        sigma: Sequence[float] | float,
        rings: Sequence[float],
        maximum_frequency: int,
        filter: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        harmonics = _harmonics(gspace, sigma, rings, maximum_frequency, filter)
        transform = continuous_transform(gspace, [in_repr], [out_repr], harmonics)
        super().__init__(transform.dim, (out_repr.size, in_repr.size))
        self.gspace, self.in_repr, self.out_repr, self.harmonics = gspace, in_repr, out_repr, harmonics
        self.levels = transform.levels
        self.invariants: int = transform.equivariant.dim
        functions = ring_functions(gspace, harmonics)
        owners, level_of = _owners(transform, functions.slices, harmonics, in_repr, out_repr)
        order = torch.sort(level_of, stable=True).indices
        identity = torch.eye(transform.dim, dtype=torch.float64)
        self._elements = torch.stack([transform.synthesis(identity[i]) for i in order.tolist()])  # (dim, out, in, S)
        self._owners = [owners[i] for i in order.tolist()]
        self._level_of = level_of[order].tolist()
        self._functions = functions

    def sample(self, points: Tensor, out: Tensor | None = None) -> Tensor:
        """The elements at some points, in the points' dtype and differentiably.

        Args:
            points: in Cartesian coordinates.  # shape: (points, dims)
            out: where to write the result, if anywhere.  # shape: (points, dim, out, in)

        Returns:
            The elements.  # shape: (points, dim, out, in)

        Raises:
            ShapeError: if the points do not have the gspace's dimensions.
        """
        if points.dim() != 2 or points.shape[1] != self.gspace.dimensionality:
            expected = f"shape (points, {self.gspace.dimensionality})"
            raise ShapeError("points.shape", tuple(points.shape), expected, "Pass one row a point.")
        functions = self._functions.to(points.device, points.dtype)(points)
        samples = torch.einsum("ps,kois->pkoi", functions, self._elements.to(points))
        return samples if out is None else out.copy_(samples)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        if not 0 <= idx < self.dim:
            raise IndexError(f"Expected an index below {self.dim} but got {idx}.")
        harmonic, out_place, in_place = self._owners[idx]
        level = self.levels[self._level_of[idx]]
        return {
            "idx": idx,
            "radius": harmonic.radius,
            "sigma": harmonic.width,
            "irrep:frequency": harmonic.frequency,
            "in_irrep": self.in_repr.irreps[in_place],
            "out_irrep": self.out_repr.irreps[out_place],
            "in_irrep_idx": in_place,
            "out_irrep_idx": out_place,
            "shape": (1, 1),  # escnn scales elements by it
            "level": level,
            "irrep": level.irrep_id,
            "violation": level.sigma,
        }

    def _key(self) -> tuple[object, ...]:
        return self.gspace, self.in_repr, self.out_repr, self.harmonics

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SoftKernelBasis) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _harmonics(
    gspace: GSpace,
    sigma: Sequence[float] | float,
    rings: Sequence[float],
    maximum_frequency: int,
    filter: Callable[[dict[str, Any]], bool] | None,
) -> tuple[Harmonic, ...]:
    if not isinstance(gspace, GSpace) or gspace.dimensionality not in (2, 3):
        raise GSpaceError("gspace", gspace, "a gspace on the plane or in space", "Use e.g. gspaces.rot2dOnR2(8).")
    radii = list(rings)
    if not radii or not all(r >= 0 for r in radii) or len(set(radii)) < len(radii):
        raise ArgumentError("rings", rings, "different radii >= 0", "Leave out repeated radii.")
    widths = [float(sigma)] * len(radii) if isinstance(sigma, int | float) else list(sigma)
    if len(widths) != len(radii) or not all(0 < width < math.inf for width in widths):
        raise ArgumentError("sigma", sigma, "one width > 0, or one per ring", "Pass rings and sigma of equal length.")
    if isinstance(maximum_frequency, bool) or not isinstance(maximum_frequency, int) or maximum_frequency < 0:
        remedy = "It is the highest frequency of the harmonics."
        raise ArgumentError("maximum_frequency", maximum_frequency, "an integer >= 0", remedy)
    harmonics = [Harmonic(r, w, j) for r, w in zip(radii, widths, strict=True) for j in range(maximum_frequency + 1)]
    kept = tuple(
        h
        for h in harmonics
        if filter is None or filter({"radius": h.radius, "sigma": h.width, "irrep:frequency": h.frequency})
    )
    if not kept:
        raise ArgumentError("filter", filter, "a filter that keeps something", "Check it against rings and frequency.")
    return kept


def _owners(
    transform: WeightTransform,
    slices: Sequence[slice],
    harmonics: Sequence[Harmonic],
    in_repr: Representation,
    out_repr: Representation,
) -> tuple[list[tuple[Harmonic, int, int]], Tensor]:
    """Harmonic, output irrep and input irrep of each coefficient, by place; and its level."""
    harmonic_of = [h for h, place in zip(harmonics, slices, strict=True) for _ in range(place.start, place.stop)]
    places = [_places(rho) for rho in (out_repr, in_repr)]
    pairs = product(transform.frame_out.irreps, transform.frame_in.irreps)
    owners, levels = [], []
    for block, ((out_irrep, *_), (in_irrep, *_)) in zip(transform.blocks, pairs, strict=True):
        rows = dense(block.rows).view(block.shape[1], block.copies[1], -1, block.copies[3])
        support = rows.abs().sum((1, 3)).argmax(1).tolist()  # a row is made of one harmonic
        for copies in product(places[0][out_irrep], places[1][in_irrep]):
            owners += [(harmonic_of[s], *copies) for s in support]
            levels.append(block.level)
    return owners, torch.cat(levels)


def _places(rho: Representation) -> dict[IrrepId, list[int]]:
    """Where each irrep occurs among the irreps of a representation."""
    places: dict[IrrepId, list[int]] = {}
    for place, irrep in enumerate(rho.irreps):
        places.setdefault(tuple(irrep), []).append(place)
    return places
