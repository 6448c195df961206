"""Rings of harmonics at any points, and the spectrum of the kernels that they span: no grid, so no remainder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.functions import Harmonic, SpatialCopy, mirror_axis, split_degree, split_frequency
from escnn_soft.grading.chain import Chain, SubgroupChain, subgroup_chain
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.relaxed import RelaxedSpace
from escnn_soft.grading.transform import WeightTransform, weight_transform
from escnn_soft.groups import PlanarGroup, Splitting, fibre_group, harmonic_ladder

__all__ = ["RingFunctions", "continuous_transform", "ring_functions"]

_ORIGIN = 1e-9
"""Radius up to which a point counts as the origin, as in escnn."""

_ROUNDING = 1e-12
"""Relative error of a bound in double precision, generously."""

_CELLS = 4096
"""Intervals of the radius on which the rings are bounded one by one."""


@dataclass(frozen=True, eq=False)
class RingFunctions:
    r"""phi_s(x) = a_r(|x|) Y_j(x / |x|), the functions that continuous kernels K(x) = sum over s of C_s phi_s(x) have.

    a_r is a Gaussian ring, exp(-(|x| - radius)^2 / (2 width^2)); the Y_j are orthonormal: of mean square 1 on the
    circle or the sphere. At the origin only frequency 0 has a value.

    Attributes:
        harmonics: rings and frequencies; the functions of one harmonic lie next to each other.
        dims: of the base space, 2 or 3.
        axis: angle from which the harmonics on the plane are counted.
        radii: of the distinct rings.  # shape: (rings,)
        widths: likewise.  # shape: (rings,)
        ring: place of each function's ring.  # shape: (S,)
        angular: place of each function among all harmonics up to the highest frequency.  # shape: (S,)
        ladder: in space, the matrices that raise the degree by one.
    """

    harmonics: tuple[Harmonic, ...]
    dims: int
    axis: float
    radii: Tensor
    widths: Tensor
    ring: Tensor
    angular: Tensor
    ladder: tuple[Tensor, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """S, the number of functions."""
        return len(self.ring)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The functions of each harmonic."""
        stops = np.cumsum([harmonic_size(h.frequency, self.dims) for h in self.harmonics])
        return tuple(
            slice(int(b) - harmonic_size(h.frequency, self.dims), int(b))
            for h, b in zip(self.harmonics, stops, strict=True)
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> RingFunctions:
        """The functions on a device in a dtype."""
        return replace(
            self,
            radii=self.radii.to(device, dtype),
            widths=self.widths.to(device, dtype),
            ring=self.ring.to(device),
            angular=self.angular.to(device),
            ladder=tuple(step.to(device, dtype) for step in self.ladder),
        )

    def __call__(self, points: Tensor) -> Tensor:
        """The functions (points, S) at some points (points, dims), differentiably; the gradient at the origin is 0."""
        squares = points.square().sum(1, keepdim=True)
        origin = squares <= _ORIGIN**2
        radius = torch.where(origin, 1.0, squares).sqrt()
        directions = torch.where(origin, 0.0, points / radius)  # where every Y_j but Y_0 vanishes
        rings = self.rings(torch.where(origin, 0.0, radius))
        return rings[:, self.ring] * self.spheres(directions)[:, self.angular]

    def rings(self, radius: Tensor) -> Tensor:
        """a_r (points, rings) at some radii (points, 1)."""
        return torch.exp(-0.5 * ((radius - self.radii) / self.widths).square())

    def spheres(self, directions: Tensor) -> Tensor:
        """Y_j, (points, 2 L + 1) or (points, (L + 1)^2), in directions of length 1, or 0, where only Y_0 is not 0."""
        values = [torch.ones_like(directions[:, :1])]
        if self.dims == 3:
            for step in self.ladder:  # Y_l = (Y_(l - 1) (x) x) C_l
                values.append((values[-1][:, :, None] * directions[:, None, :]).flatten(1) @ step)
            return torch.cat(values, dim=1)
        x, y = directions.unbind(1)
        cos, sin = math.cos(self.axis), math.sin(self.axis)
        turned = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=1)
        pair = turned
        for _ in range(max(h.frequency for h in self.harmonics)):
            values.append(math.sqrt(2) * pair)  # (cos, sin) of j (angle - axis)
            c, s = pair.unbind(1)
            pair = torch.stack([c * turned[:, 0] - s * turned[:, 1], s * turned[:, 0] + c * turned[:, 1]], dim=1)
        return torch.cat(values, dim=1)

    def counted_from(self, axis: float) -> Tensor:
        r"""B with phi(x) = B phi'(x), where phi' are the same functions with harmonics counted from another axis.

        Args:
            axis: angle of the other axis.

        Returns:
            An orthogonal matrix, in float64: C phi = (C B) phi'.  # shape: (S, S)
        """
        blocks = []
        for h, place in zip(self.harmonics, self.slices, strict=True):
            block = torch.eye(place.stop - place.start, dtype=torch.float64)
            if self.dims == 2 and h.frequency:
                angle = h.frequency * (axis - self.axis)
                cos, sin = math.cos(angle), math.sin(angle)
                block = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
            blocks.append(block)
        return torch.block_diag(*blocks)

    def supremum(self, radius: float = math.inf) -> float:
        r"""Upper bound on |phi(x)| over |x| <= radius.

        |phi(x)|^2 = sum over rings of a_r(|x|)^2 n_r with n_r the number of the ring's functions, as |Y_j|^2 is its
        dimension in every direction. On each of many intervals of |x| every a_r takes its own largest value.

        Args:
            radius: of the ball; infinite for all of space.

        Returns:
            The bound.
        """
        radii, widths = self.radii.double().cpu(), self.widths.double().cpu()
        counts = torch.bincount(self.ring.cpu(), minlength=len(radii)).double()
        last = min(radius, float(radii.max()))  # beyond the last ring every a_r decreases
        edges = torch.linspace(0.0, last, _CELLS + 1, dtype=torch.float64)[:, None]
        nearest = torch.minimum(torch.maximum(radii, edges[:-1]), edges[1:])
        largest = torch.exp(-(((nearest - radii) / widths).square()))
        return math.sqrt(float((largest @ counts).max())) * (1 + _ROUNDING)


