"""Continuous kernels: their functions, their levels, and the basis of all of them, against definitions and escnn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from escnn.nn.modules.basismanager import BlocksBasisSampler

from escnn_soft.escnn import SoftKernelBasis
from escnn_soft.functions import Harmonic
from escnn_soft.grading import continuous_transform, ring_functions
from escnn_soft.testing.samples import random_elements
from tests.cases import planar, regular, some_irreps, spatial
from tests.reference import principal_sine

RINGS, WIDTHS, FREQUENCY = [0.0, 0.7, 1.5], [0.2, 0.5, 0.4], 2
HARMONICS = tuple(Harmonic(r, w, j) for r, w in zip(RINGS, WIDTHS, strict=True) for j in range(FREQUENCY + 1))
SPACES = {name: planar(name) for name in ("C4", "C3", "D4", "D3", "D4 tilted", "flip tilted", "SO(2)", "O(2)")}
SPACES |= {f"{name} in space": spatial(name) for name in ("SO(3)", "O(3)", "octahedral", "cone D4", "mirror")}


def points(dims: int, count: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, dims, generator=generator, dtype=torch.float64)


def representations(space):
    g = space.fibergroup
    planar_finite = space.dimensionality == 2 and not g.continuous
    return (regular(g) if planar_finite else some_irreps(g, 3)[-1]), some_irreps(g, 2)[-1]


def basis_of(space, **arguments) -> SoftKernelBasis:
    return SoftKernelBasis(space, *representations(space), WIDTHS, RINGS, FREQUENCY, **arguments)


def moved(space, element, sample, xs, in_repr, out_repr):
    """rho_out(g) K(g^-1 x) rho_in(g)^-1 for samples (points, dim, out, in), by definition."""
    back = torch.from_numpy(np.asarray(space.basespace_action(~element)))
    out, into = (torch.from_numpy(np.asarray(m, dtype=np.float64)) for m in (out_repr(element), in_repr(~element)))
    return out @ sample(xs @ back.T) @ into


@pytest.mark.parametrize("dims", [2, 3])
def test_functions_are_gaussian_rings_times_orthonormal_harmonics(dims) -> None:
    functions = ring_functions(planar("C4") if dims == 2 else spatial("octahedral"), HARMONICS)
    xs = points(dims)
    values, radii = functions(xs), xs.norm(dim=1)
    for h, place in zip(HARMONICS, functions.slices, strict=True):
        ring = torch.exp(-0.5 * ((radii - h.radius) / h.width) ** 2)
        size = (2 if h.frequency else 1) if dims == 2 else 2 * h.frequency + 1
        assert torch.allclose((values[:, place] / ring[:, None]).square().sum(1), torch.full_like(radii, size))
        if dims == 2 and h.frequency:
            angle = h.frequency * torch.atan2(xs[:, 1], xs[:, 0])
            pair = torch.stack([angle.cos(), angle.sin()], dim=1) * math.sqrt(2)
            assert (values[:, place] - ring[:, None] * pair).abs().max() < 1e-12
    angles = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    if dims == 2:
        harmonics = functions.spheres(circle)
        assert torch.allclose(harmonics.T @ harmonics / 24, torch.eye(harmonics.shape[1]).double(), atol=1e-7)
    at_origin = functions(torch.zeros(1, dims, dtype=torch.float64))[0]
    for h, place in zip(HARMONICS, functions.slices, strict=True):
        assert bool(at_origin[place].any()) == (h.frequency == 0)


@pytest.mark.parametrize("dims", [2, 3])
def test_functions_are_differentiable_also_at_the_origin(dims) -> None:
    functions = ring_functions(planar("D3") if dims == 2 else spatial("SO(3)"), HARMONICS)
    xs = points(dims, 5).requires_grad_()
    assert torch.autograd.gradcheck(functions, xs)
    origin = torch.zeros(1, dims, dtype=torch.float64, requires_grad=True)
    functions(origin).sum().backward()
    assert torch.equal(origin.grad, torch.zeros_like(origin))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("radius", [0.0, 0.05, 0.6, 1.5, 40.0, math.inf])
def test_supremum_bounds_the_functions_and_is_tight(dims, radius) -> None:
    functions = ring_functions(planar("C4") if dims == 2 else spatial("octahedral"), HARMONICS)
    along = torch.zeros(20001, dims, dtype=torch.float64)
    along[:, 0] = torch.linspace(0.0, min(radius, 5.0), 20001)
    along[0, 0] = 1e-7 if radius else 0.0  # the frequencies above 0 jump at the origin
    largest = float(functions(along).norm(dim=1).max())
    bound = functions.supremum(radius)
    assert largest <= bound * (1 + 1e-12)
    if radius > 0.01:
        assert bound < 1.01 * largest


@pytest.mark.parametrize("name", SPACES)
def test_levels_transform_under_their_irreps(name) -> None:
    space, xs = SPACES[name], points(SPACES[name].dimensionality, 200)
    basis = basis_of(space)
    flat = basis.sample(xs).permute(1, 0, 2, 3).flatten(1)
    assert basis.dim == len(flat) == torch.linalg.matrix_rank(flat)
    violations = [a["violation"] for a in basis]
    assert violations == sorted(violations)
    assert basis.invariants == sum(v == 0 for v in violations)
    for element in random_elements(space.fibergroup, 3):
        turned = moved(space, element, basis.sample, xs, basis.in_repr, basis.out_repr).permute(1, 0, 2, 3).flatten(1)
        matrix = turned @ torch.linalg.pinv(flat)
        assert (matrix @ flat - turned).abs().max() < 1e-9
        assert (matrix @ matrix.T - torch.eye(basis.dim)).abs().max() < 1e-9  # orthonormal coefficients
        start = 0
        for level in basis.levels:
            psi = torch.from_numpy(np.asarray(level.irrep(element), dtype=np.float64))
            block = torch.block_diag(*[psi.T] * (level.dim // len(psi)))
            assert (matrix[start : start + level.dim, start : start + level.dim] - block).abs().max() < 1e-9
            start += level.dim


@pytest.mark.parametrize("name", SPACES)
def test_invariant_elements_span_escnns_basis(name) -> None:
    space, xs = SPACES[name], points(SPACES[name].dimensionality, 200)
    basis = basis_of(space)
    escnns = space.build_kernel_basis(basis.in_repr, basis.out_repr, WIDTHS, RINGS, maximum_frequency=FREQUENCY)
    assert escnns.dim == basis.invariants
    ours = basis.sample(xs)[:, : basis.invariants].permute(1, 0, 2, 3)
    theirs = escnns.sample(xs.float()).permute(1, 0, 2, 3)
    assert principal_sine(theirs, ours) < 1e-5


def test_attributes_say_what_each_element_is() -> None:
    space = planar("C4")
    basis = basis_of(space)
    xs = points(2)
    samples = basis.sample(xs)
    in_frame, out_frame = (torch.from_numpy(r.change_of_basis) for r in (basis.in_repr, basis.out_repr))
    hats = out_frame.T @ samples @ in_frame
    functions = ring_functions(space, HARMONICS)
    for i, a in enumerate(basis):
        assert a == basis[i]
        assert a["level"].irrep_id == a["irrep"]
        (place,) = (
            p
            for h, p in zip(HARMONICS, functions.slices, strict=True)
            if (h.radius, h.width, h.frequency) == (a["radius"], a["sigma"], a["irrep:frequency"])
        )
        span = functions(xs)[:, place]
        flat = hats[:, i].flatten(1)
        assert (span @ torch.linalg.pinv(span) @ flat - flat).abs().max() < 1e-12
        sizes = [[space.irrep(*irrep).size for irrep in r.irreps] for r in (basis.out_repr, basis.in_repr)]
        starts = [sum(s[:p]) for s, p in zip(sizes, (a["out_irrep_idx"], a["in_irrep_idx"]), strict=True)]
        rest = hats[:, i].clone()
        rest[
            :,
            starts[0] : starts[0] + sizes[0][a["out_irrep_idx"]],
            starts[1] : starts[1] + sizes[1][a["in_irrep_idx"]],
        ] = 0
        assert rest.abs().max() < 1e-12


def test_escnns_machinery_takes_the_basis() -> None:
    space = planar("D3")
    fields = [regular(space.fibergroup), space.irrep(1, 1)]
    sampler = BlocksBasisSampler(
        fields, fields, lambda a, b: SoftKernelBasis(space, a, b, 0.5, RINGS, FREQUENCY),
        basis_filter=lambda a: a["violation"] < 2,
    )  # fmt: skip
    xs = points(2, 6).float()
    kernel = sampler(torch.randn(sampler.dimension()), xs)
    assert kernel.shape == (6, 8, 8)
    transform = continuous_transform(space, fields, fields, [Harmonic(r, 0.5, j) for r in RINGS for j in range(3)])
    assert sampler.dimension() == sum(level.dim for level in transform.levels if level.sigma < 2)
    out = torch.empty(6, basis_of(space).dim, *basis_of(space).shape)
    assert torch.equal(basis_of(space).sample(xs, out=out), basis_of(space)(xs))
    assert basis_of(space) == basis_of(space)
    assert hash(basis_of(space)) == hash(basis_of(space))
    assert basis_of(space) != basis_of(space, filter=lambda a: a["irrep:frequency"] < 2)


@pytest.mark.parametrize("name", ["D3", "O(2)", "octahedral in space"])
def test_analysis_inverts_synthesis(name) -> None:
    space = SPACES[name]
    fields = [*some_irreps(space.fibergroup, 3), space.trivial_repr]
    transform = continuous_transform(space, fields, fields, HARMONICS)
    weight = torch.randn(transform.shape, dtype=torch.float64)
    assert transform.dim == weight.numel()
    coefficients = transform.analysis(weight)
    assert (transform.synthesis(coefficients) - weight).abs().max() < 1e-10
    assert float(coefficients.norm()) == pytest.approx(float(weight.norm()), rel=1e-12)
