"""What an adversary found out about the verbs, and what keeps it from coming back."""

from __future__ import annotations

import pickle

import pytest
import torch
from escnn import gspaces, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

import escnn_soft as es
from escnn_soft.dial import FieldTypes
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.groups import equivariant_maps, scalar, special_orthogonal_group, special_unitary_group, vector
from escnn_soft.layers import dials, graded_bias, graded_kernel
from tests.workflows.carriers import filled

SPACE = gspaces.rot2dOnR2(4)
FIELD = SPACE.type(SPACE.regular_repr)
X = FIELD(torch.randn(1, 4, 7, 7, generator=torch.Generator().manual_seed(0)))


def filtered(softness=0.5) -> torch.nn.Module:
    return es.soften(
        torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3)), softness, gspace=SPACE, field_types={"0": (FIELD,) * 2}
    )


@pytest.mark.parametrize("group", [special_orthogonal_group(2), special_orthogonal_group(4), special_unitary_group(2)])
def test_no_order_in_which_representations_are_met_loses_a_map(group) -> None:
    V, one = vector(group), scalar(group)
    es.SoftMatrixLinear(V, V @ V)  # splits V (x) V before anything trivial is met
    layer = es.SoftMatrixLinear(one, V @ V, bias=False, softness=0.0)
    maps = equivariant_maps(one, V @ V)
    assert layer.spectrum().levels[0].sigma == 0
    assert layer.spectrum().levels[0].dim == len(maps)
    with torch.no_grad():
        layer.weight.copy_(maps[0])
    assert torch.allclose(layer.expand_parameters()[0], layer.weight, atol=1e-6)


@pytest.mark.parametrize("tensors", [("bias", "weight"), ("weight", "bias"), ("bias",)])
def test_the_certificate_of_a_layer_is_never_that_of_its_bias(tensors) -> None:
    torch.manual_seed(0)
    conv, types = torch.nn.Conv2d(4, 4, 3), FieldTypes(FIELD, FIELD)
    graded = {"bias": graded_bias(FIELD), "weight": graded_kernel(conv, FIELD, FIELD)}
    for tensor in tensors:
        register_parametrization(
            conv,
            tensor,
            es.SoftFilter(graded[tensor], 0.7 if tensor == "weight" else 0.0, getattr(conv, tensor), types=types),
        )
    assert es.certificate(conv, FIELD, FIELD).relative.sup > 0.5
    if "weight" in tensors:
        assert es.certificate(conv).relative.sup == es.certificate(conv, FIELD, FIELD).relative.sup
    else:
        with pytest.raises(es.errors.FieldTypeError, match="in_type"):
            es.certificate(conv)


def test_what_inference_mode_builds_serves_training() -> None:
    space = gspaces.rot2dOnR2(5)  # met nowhere else
    field = space.type(space.regular_repr)
    hard, model = nn.R2Conv(field, field, 7), filtered()
    with torch.inference_mode():
        es.certificate(hard)
        es.soft_status(model)
        es.soften(nn.SequentialModule(hard), 0.1)
    layer = es.SoftR2Conv(field, field, 7, softness=0.3)
    layer(field(torch.randn(1, 5, 9, 9))).tensor.sum().backward()
    model(X.tensor).sum().backward()


@pytest.mark.parametrize(
    "change", [lambda m: prune.l1_unstructured(m, "weights", 0.5), lambda m: weight_norm(m, "weights")]
)
def test_pruned_and_parametrized_hard_layers(change) -> None:
    hard = nn.R2Conv(FIELD, FIELD, 5)
    change(hard)
    certified = es.certificate(hard)
    with torch.no_grad():
        assert certified.norm == pytest.approx(float(hard.expand_parameters()[0].norm()), rel=1e-5)
    assert certified.relative.sup < 1e-5
    assert es.certify(nn.SequentialModule(hard).eval(), X).certified
    with pytest.raises(ArgumentError, match=r"weights are a Parameter|parametrization of its weights off first"):
        es.soften(nn.SequentialModule(hard), 0.5, on_unsupported="raise", inplace=True)


