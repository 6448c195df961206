"""Projected training: the same reachable set as the soft layer, and the same steps under SGD."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import group, gspaces, nn

from escnn_soft import Budget, Cutoff, Exponential, Learned, SoftLinear, SoftR2Conv, soften
from escnn_soft.convert import ProjectedLayer, project_after_step, projected
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.layers import SoftR2ConvTransposed
from tests.convert.models import IMAGE, Classifier, output, sequential
from tests.disturbance import disturb


def layer(name: str, softness) -> SoftR2Conv | SoftLinear | SoftR2ConvTransposed:
    """Small soft layers in double precision."""
    if name == "linear":
        space = gspaces.no_base_space(group.dihedral_group(3))
        field = space.type(space.regular_repr, space.trivial_repr)
        soft = SoftLinear(field, field, softness=softness)
    else:
        space = gspaces.rot2dOnR2(8) if "C8" in name else gspaces.rot2dOnR2(4)
        field = space.type(space.irrep(1), space.regular_repr) if "C4" in name else space.type(space.regular_repr)
        kind = SoftR2ConvTransposed if "transposed" in name else SoftR2Conv
        soft = kind(field, space.type(space.irrep(1), space.trivial_repr), 3, softness=softness)
    return disturb(soft.double(), scale=1.0)


NAMES = ["linear", "C4", "C8", "C4 transposed"]


@pytest.mark.parametrize("softness", [0.0, Cutoff(1.0), Cutoff(1.5), Cutoff(100.0), Exponential(0.5), 1.0], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_image_of_the_projection_is_what_the_soft_layer_reaches(name, softness) -> None:
    soft = layer(name, softness)
    plain = projected(soft)
    reached = torch.autograd.functional.jacobian(
        lambda w, s: torch.func.functional_call(Expanded(soft), {"layer.weights": w, "layer.soft_weights": s}, ()),
        (soft.weights.detach(), soft.soft_weights.detach()),
    )
    reached = torch.cat([j.flatten(0, -2) for j in reached], dim=1)  # columns span the kernels of the soft layer
    size = plain.dense.weight.shape
    everything = torch.eye(size.numel(), dtype=torch.float64)
    passed = plain.allowed if plain.projecting else plain.weighed
    image = torch.stack([passed(e.view(size), None)[0].flatten() for e in everything], dim=1)
    ranks = [int(torch.linalg.matrix_rank(m, rtol=1e-8)) for m in (reached, image, torch.cat([reached, image], dim=1))]
    assert ranks[0] == ranks[1] == ranks[2]
    if plain.projecting:
        assert torch.allclose(image @ image, image, atol=1e-10)
        if name != "C8":  # elsewhere levels are not orthogonal on the pixels
            assert torch.allclose(image, image.T, atol=1e-10)


class Expanded(torch.nn.Module):
    """The kernel of a layer as a module."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self):
        return self.layer.expand_parameters()[0]


