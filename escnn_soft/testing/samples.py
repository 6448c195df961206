"""Group elements, irreps and features by number: what the strategies and the assertions draw from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from escnn.group import O2, O3, SO2, SO3, CyclicGroup, DihedralGroup, DirectProductGroup, Group, GroupElement
from escnn.gspaces import GSpace
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft._checks import instance
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import moves_pixels, pixel_elements
from escnn_soft.groups import PlanarGroup, fibre_group

__all__ = [
    "COORDINATES",
    "element_at",
    "exact_elements",
    "factors",
    "grid_elements",
    "identity_first",
    "irrep_ids",
    "random_elements",
    "random_features",
    "rotations",
]

COORDINATES = 4
"""Numbers in [0, 1] that name an element of a group that is not a product."""


def element_at(group: Group, coordinates: Sequence[float]) -> GroupElement:
    """The element with given coordinates; all zeros give the identity of a Lie group.

    Args:
        group: a finite group, SO(2), O(2), SO(3), O(3) or a product of two of these.
        coordinates: a reflection bit (from 1/2 on) and three Euler angles in turns, for each factor of a product.

    Returns:
        The element.

    Raises:
        ArgumentError: if the group is none of these.

    Example:
        >>> from escnn import group
        >>> element_at(group.so2_group(), [0, 0.25, 0, 0]) == group.so2_group().element(math.pi / 2)
        True
    """
    if group.elements is not None:
        return group.elements[min(int(coordinates[1] * group.order()), group.order() - 1)]
    if isinstance(group, DirectProductGroup):
        half = len(coordinates) // 2
        return group.pair_elements(element_at(group.G1, coordinates[:half]), element_at(group.G2, coordinates[half:]))
    flip = int(coordinates[0] >= 0.5)
    first, second, third = (2 * math.pi * turn for turn in coordinates[1:COORDINATES])
    if isinstance(group, SO2):
        return group.element(first, "radians")
    if isinstance(group, O2):
        return group.element((flip, first), "radians")
    if isinstance(group, SO3):
        return group.element(np.array([first, second / 2, third]), "ZYZ")
    if isinstance(group, O3):
        return group.element((flip, np.array([first, second / 2, third])), "ZYZ")
    remedy = "Draw its elements yourself, e.g. with st.builds(group.sample)."
    raise ArgumentError("group", group, "a compact group of escnn", remedy)


def factors(group: Group) -> int:
    """Number of groups that a (nested) direct product is made of."""
    return factors(group.G1) + factors(group.G2) if isinstance(group, DirectProductGroup) else 1


def random_elements(group: Group, count: int, seed: int = 0) -> list[GroupElement]:
    """Elements drawn from a seed of their own, repetitions included, without touching a global generator."""
    size = COORDINATES * factors(group)
    return [element_at(group, row) for row in np.random.default_rng(seed).random((count, size))]


def grid_elements(gspace: GSpace) -> list[GroupElement]:
    """All elements of a gspace that map the pixel grid to itself, the identity first: at most 8, in space 48.

    Args:
        gspace: a gspace on the plane or in space.

    Returns:
        The elements.

    Example:
        >>> from escnn import gspaces
        >>> [len(grid_elements(gspaces.rot2dOnR2(n))) for n in (8, 6, 3, -1)]
        [4, 2, 1, 4]
    """
    group: Group = gspace.fibergroup
    if group.elements is not None:
        candidates = identity_first(group)
    elif gspace.dimensionality == 3:
        candidates = list(pixel_elements(gspace))
    else:  # the quarter turns, and the reflections that lie a quarter turn apart
        turns = [k * math.pi / 2 for k in range(4)]
        candidates = [element_at(group, [0, turn / (2 * math.pi), 0, 0]) for turn in turns]
        if isinstance(group, O2):
            mirror = gspace.basespace_action(group.element((1, 0.0), "radians"))
            axis = math.atan2(mirror[1, 0], mirror[0, 0])
            candidates += [group.element((1, turn - axis), "radians") for turn in turns]
    return [g for g in candidates if moves_pixels(gspace, g)]


def exact_elements(gspace: GSpace, limit: int = 64) -> list[GroupElement]:
    """The elements at which equivariance can be checked without interpolation.

    On a grid these are the :func:`grid_elements`; without a base space all elements of a finite group, and for a Lie
    group an even choice of escnn's testing elements together with eight random ones.

    Args:
        gspace: any gspace.
        limit: largest number of elements.

    Returns:
        The elements, the identity first.

    Raises:
        ArgumentError: if it is no gspace.
    """
    instance("gspace", gspace, GSpace, "Pass field_type.gspace.")
    if gspace.dimensionality > 0:
        return _even_choice(grid_elements(gspace), limit)
    group: Group = gspace.fibergroup
    if group.elements is not None:
        return _even_choice(identity_first(group), limit)
    return [group.identity, *random_elements(group, 8), *_even_choice(list(group.testing_elements()), limit - 9)]


def identity_first(group: Group) -> list[GroupElement]:
    """The elements of a finite group; escnn's icosahedral group lists its identity somewhere in the middle."""
    return sorted(group.elements, key=lambda g: g != group.identity)


