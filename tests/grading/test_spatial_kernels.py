"""Kernels in space: the same basis as escnn's, complete, invertible, and stable under the voxel action."""

import numpy as np
import pytest
import torch
from escnn.group import o3_group, so3_group
from escnn.kernels import HarmonicPolynomialR3Generator
from escnn.nn import GeometricTensor, R3Conv

from escnn_soft.functions import act, grid_action, pixel_elements
from escnn_soft.grading import WeightTransform, kernel_transform
from escnn_soft.groups import clebsch_gordan, fibre_group, spherical_harmonics
from escnn_soft.linalg import intertwiners
from tests.cases import SPATIAL, VOXEL_EXACT, harmonics, small_types, spatial
from tests.reference import principal_sine, voxel_action


def transform_of(in_type, out_type, kernel_size=3) -> WeightTransform:
    return kernel_transform(
        in_type.gspace, in_type.representations, out_type.representations, kernel_size, harmonics(kernel_size, dims=3)
    )


def span(transform: WeightTransform) -> torch.Tensor:
    return torch.stack([transform.synthesis(c) for c in torch.eye(transform.dim, dtype=torch.float64)])


@pytest.mark.parametrize("name", SPATIAL)
def test_equivariant_level_is_escnns_basis_and_levels_are_complete(name) -> None:
    in_type, out_type = small_types(spatial(name))
    transform = transform_of(in_type, out_type)
    assert transform.exact == (name in VOXEL_EXACT)
    assert transform.dim == in_type.size * out_type.size * 27
    expansion = R3Conv(in_type, out_type, 3, initialize=False).basisexpansion
    escnns = torch.stack([expansion(w) for w in torch.eye(expansion.dimension())])
    assert transform.equivariant.dim == expansion.dimension()
    assert principal_sine(escnns, span(transform.equivariant)) < 1e-6
    kernel = torch.randn(transform.shape, dtype=torch.float64)
    assert (transform.synthesis(transform.analysis(kernel)) - kernel).abs().max() < 1e-10


@pytest.mark.parametrize("kernel_size", [1, 4, 5])
@pytest.mark.parametrize("name", ["SO(3)", "octahedral", "cone", "inversion"])
def test_other_sizes(name, kernel_size) -> None:
    space = spatial(name)
    in_type = space.type(space.fibergroup.irreps()[1])
    transform = transform_of(in_type, in_type, kernel_size)
    expansion = R3Conv(in_type, in_type, kernel_size, initialize=False).basisexpansion
    escnns = torch.stack([expansion(w) for w in torch.eye(expansion.dimension())])
    assert transform.dim == in_type.size**2 * kernel_size**3
    assert principal_sine(escnns, span(transform.equivariant)) < 1e-6


