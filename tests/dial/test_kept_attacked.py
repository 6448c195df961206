"""Further ways to change what a kept kernel depends on, found by attack."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import gspaces
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import escnn_soft as es
from escnn_soft.groups import orthogonal_group, vector
from escnn_soft.layers import SoftMatrixLinear, SoftR2Conv
from tests.kinds import KINDS, example

C4 = gspaces.rot2dOnR2(4)
FIELD = C4.type(*[C4.regular_repr] * 2)
FIVE = vector(orthogonal_group(5))
IMAGE = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))


def conv() -> SoftR2Conv:
    torch.manual_seed(0)
    layer = SoftR2Conv(FIELD, FIELD, 3, padding=1, softness=0.5)
    nn.init.normal_(layer.soft_weights)
    return layer.eval()


def filtered() -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 1, bias=False)
    return es.soften(layer, 0.3, gspace=C4, field_types={"": (FIELD, FIELD)}).eval()


def matrix() -> SoftMatrixLinear:
    torch.manual_seed(0)
    return SoftMatrixLinear(2 * FIVE, 2 * FIVE, softness=0.3).eval()


LAYERS = {"conv": conv, "filter": filtered, "matrix": matrix}
SQUARE = {"filter": filtered, "matrix": matrix}


@torch.no_grad()
def run(layer: nn.Module) -> torch.Tensor:
    if isinstance(layer, SoftR2Conv):
        return layer(FIELD(IMAGE)).tensor
    return layer(IMAGE if isinstance(layer, nn.Conv2d) else FEATURES)


@torch.no_grad()
def computed(layer: nn.Module) -> torch.Tensor:
    """The output from the tensors as they are, whatever is kept."""
    if isinstance(layer, nn.Conv2d):
        stack = layer.parametrizations.weight
        return nn.functional.conv2d(IMAGE, stack[0].dial.filtered(stack.original, None))
    kernel, bias = layer.expand_parameters()
    if isinstance(layer, SoftMatrixLinear):
        return nn.functional.linear(FEATURES, kernel, bias)
    return nn.functional.conv2d(IMAGE, kernel, bias, padding=1)


def check(layer: nn.Module, *, changed: torch.Tensor | None = None) -> torch.Tensor:
    """A pass computes from the tensors as they are, and something else than before; what it gives."""
    result = run(layer)
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result, computed(layer), rtol=1e-5, atol=1e-5)
    assert changed is None or not torch.allclose(result, changed)
    return result


# ---------------------------------------------------------------------- tensors in a Parameter's place


@pytest.mark.parametrize("kind", ["conv", "matrix"])
@pytest.mark.parametrize("graph", [True, False])
def test_a_plain_tensor_in_a_parameters_place(kind, graph) -> None:
    layer = LAYERS[kind]()
    for name, parameter in list(layer.named_parameters(recurse=False)):
        before = check(layer)
        own = (parameter if graph else parameter.detach()).clone() + 0.5
        delattr(layer, name)
        setattr(layer, name, own)
        before = check(layer, changed=before)
        setattr(layer, name, own * 3 + 1)
        before = check(layer, changed=before)
        with torch.no_grad():
            getattr(layer, name).add_(5)
        before = check(layer, changed=before)
        getattr(layer, name).detach().numpy()[...] += 1
        check(layer, changed=before)


# ---------------------------------------------------------------------- layouts


@pytest.mark.parametrize("kind", SQUARE)
def test_strides_change_in_the_same_memory(kind) -> None:
    layer = SQUARE[kind]()
    parameter = next(p for p in layer.parameters() if p.ndim > 1)
    before = check(layer)
    for _ in range(3):
        parameter.data = parameter.data.transpose(0, 1)
        before = check(layer, changed=before)


@pytest.mark.parametrize("kind", LAYERS)
def test_memory_with_gaps_is_watched_in_place(kind) -> None:
    layer = LAYERS[kind]()
    parameter = next(p for p in layer.parameters() if p.numel() > 1)
    wide = torch.stack([parameter.data, parameter.data + 0.5], dim=-1)
    parameter.data = wide[..., 1]
    before = check(layer)
    wide.mul_(-3)
    before = check(layer, changed=before)
    parameter.data = parameter.data.contiguous()
    assert torch.equal(check(layer), before)
    parameter.data.mul_(2)
    check(layer, changed=before)


# ---------------------------------------------------------------------- classes


class Derived(nn.Parameter):
    """A Parameter by another name."""


class Logged(torch.Tensor):
    """A tensor whose class is asked for each function of torch's."""


