"""All blocks of one shape at once compute what single blocks do, and one step of the graph what all of them do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from escnn import gspaces
from torch import Tensor

from escnn_soft import SoftR2Conv
from escnn_soft.grading import arrangement
from escnn_soft.grading.arrangement import OneByOne, Together
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.linalg.linear_map import linear_map

C4, C8, D4 = gspaces.rot2dOnR2(4), gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(4)
SO2 = gspaces.rot2dOnR2(-1, maximum_frequency=3)
FIELDS = {
    "C4": C4.type(*[C4.regular_repr] * 2, C4.trivial_repr, C4.regular_repr),  # channels out of order by kind
    "C8": C8.type(C8.regular_repr, C8.irrep(1), C8.trivial_repr, C8.irrep(1), C8.regular_repr),
    "D4": D4.type(D4.regular_repr, D4.irrep(1, 1)),
    "SO(2)": SO2.type(SO2.irrep(0), SO2.irrep(1), SO2.irrep(2), SO2.irrep(1)),
}


@pytest.fixture(params=FIELDS)
def transforms(request) -> list[WeightTransform]:
    """All levels of a layer, the equivariant one, and the others; 5 x 5 pixels."""
    field = FIELDS[request.param]
    layer = SoftR2Conv(field, field.gspace.type(*field.representations[:2]), 5)
    whole = layer._transform
    return [whole, whole.equivariant, whole.soft]


def one_by_one(transform: WeightTransform) -> WeightTransform:
    other = replace(transform)
    vars(other)["_arranged"] = other._one_by_one
    return other


def with_gradient(function, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = function(x)
    return out.detach(), torch.autograd.grad(out, x, y)[0]


MAPS = {
    "synthesis": lambda t, x, gains: t.synthesis(x),
    "damped": lambda t, x, gains: t.synthesis(x, gains),
    "analysis": lambda t, x, gains: t.analysis(x),
    "multiplied": lambda t, x, gains: t.multiplied(x, gains, t.multipliers(gains)),
    "multiplied in two steps": lambda t, x, gains: t.multiplied(x, gains, [None] * len(t._arrangement.units)),
}


@pytest.mark.parametrize("name", MAPS)
def test_together_is_one_by_one(name, transforms) -> None:
    for transform in transforms:
        slow, gains = one_by_one(transform), torch.rand(len(transform.levels)).double()
        assert isinstance(transform._arrangement, Together)
        x = torch.randn(transform.dim if name in ("synthesis", "damped") else transform.shape).double()
        y = torch.randn_like(MAPS[name](transform, x, gains))
        fast, expected = (with_gradient(partial(MAPS[name], t, gains=gains), x, y) for t in (transform, slow))
        for a, b in zip(fast, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_gains_have_gradients(transforms) -> None:
    transform = transforms[-1]
    coefficients, gains = torch.randn(transform.dim).double(), torch.rand(len(transform.levels)).double()
    y = torch.randn(transform.shape).double()
    for fast, slow in zip(
        with_gradient(lambda g: transform.synthesis(coefficients, g), gains, y),
        with_gradient(lambda g: one_by_one(transform).synthesis(coefficients, g), gains, y),
        strict=True,
    ):
        assert torch.allclose(fast, slow, rtol=1e-12, atol=1e-12)


def test_large_weights_go_block_by_block(monkeypatch) -> None:
    monkeypatch.setattr(arrangement, "_SMALL", 100)
    layer = SoftR2Conv(FIELDS["C4"], FIELDS["C4"], 3)
    assert isinstance(layer._transform._arrangement, OneByOne)


# ---------------------------------------------------------------------- one step of the graph


M = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()


def mapped(x: Tensor) -> Tensor:
    return linear_map(x, lambda v: v @ M.mT, lambda v: v @ M)


def test_derivatives_of_every_order() -> None:
    x = torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(mapped, x)
    assert torch.autograd.gradgradcheck(lambda v: mapped(v).square(), x)
    wrong = linear_map(x, lambda v: v @ M.mT, lambda v: 2 * v @ M)
    (gradient,) = torch.autograd.grad(wrong.sum(), x)
    assert torch.allclose(gradient, 2 * torch.ones(2, 4).double() @ M), "the adjoint that is handed in is used"


def test_whoever_looks_at_operations_sees_them() -> None:
    x = torch.randn(5, 3).double().requires_grad_()
    assert torch.allclose(torch.vmap(mapped)(x), x @ M.mT)
    assert torch.allclose(torch.func.jacrev(mapped)(x[0]), M)
    assert torch.allclose(torch.func.jacfwd(mapped)(x[0]), M)
    assert torch.allclose(torch.func.hessian(lambda v: mapped(v).square().sum())(x[0]), 2 * M.mT @ M)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(mapped(dual)).tangent
        assert torch.allclose(tangent, torch.ones_like(x) @ M.mT)
    eye = torch.eye(4).double()
    (rows,) = torch.autograd.grad(mapped(x[0]), x, eye, is_grads_batched=True)
    assert torch.allclose(rows[:, 0], M)
    traced = torch.jit.trace(mapped, x)
    assert "PythonOp" not in str(traced.graph)
    assert torch.allclose(torch.compile(mapped, fullgraph=True, backend="eager")(x), x @ M.mT)
