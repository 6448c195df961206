"""Subgroup chains: as many directions as characters count, all of them equivariant, none left out, sorted by stage."""

import itertools

import numpy as np
import pytest
import torch
from escnn.nn import Linear

from escnn_soft.functions import pixel_permutation
from escnn_soft.grading import fibre_transform, kernel_transform, subgroup_chain
from tests.cases import harmonics, planar, point, regular, small_types, spatial
from tests.reference import fibre_action, pixel_action, voxel_action

POINTS = [
    ("C8", 4), ("C6", 3), ("C6", 1), ("D4", (None, 4)), ("D4", (0, 1)), ("D4", (1, 2)), ("D4", (None, 1)),
    ("D6", (2, 1)), ("D6", (1, 2)), ("D3", (None, 3)), ("SO(2)", 4), ("SO(2)", -1), ("O(2)", (None, -1)),
    ("O(2)", (0.3, 1)), ("O(2)", (0.0, 3)), ("SO(3)", (False, -1)), ("SO(3)", (False, 3)), ("SO(3)", "octa"),
    ("O(3)", ("so3",)), ("octahedral", (False, 4)), ("octahedral", (False, 3)), ("icosahedral", (False, 5)),
]  # fmt: skip
"""Groups and subgroups, normal or not."""

PIXELS = [
    ("C4", 2), ("D4", (None, 4)), ("D4", (None, 2)), ("D4", (0, 1)), ("D4", (1, 1)), ("D4", (1, 2)), ("D2", (0, 1)),
    ("flip diagonal", 1), ("C8", 4), ("C8", 2), ("C12", 1), ("SO(2)", 4), ("O(2)", (0.0, 4)), ("O(2)", (None, 2)),
    ("D6", (0, 2)),
]  # fmt: skip
"""Subgroups that act on the pixels, of groups that do and of groups that do not."""

VOXELS = [("octahedral", (False, 4)), ("cylinder C4", (1, 2)), ("SO(3)", "octa"), ("axial", 4)]

CHAINS = {
    "C8": [4, 2, 1],
    "C4": [4, 2],
    "D4": [(None, 4), (None, 2), (None, 1)],
    "O(2)": [(None, -1), (None, 8), (None, 4), (None, 1)],
    "D6": [(0, 2), (0, 1)],
}


def elements(space, subgroup):
    sub, lift, _ = space.fibergroup.subgroup(subgroup)
    return [lift(h) for h in (sub.testing_elements() if sub.continuous else sub.elements)]


def mixed_types(space):
    g = space.fibergroup
    irreps = [psi for psi in g.irreps() if psi.size <= 3][:3]
    return space.type(regular(g), space.trivial_repr), space.type(*irreps)


def character(space, element, in_type, out_type, kernel_size) -> float:
    fixed = int(np.sum(pixel_permutation(space, kernel_size, element) == np.arange(kernel_size**space.dimensionality)))
    fibres = (np.trace(t.representation(element)) for t in (in_type, out_type))
    return float(np.prod([*fibres, fixed]))


def action(space):
    return pixel_action if space.dimensionality == 2 else voxel_action


@pytest.mark.parametrize(("name", "subgroup"), POINTS, ids=str)
def test_fibre_maps_are_those_of_the_subgroup(name, subgroup) -> None:
    space = point(name)
    in_type, out_type = mixed_types(space)
    transform = fibre_transform(space, in_type.representations, out_type.representations, [subgroup])
    sub = space.fibergroup.subgroup(subgroup)[0]
    restricted = in_type.restrict(subgroup), out_type.restrict(subgroup)
    assert transform.dim == Linear(*restricted, initialize=False).basisexpansion.dimension()
    if not sub.continuous:
        characters = [
            np.prod([np.trace(t.representation(h)) for t in (in_type, out_type)]) for h in elements(space, subgroup)
        ]
        assert transform.dim == round(np.mean(characters))
    matrix = transform.synthesis(torch.randn(transform.dim, dtype=torch.float64))
    for h in elements(space, subgroup):
        assert (fibre_action(h, matrix, in_type, out_type) - matrix).abs().max() < 1e-10
    whole = fibre_transform(space, in_type.representations, out_type.representations)
    assert transform.equivariant.dim == whole.equivariant.dim
    assert torch.equal(transform.equivariant.project(matrix), whole.equivariant.project(matrix))


