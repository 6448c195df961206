"""Hypothesis strategies for irreps, representations, field types and features."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from escnn.group import (
    O2,
    O3,
    SO2,
    SO3,
    CyclicGroup,
    DihedralGroup,
    Group,
    IrreducibleRepresentation,
    Representation,
    directsum,
)
from escnn.gspaces import GSpace
from escnn.nn import FieldType, GeometricTensor
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from escnn_soft._checks import instance, integer
from escnn_soft.errors import ArgumentError
from escnn_soft.testing.samples import irrep_ids, random_features

__all__ = ["REPRESENTATION_KINDS", "field_types", "geometric_tensors", "irreps", "representations"]

REPRESENTATION_KINDS = ("irrep", "regular", "quotient", "sum")
"""What ``representations(kinds=...)`` understands, in the order in which examples shrink."""

_LARGE = 1e3
"""Scale of the large features."""


def irreps(group: Group, max_frequency: int = 2) -> SearchStrategy[IrreducibleRepresentation]:
    """Irreps of a group; shrinks towards the trivial one.

    Args:
        group: a compact group of escnn.
        max_frequency: highest frequency of C_N, D_N and the Lie groups; higher ones slow escnn down for good.

    Returns:
        A strategy.
    """
    instance("group", group, Group, "Pass gspace.fibergroup.")
    integer("max_frequency", max_frequency, minimum=0)
    return st.sampled_from(irrep_ids(group, max_frequency)).map(lambda name: group.irrep(*name))


def representations(
    group: Group, *, max_frequency: int = 2, max_size: int = 12, kinds: Collection[str] = REPRESENTATION_KINDS
) -> SearchStrategy[Representation]:
    """Representations of a group: irreps, regular ones, quotients and direct sums; shrinks towards the trivial one.

    A Lie group's regular representation is the band-limited one; a product group's is taken if it is finite.

    Args:
        group: a compact group of escnn.
        max_frequency: see :func:`irreps`.
        max_size: largest size of what is not an irrep.
        kinds: a subset of ``REPRESENTATION_KINDS``.

    Returns:
        A strategy.

    Raises:
        ArgumentError: if a kind is unknown.
    """
    if not kinds or set(kinds) - set(REPRESENTATION_KINDS):
        raise ArgumentError("kinds", kinds, f"some of {REPRESENTATION_KINDS}", "Leave it out to draw from all.")
    single = irreps(group, max_frequency)
    options: list[SearchStrategy[Representation]] = []
    if "irrep" in kinds:
        options.append(single)
    if "regular" in kinds and (regular := _regular(group, max_size)) is not None:
        options.append(st.just(regular))
    if "quotient" in kinds and (quotients := _quotients(group, max_size)):
        options.append(st.sampled_from(quotients))
    if "sum" in kinds:
        options.append(st.lists(single, min_size=1, max_size=3).map(_sum))
    return st.one_of(options or [single])


def field_types(
    gspace: GSpace,
    *,
    max_fields: int = 3,
    max_size: int = 12,
    max_frequency: int = 2,
    kinds: Collection[str] = REPRESENTATION_KINDS,
) -> SearchStrategy[FieldType]:
    """Types of feature fields; shrinks towards one trivial field.

    Args:
        gspace: where the fields live.
        max_fields: largest number of fields.
        max_size: largest number of channels, but for a single irrep that is larger by itself.
        max_frequency: see :func:`irreps`.
        kinds: see :func:`representations`.

    Returns:
        A strategy.

    Example:
        >>> from escnn import gspaces
        >>> from hypothesis import given
        >>> @given(field_types(gspaces.rot2dOnR2(4), max_size=8))
        ... def test_size(field_type):
        ...     assert 1 <= field_type.size <= 8
        >>> test_size()
    """
    instance("gspace", gspace, GSpace, "Build one with escnn.gspaces.")
    single = representations(gspace.fibergroup, max_frequency=max_frequency, max_size=max_size, kinds=kinds)

    def build(fields: list[Representation]) -> FieldType:
        kept = fields[:1]
        for rho in fields[1:]:
            if sum(other.size for other in kept) + rho.size <= max_size:
                kept.append(rho)
        return gspace.type(*kept)

    return st.lists(single, min_size=1, max_size=max_fields).map(build)


@st.composite
def geometric_tensors(
    draw: DrawFn,
    field_type: FieldType,
    *,
    sides: Sequence[int] | SearchStrategy[int] = range(1, 10),
    max_batch: int = 2,
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
) -> GeometricTensor:
    """Features: zero, constant, a single one, normal, or normal and large; shrinks towards few zeros.

    Args:
        draw: passed by Hypothesis.
        field_type: their type.
        sides: heights and widths to draw from, independently of each other; a strided layer stays centred on some.
        max_batch: largest number of samples.
        dtypes: dtypes to draw from.

    Returns:
        The features.
    """
    instance("field_type", field_type, FieldType, "Build one with gspace.type(*representations).")
    side = sides if isinstance(sides, SearchStrategy) else st.sampled_from(sides)
    shape = [draw(side) for _ in range(field_type.gspace.dimensionality)]
    batch = draw(st.integers(1, max_batch))
    dtype = draw(st.sampled_from(dtypes))
    kind = draw(st.sampled_from(["zero", "constant", "one", "normal", "large"]))
    seed = draw(st.integers(0, 2**16)) if kind in ("one", "normal", "large") else 0
    return GeometricTensor(_features(kind, field_type, shape, batch, dtype, seed), field_type)


def _features(kind: str, field_type: FieldType, shape: list[int], batch: int, dtype: torch.dtype, seed: int) -> Tensor:
    x = random_features(field_type, shape, batch=batch, dtype=dtype, seed=seed)
    if kind in ("zero", "constant"):
        return torch.full_like(x, float(kind == "constant"))
    if kind == "one":
        return torch.zeros_like(x).flatten().index_fill(0, torch.tensor(seed % x.numel()), 1.0).view_as(x)
    return x * _LARGE if kind == "large" else x


def _regular(group: Group, max_size: int) -> Representation | None:
    if group.elements is not None:
        return group.regular_representation if group.order() <= max_size else None
    if isinstance(group, SO2 | O2 | SO3 | O3):
        rho = group.bl_regular_representation(1)
        return rho if rho.size <= max_size else None
    return None


def _quotients(group: Group, max_size: int) -> list[Representation]:
    found: list[Representation] = []
    if isinstance(group, CyclicGroup):
        orders = range(2, group.order())
        found = [group.quotient_representation(n) for n in orders if group.order() % n == 0]
    elif isinstance(group, DihedralGroup):
        found = [group.quotient_representation((None, group.rotation_order))]
        if group.rotation_order <= max_size:
            found.append(group.quotient_representation((0, 1)))
    elif isinstance(group, SO3):
        found = [group.bl_sphere_representation(1)]
    return [rho for rho in found if rho.size <= max_size]


def _sum(parts: list[IrreducibleRepresentation]) -> Representation:
    # escnn's caches go by the name, so equal sums need equal names and different ones different names.
    if len(parts) == 1:
        return parts[0]
    return directsum(parts, name="sum_of_" + "_".join(str(psi.id).replace(" ", "") for psi in parts))