@pytest.mark.parametrize("kind", [nn.R2Conv, nn.R2ConvTransposed])
def test_a_basis_that_no_twin_has_is_certified_on_the_pixels(kind) -> None:
    hard = filled(kind(FIELD, FIELD, 5, basis_filter=lambda attributes: attributes["idx"] % 2 == 0))
    certified = es.certificate(hard)
    assert certified.level == "grid"
    assert certified.relative.sup < 1e-5
    assert certified.norm == pytest.approx(float(hard.expand_parameters()[0].norm()), rel=1e-5)


def test_a_subclass_of_a_hard_layer_and_what_a_certificate_leaves_alone() -> None:
    class Mine(nn.R2Conv):
        pass

    hard = Mine(FIELD, FIELD, 3).eval()
    parameters, kept = dict(hard.named_parameters()), hard.filter
    assert es.certificate(hard).relative.sup < 1e-5
    assert hard.filter is kept
    assert dict(hard.named_parameters()) == parameters


@pytest.fixture
def swapping():
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


@pytest.mark.usefixtures("swapping")
def test_conversion_by_swapping_parameters() -> None:
    space = gspaces.rot2dOnR2(9)  # no other test's: a compiler refers weakly to what it sees, the shared basis too
    field = space.type(space.regular_repr)
    x = field(torch.randn(1, field.size, 5, 5))
    layer, other = (es.SoftR2Conv(field, field, 3, softness=0.3).eval() for _ in range(2))  # they share a basis
    expected, still = layer(x).tensor, other(x).tensor
    layer.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x).tensor, expected)
    assert torch.equal(other(x).tensor, still)
    assert torch.allclose(layer.double()(field(x.tensor.double())).tensor.float(), expected, atol=1e-5)
    layer.load_state_dict(layer.state_dict())


def test_tracing_a_filter() -> None:
    model = filtered()
    with torch.no_grad():
        assert torch.allclose(make_fx(model)(X.tensor)(X.tensor), model(X.tensor), atol=1e-6)


def test_frozen_biases_stay_frozen() -> None:
    V = vector(special_orthogonal_group(3))
    layer = es.SoftMatrixLinear(V, V, softness=0.3)
    layer.bias.requires_grad_(False)
    for change in (es.harden, es.bake):
        plain = change(torch.nn.Sequential(layer))[0]
        assert (plain.weight.requires_grad, plain.bias.requires_grad) == (True, False)
    soft = es.SoftR2Conv(FIELD, FIELD, 3)
    soft.bias.requires_grad_(False)
    soft.soft_bias.requires_grad_(False)
    dense = es.projected(nn.SequentialModule(soft))[0].dense
    assert (dense.weight.requires_grad, dense.bias.requires_grad) == (True, False)


def test_no_dial_hides_behind_another_of_its_name() -> None:
    conv = torch.nn.Conv2d(4, 4, 3)
    for _ in range(3):
        register_parametrization(conv, "weight", es.SoftFilter(graded_kernel(conv, FIELD, FIELD), 0.2, conv.weight))
    assert len(dials(torch.nn.Sequential(conv))) == 3
    es.SoftnessScheduler(conv, lambda step: 0.0)
    assert [dial.softness for dial in dials(conv).values()] == [0.0] * 3


def test_a_refused_step_does_not_count() -> None:
    layer = es.SoftR2Conv(FIELD, FIELD, 3)
    scheduler = es.SoftnessScheduler(layer, lambda step: 0.1 if step == 0 else 7.0)
    with pytest.raises(SoftnessError):
        scheduler.step()
    assert scheduler.state_dict() == {"last_epoch": 0}
    assert layer.softness == 0.1


def test_matrix_layers_pickle() -> None:
    V = vector(special_orthogonal_group(3))
    layer = es.SoftMatrixLinear(V, V, softness=0.3)
    x = torch.randn(2, 3)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