@pytest.mark.parametrize("kernel_size", [2, 3, 4])
@pytest.mark.parametrize("name", VOXEL_EXACT)
def test_levels_of_voxel_exact_groups_are_invariant_and_orthogonal(name, kernel_size) -> None:
    space = spatial(name)
    in_type, out_type = (space.type(rho) for rho in (space.fibergroup.irreps()[-1], space.trivial_repr))
    transform = transform_of(in_type, out_type, kernel_size)
    kernel = torch.randn(transform.shape, dtype=torch.float64)
    parts = [transform.band(i, i + 1).project(kernel) for i in range(len(transform.levels))]
    assert sum(parts).sub(kernel).abs().max() < 1e-10
    assert transform.energies(kernel).sum().item() == pytest.approx(kernel.square().sum().item(), rel=1e-10)
    for element in space.fibergroup.elements[:: max(1, space.fibergroup.order() // 8)]:
        for i, (level, part) in enumerate(zip(transform.levels, parts, strict=True)):
            moved = voxel_action(element, part, in_type, out_type, kernel_size)
            assert (transform.band(i, i + 1).project(moved) - moved).abs().max() < 1e-10
            if level.sigma == 0:
                assert (moved - part).abs().max() < 1e-10


@pytest.mark.parametrize(("l", "m", "j"), [(0, 0, 0), (1, 1, 1), (2, 1, 2), (2, 3, 4), (3, 3, 0)])
def test_clebsch_gordan_is_the_canonical_intertwiner(l, m, j) -> None:
    """The slow way: the joint null space over all intertwiners, made canonical by its projector."""
    group = so3_group()
    turns = [group.element(axis, "EV") for axis in np.eye(3)[[0, 2]]]
    rho = [np.kron(group.irrep(l)(g), group.irrep(m)(g)) for g in turns]
    (slow,) = intertwiners(rho, [group.irrep(j)(g) for g in turns])
    assert np.abs(clebsch_gordan(l, m, j) - slow).max() < 1e-9


def test_clebsch_gordan_of_high_degrees() -> None:
    group, g = so3_group(), so3_group().element(np.array([0.3, -1.1, 0.7]), "EV")
    for j in (0, 5, 10):
        a = clebsch_gordan(5, 5, j)
        psi = group.irrep(5)(g)
        assert np.abs(np.kron(psi, psi) @ a - a @ group.irrep(j)(g)).max() < 1e-9
        assert np.abs(a.T @ a - np.eye(2 * j + 1)).max() < 1e-10


def test_frozen_numbers() -> None:
    """Coefficients mean the same kernel on every machine and in every version."""
    for name, expected in FROZEN.items():
        in_type, out_type = small_types(spatial(name))
        transform = transform_of(in_type, out_type)
        coefficients = torch.linspace(-1, 1, transform.dim, dtype=torch.float64)
        kernel = transform.synthesis(coefficients)
        weights = torch.linspace(0, 1, kernel.numel(), dtype=torch.float64).view(kernel.shape)
        found = [kernel[0, 0, 0].item(), kernel[-1, 1, 5].item(), (kernel * weights).sum().item()]
        assert found == pytest.approx(expected, abs=1e-9), name


FROZEN = {
    "SO(3)": [-0.7121451037, -0.1218449515, -48.0272827318],
    "O(3)": [-0.7109518883, -0.1238029586, -48.1513138797],
    "octahedral": [-0.612492713, 1.1610165977, 13.8532557012],
    "full octahedral": [-0.5961040801, 1.177793901, 11.1827402506],
    "icosahedral": [-0.8092503473, 0.0199126989, -57.3520044247],
    "cone": [-0.2575912883, -0.3300348824, -17.6888444898],
}


@pytest.mark.parametrize("degree", [0, 1, 2, 4])
def test_spherical_harmonics_are_escnns(degree) -> None:
    directions = np.random.default_rng(0).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ours = spherical_harmonics(degree, directions)
    escnns = HarmonicPolynomialR3Generator(max(degree, 1))(torch.from_numpy(directions).float()).numpy()
    theirs = escnns[:, degree**2 : (degree + 1) ** 2]
    scale = (ours * theirs).sum() / (theirs**2).sum()
    assert np.abs(ours - scale * theirs).max() < 1e-5
    assert (ours**2).sum(axis=1) == pytest.approx(2 * degree + 1)
    psi = o3_group().irrep(degree % 2, degree)
    g = o3_group().sample()
    matrix = o3_group().standard_representation()(g)
    assert np.abs(spherical_harmonics(degree, directions @ matrix.T) - ours @ psi(g).T).max() < 1e-9


@pytest.mark.parametrize("name", SPATIAL)
def test_voxel_elements_are_a_group_of_signed_permutations(name) -> None:
    space = spatial(name)
    elements = pixel_elements(space)
    assert elements[0] == space.fibergroup.identity
    matrices = {grid_action(space, g).tobytes() for g in elements}
    assert len(matrices) == len(elements)
    assert all(
        (grid_action(space, g) @ grid_action(space, h)).tobytes() in matrices for g in elements for h in elements[:8]
    )
    known = [g for g in space.fibergroup.testing_elements() if np.abs(space.basespace_action(g) % 1).max() < 1e-12]
    assert all(grid_action(space, g).tobytes() in matrices for g in known)


@pytest.mark.parametrize("name", ["SO(3)", "full octahedral", "cone D4"])
def test_the_action_on_volumes_moves_voxels_and_is_a_homomorphism(name) -> None:
    space = spatial(name)
    field = space.type(space.fibergroup.irreps()[1], space.trivial_repr)
    elements = pixel_elements(space)
    x = GeometricTensor(torch.randn(1, field.size, 3, 3, 3, dtype=torch.float64), field)
    scalar = space.type(space.trivial_repr)
    for g in elements[::5]:
        h = elements[-1]
        twice, once = act(g, act(h, x)), act(g @ h, x)
        assert (twice.tensor - once.tensor).abs().max() < 1e-12
        kernel = torch.randn(1, 1, 27, dtype=torch.float64)
        moved = act(g, GeometricTensor(kernel.view(1, 1, 3, 3, 3), scalar)).tensor.reshape(1, 1, 27)
        assert torch.equal(moved, voxel_action(g, kernel, scalar, scalar, 3))
    oblong = GeometricTensor(torch.randn(1, field.size, 2, 3, 4, dtype=torch.float64), field)
    for g in elements:
        assert (act(~g, act(g, oblong)).tensor - oblong.tensor).abs().max() < 1e-12


def test_a_mirror_and_an_inversion_are_no_half_turns() -> None:
    for name in ("mirror", "inversion"):
        assert fibre_group(spatial(name)).violation((1,)) == 2.0
    assert fibre_group(spatial("axial C4")).violation((1,)) < 1.0
