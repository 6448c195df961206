"""All blocks of one shape at once compute what single blocks do, and one step of the graph what all of them do."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest
import torch
from escnn import gspaces
from torch import Tensor

import escnn_soft as es
from escnn_soft import SoftR2Conv
from escnn_soft.grading import DampedSynthesis, arranged, damped_synthesis
from escnn_soft.grading.arrangement import Arrangement, OneByOne
from escnn_soft.grading.as_matrix import AsMatrix
from escnn_soft.grading.by_fields import ByFields
from escnn_soft.grading.together import Together
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.layers.soft import SoftLayer
from escnn_soft.linalg.one_step import linear_map, one_step

C4, C8, D4 = gspaces.rot2dOnR2(4), gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(4)
SO2 = gspaces.rot2dOnR2(-1, maximum_frequency=3)
FIELDS = {
    "C4": C4.type(*[C4.regular_repr] * 2, C4.trivial_repr, C4.regular_repr),  # channels out of order by kind
    "C8": C8.type(C8.regular_repr, C8.irrep(1), C8.trivial_repr, C8.irrep(1), C8.regular_repr),
    "D4": D4.type(D4.regular_repr, D4.irrep(1, 1)),
    "SO(2)": SO2.type(SO2.irrep(0), SO2.irrep(1), SO2.irrep(2), SO2.irrep(1)),
}


POINT = gspaces.no_base_space(D4.fibergroup)
VECTORS = POINT.type(D4.regular_repr, D4.irrep(1, 1)), POINT.type(D4.irrep(1, 1), D4.trivial_repr)


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
    "multiplied in two steps": lambda t, x, gains: t.multiplied(x, gains, [None] * len(t.arrangement.units)),
}


@pytest.mark.parametrize("name", MAPS)
def test_together_is_one_by_one(name, transforms) -> None:
    for transform in transforms:
        slow, gains = one_by_one(transform), torch.rand(len(transform.levels)).double()
        assert isinstance(transform.arrangement, Together)
        x = torch.randn(transform.dim if name in ("synthesis", "damped") else transform.shape).double()
        y = torch.randn_like(MAPS[name](transform, x, gains))
        fast, expected = (with_gradient(partial(MAPS[name], t, gains=gains), x, y) for t in (transform, slow))
        for a, b in zip(fast, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def check_every_map(layers: Iterable[SoftLayer], arrangement: type[Arrangement]) -> None:
    """All maps of some layers' transforms, which are of an arrangement, against those block by block."""
    for layer in layers:
        for transform in (layer._transform, layer._transform.equivariant, layer._transform.soft):
            slow, gains = one_by_one(transform), torch.rand(len(transform.levels)).double()
            assert isinstance(transform.arrangement, arrangement)
            for name, function in MAPS.items():
                x = torch.randn(transform.dim if name in ("synthesis", "damped") else transform.shape).double()
                y = torch.randn_like(function(transform, x, gains))
                fast, expected = (with_gradient(partial(function, t, gains=gains), x, y) for t in (transform, slow))
                for a, b in zip(fast, expected, strict=True):
                    assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_one_matrix_is_one_by_one() -> None:
    small = SoftR2Conv(C4.type(C4.regular_repr), C4.type(C4.trivial_repr, C4.irrep(1)), 5)
    check_every_map([small, es.SoftLinear(*VECTORS)], AsMatrix)


def small_fields() -> list[SoftR2Conv]:
    """Small weights between fields of one kind each, with several copies of an irrep in a field too."""
    twice = D4.type(*[D4.regular_repr] * 3)  # holds two-dimensional irreps twice
    so2 = SO2.fibergroup.bl_regular_representation(2)
    return [
        SoftR2Conv(C4.type(*[C4.regular_repr] * 4), C4.type(*[C4.regular_repr] * 3), 3),
        SoftR2Conv(twice, D4.type(*[D4.regular_repr] * 4), 1),
        SoftR2Conv(SO2.type(*[so2] * 3), SO2.type(*[so2] * 2), 3),
        SoftR2Conv(twice, D4.type(*[D4.irrep(1, 1)] * 6), 3, chain=[(None, 4)]),
    ]


def test_by_fields_is_one_by_one() -> None:
    check_every_map(small_fields(), ByFields)


def level_by_level(transform: WeightTransform, gains: Tensor | None, breaking: Tensor, *given: Tensor) -> Tensor:
    """A damped synthesis, slowly: one gain a level."""
    *coefficients, t = given
    static = torch.ones(len(transform.levels)).double() if gains is None else gains
    each = torch.where(breaking, t * static, static)
    return (
        transform.synthesis(*coefficients, each) if len(given) == 2 else transform.joint_synthesis(*coefficients, each)
    )