@pytest.mark.parametrize(("name", "subgroup"), [*PIXELS, *VOXELS], ids=str)
def test_kernels_are_those_of_the_subgroup(name, subgroup) -> None:
    space = planar(name) if (name, subgroup) in PIXELS else spatial(name)
    in_type, out_type = mixed_types(space) if space.dimensionality == 2 else small_types(space)
    fields = in_type.representations, out_type.representations
    transform = kernel_transform(space, *fields, 3, harmonics(3, dims=space.dimensionality), chain=[subgroup])
    group = elements(space, subgroup)
    assert transform.dim == round(np.mean([character(space, h, in_type, out_type, 3) for h in group]))

    kernel = transform.synthesis(torch.randn(transform.dim, dtype=torch.float64))
    for h in group:
        assert (action(space)(h, kernel, in_type, out_type, 3) - kernel).abs().max() < 1e-12 * max(1.0, kernel.norm())

    dense = torch.randn(transform.shape, dtype=torch.float64)
    averaged = sum(action(space)(h, dense, in_type, out_type, 3) for h in group) / len(group)
    assert (transform.project(averaged) - averaged).abs().max() < 1e-10


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_nested_and_sorted_by_stage(name) -> None:
    space, chain = planar(name), CHAINS[name]
    in_type, out_type = mixed_types(space)
    fields = in_type.representations, out_type.representations
    transform = kernel_transform(space, *fields, 3, harmonics(3), chain=chain)
    levels = transform.levels
    assert [level.dial for level in levels] == sorted(level.dial for level in levels)
    assert [level.stage for level in levels] == sorted(level.stage for level in levels)
    assert len({level.name for level in levels}) == len(levels)
    for earlier, later in itertools.pairwise(levels):
        assert later.dial > earlier.dial or later.sigma == earlier.sigma
        if later.stage == earlier.stage:
            assert (later.remainder, later.sigma) >= (earlier.remainder, earlier.sigma)
        else:
            assert later.dial >= earlier.dial + 1
    coefficients = torch.randn(transform.dim, dtype=torch.float64)
    for stage in range(len(chain)):
        kept = sum(level.dim for level in levels if level.stage <= stage)
        alone = kernel_transform(space, *fields, 3, harmonics(3), chain=[chain[stage]])
        assert kept == alone.dim
        band = transform.band(0, sum(level.stage <= stage for level in levels))
        kernel = band.synthesis(band.analysis(transform.synthesis(coefficients)))
        assert (alone.project(kernel) - kernel).abs().max() < 1e-10
        assert (transform.project(kernel) - kernel).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["D4", "C3", "O(2)"])
def test_the_trivial_subgroup_is_no_restriction(name) -> None:
    space = planar(name)
    in_type, out_type = mixed_types(space)
    fields = in_type.representations, out_type.representations
    trivial = space.fibergroup.subgroup_trivial_id
    relaxed = kernel_transform(space, *fields, 3, harmonics(3), chain=[trivial])
    whole = kernel_transform(space, *fields, 3, harmonics(3))
    assert [(a.irrep_id, a.dim, a.dial) for a in relaxed.levels] == [(b.irrep_id, b.dim, b.dial) for b in whole.levels]
    assert relaxed.whole is not relaxed
    assert whole.whole is whole
    kernel = torch.randn(whole.shape, dtype=torch.float64)
    assert (relaxed.energies(kernel) - whole.energies(kernel)).abs().max() < 1e-10


def test_a_subgroup_off_the_grid_keeps_harmonics_alone() -> None:
    space = planar("SO(2)")
    in_type, out_type = mixed_types(space)
    fields = in_type.representations, out_type.representations
    transform = kernel_transform(space, *fields, 5, harmonics(5), chain=[8, 4])
    assert not any(level.remainder for level in transform.levels if level.keeps == "C8")
    assert any(level.irrep_id is None for level in transform.levels if level.keeps == "C4")


def test_each_irrep_splits_into_orthonormal_parts() -> None:
    chain = subgroup_chain(point("D4"), [(None, 4), (None, 2), (None, 1)])
    for psi in point("D4").fibergroup.irreps():
        vectors = np.concatenate(chain.kept(psi.id), axis=1)
        assert np.abs(vectors.T @ vectors - np.eye(psi.size)).max() < 1e-12
    assert subgroup_chain(point("D4"), ((None, 4), (None, 2), (None, 1))) is chain
