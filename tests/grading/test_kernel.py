"""Planar kernels: the same basis as escnn's, complete, invertible, and stable under the group."""

import pytest
import torch
from escnn import gspaces
from escnn.group import directsum
from escnn.nn import R2Conv

from escnn_soft.functions import Harmonic
from escnn_soft.grading import WeightTransform, kernel_transform
from tests.cases import GRID_EXACT, PLANAR, field_types, harmonics, planar
from tests.reference import pixel_action, principal_sine

SIZES = [1, 3, 5, 7]


def transform_of(in_type, out_type, kernel_size) -> WeightTransform:
    return kernel_transform(
        in_type.gspace, in_type.representations, out_type.representations, kernel_size, harmonics(kernel_size)
    )


def span(transform: WeightTransform) -> torch.Tensor:
    return torch.stack([transform.synthesis(c) for c in torch.eye(transform.dim, dtype=torch.float64)])


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("name", PLANAR)
def test_equivariant_level_is_escnns_basis_and_levels_are_complete(name, kernel_size) -> None:
    for in_type, out_type in field_types(planar(name)):
        transform = transform_of(in_type, out_type, kernel_size)
        assert transform.dim == in_type.size * out_type.size * kernel_size**2
        expansion = R2Conv(in_type, out_type, kernel_size, initialize=False).basisexpansion
        assert transform.equivariant.dim == expansion.dimension()
        if in_type.size * out_type.size <= 64:  # the span itself, on the types where a QR is quick
            escnns = torch.stack([expansion(w) for w in torch.eye(expansion.dimension())])
            assert principal_sine(escnns, span(transform.equivariant)) < 1e-5


@pytest.mark.parametrize("kernel_size", SIZES)
@pytest.mark.parametrize("name", PLANAR)
def test_synthesis_inverts_analysis(name, kernel_size) -> None:
    for in_type, out_type in field_types(planar(name)):
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
            transform = transform_of(in_type, out_type, kernel_size).to(torch.device("cpu"), dtype)
            kernel = torch.randn(out_type.size, in_type.size, kernel_size**2, dtype=dtype)
            assert (transform.synthesis(transform.analysis(kernel)) - kernel).abs().max() < tolerance
            coefficients = torch.randn(transform.dim, dtype=dtype)
            assert (transform.analysis(transform.synthesis(coefficients)) - coefficients).abs().max() < tolerance


@pytest.mark.parametrize("kernel_size", [2, *SIZES, 4])
@pytest.mark.parametrize("name", GRID_EXACT)
def test_levels_of_grid_exact_groups_are_invariant_and_orthogonal(name, kernel_size) -> None:
    space = planar(name)
    for in_type, out_type in field_types(space)[:3]:
        transform = transform_of(in_type, out_type, kernel_size)
        assert transform.exact
        kernel = torch.randn(transform.shape, dtype=torch.float64)
        parts = [transform.band(i, i + 1).project(kernel) for i in range(len(transform.levels))]
        energies = transform.energies(kernel)
        for i, (level, part) in enumerate(zip(transform.levels, parts, strict=True)):
            assert part.square().sum().item() == pytest.approx(energies[i].item(), rel=1e-10)
            for element in space.fibergroup.elements:
                moved = pixel_action(element, part, in_type, out_type, kernel_size)
                assert (transform.band(i, i + 1).project(moved) - moved).abs().max() < 1e-10
                if level.sigma == 0:
                    assert (moved - part).abs().max() < 1e-10
        assert energies.sum().item() == pytest.approx(kernel.square().sum().item(), rel=1e-10)


def test_a_level_that_is_cut_is_not_invariant() -> None:
    """Tests the test above: half of a level's directions fail it."""
    space = planar("C4")
    field = space.type(space.irrep(1))
    transform = transform_of(field, field, 3)
    level = transform.band(1, 2)
    half = torch.randn(level.dim, dtype=torch.float64)
    half[::2] = 0
    moved = pixel_action(space.fibergroup.element(1), level.synthesis(half), field, field, 3)
    assert level.analysis(moved)[::2].abs().max() > 1e-3


@pytest.mark.parametrize("name", ["C1", "C4", "C8", "O(2)"])
def test_remainder_comes_last_on_the_dial(name) -> None:
    space = planar(name)
    in_type, out_type = field_types(space)[2]
    levels = transform_of(in_type, out_type, 5).levels
    dial = [level.dial for level in levels]
    assert dial == sorted(dial)
    assert max(level.dial for level in levels if not level.remainder) < min(
        level.dial for level in levels if level.remainder
    )
    assert all(level.irrep is None for level in levels if level.remainder) == (name in ("C8", "O(2)"))


def test_known_dimensions() -> None:
    """C_8 regular to regular with k = 5: 88 of 704 band-limited of 1600; C_4 with k = 3: 24 harmonic of 36 exact."""
    reg = planar("C8").type(planar("C8").regular_repr)
    levels = transform_of(reg, reg, 5).levels
    assert (levels[0].dim, sum(x.dim for x in levels if not x.remainder), sum(x.dim for x in levels)) == (88, 704, 1600)
    reg = planar("C4").type(planar("C4").regular_repr)
    levels = transform_of(reg, reg, 3).levels
    assert [x.dim for x in levels if x.sigma == 0] == [24, 12]


def test_frozen_numbers() -> None:
    """Coefficients mean the same kernel on every machine and in every version."""
    space = planar("D4")
    field = space.type(space.regular_repr, space.irrep(1, 1))
    transform = transform_of(field, field, 3)
    coefficients = torch.linspace(-1, 1, transform.dim, dtype=torch.float64)
    kernel = transform.synthesis(coefficients)
    weights = torch.linspace(0, 1, kernel.numel(), dtype=torch.float64).view(kernel.shape)
    assert [kernel[0, 0, 0].item(), kernel[3, 8, 4].item(), (kernel * weights).sum().item()] == pytest.approx(
        FROZEN_D4, abs=1e-10
    )


FROZEN_D4 = [-0.6862674489123562, -0.1014647105373356, -14.060452251849524]


def test_no_irreps_are_built_behind_escnns_back() -> None:
    """Each irrep that a Lie group holds costs escnn's cold search for Clebsch-Gordan coefficients time."""
    space = gspaces.flipRot2dOnR2(-1)
    g = space.fibergroup
    before = len(g.irreps())
    rho = [directsum([g.irrep(1, before), g.irrep(0, 0)], name="high")]
    known = len(g.irreps())
    levels = kernel_transform(space, rho, rho, 3, harmonics(3)).levels
    assert max(level.irrep_id[1] for level in levels if level.irrep_id) == 2 * before + 2
    assert len(g.irreps()) == known


@pytest.mark.parametrize("name", ["trivial", "C4", "D4", "C8", "O(2)"])
def test_dependent_harmonics_are_what_lower_ones_make_of_them(name) -> None:
    """Nine pixels tell at most nine functions; all kernels have a spectrum all the same."""
    space = planar(name)
    rho = [field_types(space)[0][0].representations[0]]
    many = [Harmonic(0.0, 0.005, 0), *(Harmonic(1.0, 0.4, j) for j in range(12))]
    few = [h for h in many if h.frequency < 3]
    transform, low = (kernel_transform(space, rho, rho, 3, harmonics) for harmonics in (many, few))
    assert transform.dependent > 0
    assert low.dependent == 0
    assert transform.dim == low.dim == rho[0].size ** 2 * 9
    kernel = torch.randn(transform.shape, dtype=torch.float64)
    assert (transform.synthesis(transform.analysis(kernel)) - kernel).abs().max() < 1e-12