@pytest.mark.parametrize("kept", [True, False], ids=["rows kept", "rows made"])
@pytest.mark.parametrize("joint", [True, False], ids=["joint", "soft"])
def test_one_factor_of_what_breaks(joint, kept, monkeypatch) -> None:
    if not kept:
        monkeypatch.setattr(damped_synthesis, "_SMALL", -1)
    field = FIELDS["D4"]
    for layer in (*small_fields(), SoftR2Conv(field, field, 5), SoftR2Conv(field, D4.type(D4.trivial_repr), 5)):
        whole = layer._transform
        transform = whole if joint else whole.soft
        assert transform.dim
        breaking = torch.tensor([not level.symmetric for level in transform.levels])
        for gains in (None, torch.rand(len(transform.levels)).double()):
            damped = DampedSynthesis(transform, joint=joint, gains=gains, breaking=breaking)
            parts = (whole.equivariant, whole.soft) if joint else (transform,)
            inputs = [torch.randn(part.dim).double().requires_grad_() for part in parts]
            t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
            slow = partial(level_by_level, transform, gains, breaking)

            assert torch.allclose(damped(*inputs, t=t), slow(*inputs, t), atol=1e-12)
            assert torch.allclose(damped(*inputs), slow(*inputs, torch.ones(()).double()), atol=1e-12)
            y = torch.randn(transform.shape).double()
            fast = torch.autograd.grad(damped(*inputs, t=t), [*inputs, t], y)
            for a, b in zip(fast, torch.autograd.grad(slow(*inputs, t), [*inputs, t], y), strict=True):
                assert torch.allclose(a, b, atol=1e-12)
            nothing = damped(*inputs, t=t, resolved=torch.tensor(False))
            assert not nothing.any()
            for a, b in zip(torch.autograd.grad(nothing, [*inputs, t], y), fast, strict=True):
                assert torch.allclose(a, b, atol=1e-12)
            assert copy.deepcopy(damped) is damped


@pytest.mark.parametrize("arrangement", ["one matrix", "together", "one by one"])
def test_two_parts_in_one_pass(arrangement) -> None:
    field = C8.type(C8.regular_repr, C8.irrep(1))
    transform = SoftR2Conv(field, C8.type(C8.trivial_repr) if arrangement == "one matrix" else field, 3)._transform
    if arrangement == "one by one":
        transform = one_by_one(transform)
    inputs = [torch.randn(part.dim).double().requires_grad_() for part in (transform.equivariant, transform.soft)]
    inputs.append(torch.rand(len(transform.levels)).double().requires_grad_())

    def apart(own: Tensor, soft: Tensor, gains: Tensor) -> Tensor:
        return transform.equivariant.synthesis(own, gains[:1]) + transform.soft.synthesis(soft, gains[1:])

    assert transform.equivariant.levels == transform.levels[:1]
    assert torch.allclose(transform.joint_synthesis(*inputs), apart(*inputs), atol=1e-12)
    y = torch.randn(transform.shape).double()
    for given in (2, 3):  # static gains, and gains with gradients
        some = [*inputs[:given], *(t.detach() for t in inputs[given:])]
        fast, slow = (torch.autograd.grad(f(*some), some[:given], y) for f in (transform.joint_synthesis, apart))
        for a, b in zip(fast, slow, strict=True):
            assert torch.allclose(a, b, atol=1e-12)
    assert torch.allclose(
        transform.joint_synthesis(*inputs[:2]), apart(*inputs[:2], torch.ones(len(transform.levels)).double())
    )


def test_layers_of_one_geometry_share_their_transform() -> None:
    field = FIELDS["C4"]
    layers = [SoftR2Conv(field, field, 3) for _ in range(2)]
    assert layers[0]._transform is layers[1]._transform
    assert layers[0]._here[0] is layers[1]._here[0]
    assert layers[0].double()._here[0] is not layers[1]._here[0]


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
    monkeypatch.setattr(arranged, "_SMALL", 100)
    layer = SoftR2Conv(FIELDS["C4"], FIELDS["C4"], 3)
    assert isinstance(layer._transform.arrangement, OneByOne)


# ---------------------------------------------------------------------- one step of the graph


M = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()


def mapped(x: Tensor) -> Tensor:
    return linear_map(lambda v: v @ M.mT, lambda v: v @ M, x)


def test_derivatives_of_every_order() -> None:
    x = torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(mapped, x)
    assert torch.autograd.gradgradcheck(lambda v: mapped(v).square(), x)
    wrong = linear_map(lambda v: v @ M.mT, lambda v: 2 * v @ M, x)
    (gradient,) = torch.autograd.grad(wrong.sum(), x)
    assert torch.allclose(gradient, 2 * torch.ones(2, 4).double() @ M), "the adjoint that is handed in is used"


def test_a_step_whose_inputs_are_made_of_each_other() -> None:
    def scaled(x: Tensor) -> Tensor:
        return one_step(lambda a, b: (a * b).sum(-1), lambda g, a, b: (g[..., None] * b, g[..., None] * a), x, x.sin())

    x = torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(scaled, x)
    assert torch.autograd.gradgradcheck(lambda v: scaled(v).square(), x)
    (first,), (second,) = (torch.autograd.grad(scaled(x).sum(), x, create_graph=create) for create in (False, True))
    assert torch.allclose(first, second)
    assert torch.allclose(torch.vmap(scaled)(x), scaled(x))


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
