"""Layers between types with no equivariant map: closed where a policy needs one, open where it does not."""

import copy

import pytest
import torch
from escnn import group, gspaces, nn

import escnn_soft as es
from escnn_soft import Budget, Cutoff, Exponential
from escnn_soft.escnn import HAS_POINT_CONVOLUTIONS

PLANE, POINT, SPACE = gspaces.rot2dOnR2(4), gspaces.no_base_space(group.cyclic_group(4)), gspaces.octaOnR3()


def convolution(softness):
    return es.SoftR2Conv.from_dense(torch.nn.Conv2d(1, 2, 1), *types(PLANE), softness=softness)


def transposed(softness):
    return es.SoftR2ConvTransposed.from_dense(torch.nn.ConvTranspose2d(1, 2, 1), *types(PLANE), softness=softness)


def grouped(softness):
    fields = PLANE.type(*[PLANE.irrep(0)] * 2), PLANE.type(*[PLANE.irrep(1)] * 2)
    return es.SoftR2Conv.from_dense(torch.nn.Conv2d(2, 4, 1, groups=2), *fields, softness=softness)


def linear(softness):
    return es.SoftLinear.from_dense(torch.nn.Linear(1, 2), *types(POINT), softness=softness)


def spatial(softness):
    return es.SoftR3Conv.from_dense(torch.nn.Conv3d(1, 3, 1), *types(SPACE), softness=softness)


def product(softness):
    layer = es.SoftTensorProduct(PLANE.type(PLANE.irrep(2)), PLANE.type(PLANE.irrep(1)), softness=softness)
    torch.nn.init.normal_(layer.soft_weights)
    return layer


LAYERS = {"conv": convolution, "transposed": transposed, "grouped": grouped, "linear": linear, "3D": spatial,
          "product": product}  # fmt: skip


def types(space):
    return space.type(space.trivial_repr), space.type(space.irrep(1))


def shape(layer) -> tuple[int, ...]:
    dims = {nn.R2Conv: 2, nn.R2ConvTransposed: 2, nn.R3Conv: 3, nn.TensorProductModule: 2}
    return (2, layer.in_type.size) + (5,) * next((n for cls, n in dims.items() if isinstance(layer, cls)), 0)


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_layer_is_open_at_softness_1_and_closed_below(name) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name](1.0)
    assert layer.weights.numel() == 0
    whole = layer.expand_parameters()[0].detach().clone()
    assert whole.norm() > 0
    assert not layer.closed
    x = layer.in_type(torch.randn(shape(layer)))
    for softness in (0.5, 0.99, Budget(0.5)):
        layer.softness = softness
        assert layer.expand_parameters()[0].norm() == 0
        assert layer.closed
        assert "closed: nothing in it is equivariant" in repr(layer)
        layer(x).tensor.sum().backward()  # it can stand in a model that is trained
    for softness in (Exponential(0.5), Cutoff(9.0)):
        layer.softness = softness
        assert layer.expand_parameters()[0].norm() > 0
        assert not layer.closed
    layer.softness = 0.0
    assert layer.eval()(x).tensor.norm() == 0
    assert layer.bound() < 1e-5
    assert layer.certificate().sup == 0
    layer.softness = 1.0
    assert torch.equal(layer.expand_parameters()[0], whole)
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.double().expand_parameters()[0].float(), whole)


@pytest.mark.parametrize(
    ("make", "size"), [(torch.nn.Conv2d, 2), (torch.nn.ConvTranspose2d, 2), (torch.nn.Conv2d, 1)], ids=str
)
def test_any_plain_convolution_is_reached(make, size) -> None:
    """escnn's default rings miss all four pixels of a 2 x 2 kernel, whatever the types are."""
    soft_class = es.SoftR2Conv if make is torch.nn.Conv2d else es.SoftR2ConvTransposed
    for out in (PLANE.type(PLANE.irrep(1)), PLANE.type(PLANE.trivial_repr, PLANE.irrep(1))):
        plain = make(1, out.size, size)
        soft = soft_class.from_dense(plain, PLANE.type(PLANE.trivial_repr), out)
        x = torch.randn(1, 1, 6, 6)
        assert (soft(soft.in_type(x)).tensor - plain(x)).abs().max() < 1e-6
        assert soft.export().weight.shape == plain.weight.shape


def test_escnns_own_empty_linear_layer_is_softened(capsys) -> None:
    one, two = types(POINT)
    model = torch.nn.Sequential(nn.Linear(one, one), nn.Linear(one, two))
    capsys.readouterr()
    soft = es.soften(model, 0.5, on_unsupported="raise")
    assert capsys.readouterr().out == ""
    assert "closed" in str(es.soft_status(soft))
    assert es.harden(soft)[1](one(torch.randn(3, 1))).tensor.abs().max() == 0


@pytest.mark.skipif(not HAS_POINT_CONVOLUTIONS, reason="torch_geometric is not installed")
def test_an_empty_point_convolution_is_open_at_softness_1() -> None:
    layer = es.SoftR2PointConv(*types(PLANE), width=1.0, n_rings=2, frequencies_cutoff=lambda radius: 0.0, softness=1.0)
    torch.nn.init.normal_(layer.soft_weights)
    x = layer.in_type(torch.randn(4, 1), torch.randn(4, 2))
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    assert layer(x, edges).tensor.norm() > 0
    layer.softness = 0.5
    assert layer.closed
    assert layer(x, edges).tensor.norm() == 0