def harmonic_size(frequency: int, dims: int) -> int:
    """Number of circular or spherical harmonics of a frequency."""
    return 2 * frequency + 1 if dims == 3 else min(frequency, 1) + 1


@lru_cache(maxsize=64)
def ring_functions(gspace: GSpace, harmonics: tuple[Harmonic, ...]) -> RingFunctions:
    """The functions of a band limit, rings and frequencies all different, in float64."""
    dims, group = gspace.dimensionality, fibre_group(gspace)
    rings = list(dict.fromkeys((h.radius, h.width) for h in harmonics))
    ring, angular = list[int](), list[int]()
    for h in harmonics:
        start = h.frequency**2 if dims == 3 else max(0, 2 * h.frequency - 1)
        places = range(start, start + harmonic_size(h.frequency, dims))
        ring += [rings.index((h.radius, h.width))] * len(places)
        angular += places
    radii, widths = torch.tensor(rings, dtype=torch.float64).unbind(1)
    highest = max(h.frequency for h in harmonics)
    ladder = tuple(torch.from_numpy(step) for step in harmonic_ladder(highest)) if dims == 3 else ()
    axis = mirror_axis(gspace, group) if isinstance(group, PlanarGroup) and dims == 2 else 0.0
    return RingFunctions(harmonics, dims, axis, radii, widths, torch.tensor(ring), torch.tensor(angular), ladder)


@lasting()
def continuous_transform(
    gspace: GSpace,
    in_representations: Sequence[Representation],
    out_representations: Sequence[Representation],
    harmonics: Sequence[Harmonic],
    chain: Chain | None = None,
) -> WeightTransform:
    r"""Grade the kernels K(x) = sum over s of C_s phi_s(x) by the irreps of rho_out(g) K(g^{-1} x) rho_in(g)^{-1}.

    Args:
        gspace: escnn gspace on the plane or in space.
        in_representations: fields of the input, n channels in all.
        out_representations: fields of the output, m channels in all.
        harmonics: rings and frequencies of the phi_s, all different.
        chain: subgroups, from large to small; what breaks the last is left out. None for all kernels.

    Returns:
        The transform between C (m, n, S) and coefficients; orthogonal, and exact for every group, as nothing is
        sampled.

    Raises:
        ArgumentError: if the chain is none.
        RepresentationError: if a representation is not orthogonal.
    """
    limit = gspace, tuple(harmonics)
    space = _space(*limit) if chain is None else _relaxed_space(*limit, subgroup_chain(gspace, chain))
    frames = ChannelFrame.of(space.group, out_representations), ChannelFrame.of(space.group, in_representations)
    return weight_transform(*frames, space)


@lru_cache(maxsize=64)
def _space(gspace: GSpace, harmonics: tuple[Harmonic, ...]) -> KernelSpace:
    """The functions themselves, split into copies of irreps."""
    group, functions = fibre_group(gspace), ring_functions(gspace, harmonics)
    copies = []
    for h, place in zip(harmonics, functions.slices, strict=True):
        splitting: Splitting
        if gspace.dimensionality == 3:
            splitting = split_degree(gspace, group, h.frequency)
        else:
            assert isinstance(group, PlanarGroup)
            splitting = split_frequency(group, h.frequency)
        for irrep, a in splitting:
            embedded = np.zeros((functions.count, a.shape[1]))
            embedded[place] = a
            copies.append(SpatialCopy(irrep, embedded, False))
    return KernelSpace(group, copies, exact=True)


@lru_cache(maxsize=64)
def _relaxed_space(gspace: GSpace, harmonics: tuple[Harmonic, ...], chain: SubgroupChain) -> KernelSpace:
    return RelaxedSpace(_space(gspace, harmonics), chain)