@pytest.mark.parametrize("softness", [0.0, Cutoff(1.0), Exponential(0.5), 1.0], ids=str)
@pytest.mark.parametrize("name", ["linear", "C4", "C4 transposed"])
def test_a_step_of_sgd_is_that_of_the_soft_layer_outside_escnns_basis(name, softness) -> None:
    soft = layer(name, softness)
    plain = projected(soft)
    x = soft.in_type(torch.randn(3, soft.in_type.size, *[5] * getattr(soft, "d", 0), dtype=torch.float64))
    assert torch.allclose(plain(x).tensor, soft(x).tensor, atol=1e-12)
    before = [part.detach().clone() for part in soft.expand_parameters()]
    for model in (soft, plain):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        if model is plain:
            project_after_step(plain, optimizer)
        model(x).tensor.square().sum().backward()
        optimizer.step()
    moved = [a - b for a, b in zip(soft.expand_parameters(), before, strict=True)]
    moved_plain = [a - b for a, b in zip((plain.dense.weight, plain.dense.bias), before, strict=True)]
    breaking = soft._transform.soft
    steps = [breaking.analysis(soft._as_graded(kernel.detach())) for kernel, _ in (moved, moved_plain)]
    assert torch.allclose(*steps, atol=1e-10)
    bias = soft._bias_transform.soft
    steps = [bias.analysis(column.detach()[:, None, None]) for _, column in (moved, moved_plain)]
    assert torch.allclose(*steps, atol=1e-10)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_a_network_stays_in_the_open_levels(optimizer) -> None:
    soft = disturb(soften(sequential(), Cutoff(1.0)))
    model = projected(soft)
    assert (output(copy.deepcopy(soft).eval()) - output(model.eval())).abs().max() < 1e-5
    steps = optimizer(model.train().parameters(), lr=0.01 if optimizer is torch.optim.Adam else 1.0)
    handle = project_after_step(model, steps)
    first = model[0].dense.weight.detach().clone()
    for _ in range(3):
        steps.zero_grad()
        output(model).square().mean().backward()
        steps.step()
    for module in (model[0], model[3]):
        weight, bias = module.dense.weight, module.dense.bias
        again = module.allowed(weight, bias)
        assert torch.allclose(again[0], weight, atol=1e-5)
        assert torch.allclose(again[1], bias, atol=1e-5)
    assert (model[0].dense.weight - first).abs().max() > 1e-3
    handle.remove()
    steps.step()
    assert not torch.allclose(model[0].allowed(*[model[0].dense.weight, None])[0], model[0].dense.weight, atol=1e-4)


def test_a_float_keeps_the_weights_in_its_set_whatever_the_optimiser_does() -> None:
    model = projected(soften(sequential(), 0.1))
    steps = torch.optim.Adam(model.parameters(), lr=0.05)
    project_after_step(model, steps)
    for _ in range(5):
        steps.zero_grad()
        (-output(model).square().mean()).backward()
        steps.step()
    for module in (model[0], model[3]):
        certificate = module.certificate()
        assert 1e-5 < certificate.relative.sup <= module.bound()
        whole = (certificate.norm**2 + certificate.bias.norm**2) ** 0.5
        assert certificate.bias.sup <= module.bound() * whole


@pytest.mark.parametrize("inplace", [False, True])
def test_the_rest_of_a_model_is_kept(inplace) -> None:
    soft = disturb(soften(Classifier(), 0.5)).eval()
    expected, calls = output(soft), []
    soft.stem.register_forward_hook(lambda module, *_: calls.append(type(module)))
    model = projected(soft, inplace=inplace)
    assert (model is soft) == inplace
    assert (output(model) - expected).abs().max() < 1e-5
    assert calls == [ProjectedLayer]
    assert model.again is model.body[0]
    assert model.head.weight is soft.head.weight
    assert {n.rpartition(".")[2] for n in dict(model.named_parameters())} == {"weight", "bias"}
    twin = copy.deepcopy(model).double()
    assert twin.stem.allowed(twin.stem.dense.weight, None)[0].dtype == torch.float64
    assert twin.stem.evaluate_output_shape((1, IMAGE.size, 7, 7)) == (1, 24, 7, 7)
    assert isinstance(twin.stem.export(), torch.nn.Conv2d)


def test_bad_arguments() -> None:
    model = projected(soften(sequential(), 0.5))
    with pytest.raises(ArgumentError, match="a model with soft layers"):
        projected(sequential())
    for softness in (Budget(0.1), Learned()):
        soft = soften(sequential(), softness)
        with pytest.raises(SoftnessError, match="does not depend on the weights"):
            projected(soft, inplace=True)
        assert isinstance(soft[0], SoftR2Conv)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match="a model with projected layers"):
        project_after_step(sequential(), optimizer)
    with pytest.raises(ArgumentError, match="an optimiser of the projected"):
        project_after_step(model, torch.optim.SGD(model[1].parameters(), lr=0.1))
    with pytest.raises(ArgumentError, match="an Optimizer but got optimizer"):
        project_after_step(model, model)
    assert isinstance(model[1], nn.InnerBatchNorm)
