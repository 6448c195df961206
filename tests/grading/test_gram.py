"""All Gram matrices as one vector, and what a budget asks of it."""

from __future__ import annotations

import pytest
import torch

from escnn_soft import Budget, SoftLinear, SoftR2Conv
from escnn_soft.bounds.orbit import error_forms, squared_errors
from escnn_soft.dial.allowance import Allowance
from escnn_soft.dial.policies.resolution import Resolution
from escnn_soft.grading import GramVector, IrrepGrams, WeightTransform
from tests.cases import field_types, planar, point

ON_THE_PLANE, OF_VECTORS = ["C4", "D4", "C8", "D3", "SO(2)", "O(2)"], ["D6", "SO(3)", "octahedral", "cylinder"]


def transforms(name: str) -> list[WeightTransform]:
    if name in ON_THE_PLANE:
        return [SoftR2Conv(*types, 3)._transform for types in field_types(planar(name))[1:3]]
    return [SoftLinear(*types)._transform for types in field_types(point(name))[1:3]]


@pytest.mark.parametrize("stacks", ["in stacks", "one by one"])
@pytest.mark.parametrize("name", [*ON_THE_PLANE, *OF_VECTORS])
def test_one_vector_holds_all_matrices(name, stacks) -> None:
    for whole in transforms(name):
        for transform in (whole, whole.soft):
            arrangement = transform.stacks if stacks == "in stacks" else transform._one_by_one
            vector, grams = GramVector(transform, arrangement.units), IrrepGrams(transform)
            c = torch.randn(transform.dim, dtype=torch.float64, requires_grad=True)
            expected = torch.cat([gram.flatten() for gram in grams(transform.pieces(c))])
            pieces = arrangement.pieces(c)
            assert torch.allclose(vector(pieces), expected, rtol=1e-12, atol=1e-12)
            moved = torch.randn_like(expected)
            (slope,) = torch.autograd.grad(expected, c, moved)
            assert torch.allclose(arrangement.coefficients(vector.adjoint(moved, pieces)), slope, atol=1e-11)


@pytest.mark.parametrize("name", ["C8", "D4", "SO(2)", "O(2)", "octahedral"])
def test_one_matrix_asks_all_points_of_the_orbit(name) -> None:
    transform = transforms(name)[0]
    grams = IrrepGrams(transform)
    ids = [irrep for irrep in grams.irreps if irrep is not None]
    orbit = transform.group.orbit(ids)
    found = grams(transform.pieces(torch.randn(transform.dim, dtype=torch.float64)))
    lawful = [gram for irrep, gram in zip(grams.irreps, found, strict=True) if irrep is not None]
    forms = error_forms(orbit)
    assert forms is not None
    errors = forms @ torch.cat([gram.flatten() for gram in lawful])
    assert torch.allclose(errors, squared_errors(lawful, orbit).flatten(), rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("name", [*ON_THE_PLANE, *OF_VECTORS])
def test_a_budget_of_coefficients_is_that_of_their_blocks(name, scale) -> None:
    for transform in transforms(name):
        resolution = Resolution.of(torch.float64, transform.dim, transform.condition)
        allowance = Allowance(transform, resolution, torch.device("cpu"), torch.float64)
        assert (allowance._errors is None) == (name == "SO(3)")
        own, c = (scale * torch.randn(part.dim).double() for part in (transform.equivariant, transform.soft))
        for eta in (0.01, 0.3, 2.0):
            results = []
            for way in (allowance.of_coefficients, allowance.of_blocks):
                a, b = c.clone().requires_grad_(), own.clone().requires_grad_()
                given = a if way == allowance.of_coefficients else transform.soft.pieces(a)
                t, resolved = way(Budget(eta), given, b.norm())
                slopes = torch.autograd.grad(t, [a, b], allow_unused=True)
                results.append(
                    [t.detach(), resolved, *(0 * x if s is None else s for x, s in zip((c, own), slopes, strict=True))]
                )
            for fast, slow in zip(*results, strict=True):
                assert torch.allclose(fast.double() * 1.0, slow.double() * 1.0, rtol=1e-10, atol=1e-12 / scale)