@pytest.mark.parametrize("kind", LAYERS)
def test_classes_of_parameters_are_read_too(kind) -> None:
    layer = LAYERS[kind]()
    for name, parameter in list(layer._parameters.items()):
        if parameter is None:
            continue
        layer._parameters[name] = Derived(parameter.detach().clone() + 0.5)
        before = check(layer)
        layer._parameters[name].data.add_(4)
        before = check(layer, changed=before)
        layer._parameters[name].detach().numpy()[...] += 1
        check(layer, changed=before)


def test_classes_of_plain_tensors_are_read_too() -> None:
    layer = conv()
    weights = layer.weights.detach().clone()
    del layer.weights
    layer.weights = weights.as_subclass(Logged)
    run(layer)
    weights.numpy()[...] *= 4
    expanded, bias = layer.expand_parameters()
    expected = nn.functional.conv2d(IMAGE, expanded, bias, padding=1)
    torch.testing.assert_close(layer(FIELD(IMAGE)).tensor, expected)


# ---------------------------------------------------------------------- modes


class Doubling(TorchFunctionMode):
    """Doubles what the functions of torch return."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 2 if isinstance(result, torch.Tensor) and result.is_floating_point() else result


class Negating(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return -result if func.overloadpacket is torch.ops.aten.mul else result


MODES = {
    "fake": lambda: FakeTensorMode(allow_non_fake_inputs=True),
    "functions": Doubling,
    "dispatch": Negating,
    "meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("kind", LAYERS)
def test_nothing_is_kept_from_under_a_mode(kind, mode) -> None:
    layer = LAYERS[kind]().requires_grad_(False)
    before = run(layer)
    for change in (lambda: None, layer.train):
        change()
        with mode():
            layer.eval()
            run(layer)
        assert torch.equal(check(layer), before)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_fake_is_left_in_a_model(kind) -> None:
    model = KINDS[kind]().eval().requires_grad_(False)
    x, again = example(model), copy.deepcopy(model)
    model(x)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model(x)
        model.train().eval()
    result, expected = (getattr(each, "tensor", each) for each in (model(x), again(x)))
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result, expected)


def test_a_default_device_does_not_stop_it(monkeypatch) -> None:
    layer, calls = conv(), []
    expand = layer.expand_parameters
    monkeypatch.setattr(layer, "expand_parameters", lambda: calls.append(1) or expand())
    with torch.device("cpu"):
        run(layer)
        run(layer)
    assert not calls


# ---------------------------------------------------------------------- the kernel and the dials


@pytest.mark.parametrize("kind", ["conv", "matrix"])
def test_a_write_into_what_is_kept_is_undone(kind) -> None:
    layer = LAYERS[kind]()
    before = run(layer)
    for kept in (getattr(layer, layer._kernel_name), layer.expanded_bias):
        kept.add_(3)
        assert torch.equal(check(layer), before)


@pytest.mark.parametrize("policy", [0.1, es.Budget(0.2)], ids=str)
@pytest.mark.parametrize("kind", ["conv", "matrix"])
def test_a_shallow_copys_softness_is_the_layers(kind, policy) -> None:
    layer = LAYERS[kind]()
    before = run(layer)
    twin = copy.copy(layer)
    twin.softness = policy
    check(twin)
    if kind == "conv":
        check(layer, changed=before)
    check(layer)