def _even_choice(elements: list[GroupElement], count: int) -> list[GroupElement]:
    step = max(1, math.ceil(len(elements) / max(count, 1)))
    return elements[::step]


def irrep_ids(group: Group, max_frequency: int = 2) -> list[tuple[object, ...]]:
    """Ids of a group's irreps, the trivial one first; of a Lie group those up to a frequency.

    ``group.irreps()`` lists the irreps that happen to exist already, so it depends on what ran before; this does not.

    Args:
        group: a finite group, SO(2), O(2), SO(3), O(3) or a product.
        max_frequency: highest frequency (or degree) of a Lie group's irreps, and of those of C_N and D_N.

    Returns:
        The ids, arguments of ``group.irrep``.

    Example:
        >>> from escnn import group
        >>> irrep_ids(group.o2_group(6), 1)
        [(0, 0), (1, 0), (1, 1)]
    """
    low = range(max_frequency + 1)
    if isinstance(group, SO2 | SO3):
        return [(k,) for k in low]
    if isinstance(group, O2):
        return [(0, 0), *((1, k) for k in low)]
    if isinstance(group, O3):
        return [(parity, degree) for degree in low for parity in (0, 1)]
    if isinstance(group, CyclicGroup | DihedralGroup):
        return [psi.id for psi in group.irreps() if psi.id[-1] <= max_frequency]
    if isinstance(group, DirectProductGroup):
        pairs = [(a, b) for a in irrep_ids(group.G1, max_frequency) for b in irrep_ids(group.G2, max_frequency)]
        both = [(group.G1.irrep(*a).type, group.G2.irrep(*b).type) == ("C", "C") for a, b in pairs]
        return [(*pair, i) for pair, split in zip(pairs, both, strict=True) for i in range(1 + split)]
    return [psi.id for psi in group.irreps()]


def random_features(
    field_type: FieldType, shape: Sequence[int] = (), *, batch: int = 2, dtype: torch.dtype, seed: int = 0
) -> Tensor:
    """Normal features on the CPU, drawn without touching a global generator.

    Args:
        field_type: their type.
        shape: spatial sizes, empty without a base space.
        batch: number of samples.
        dtype: of the result; drawn in double precision, so that all dtypes get the same features.
        seed: of torch's generator.

    Returns:
        The features.  # shape: (batch, channels, *shape)
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, field_type.size, *shape, generator=generator, dtype=torch.float64).to(dtype)


def rotations(gspace: GSpace) -> list[tuple[float, GroupElement]]:
    """Pairs of an angle in (0, pi] and an element: all of C_N and D_N, some of each circle of a Lie group."""
    group = fibre_group(gspace)
    if isinstance(group, PlanarGroup) and group.rotations is not None:
        n = group.rotations
        steps = [(2 * math.pi * min(j, n - j) / n, (0, j) if group.flips else j) for j in range(1, n)]
        return [(angle, group.group.element(value)) for angle, value in steps]
    return [(t, circle(t)) for circle in group.circles for t in (0.01, 0.5, 2.0, math.pi)]
