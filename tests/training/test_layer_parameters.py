"""Which parameters share a scale: those of a layer, whatever kind it is, and of layers that share a parameter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune

import escnn_soft as es
from escnn_soft.training import layer_group
from tests.training.models import HIDDEN, IMAGE, SPACE, network
from tests.workflows.carriers import CARRIERS


def names(model, parameters) -> list[str]:
    known = {id(p): name for name, p in model.named_parameters()}
    return [known[id(p)] for p in parameters]


def parts(model) -> list[tuple[list[str], list[str]]]:
    return [(names(model, layer.weights), names(model, layer.biases)) for layer in layer_group(model)["layers"]]


def test_a_soft_layer_is_one_and_a_head_is_none() -> None:
    model = network(es.Learned())
    assert parts(model) == [
        ([f"{name}.weights", f"{name}.soft_weights"], [f"{name}.bias", f"{name}.soft_bias"])
        for name in ("first", "last")
    ]
    assert names(model, layer_group(model)["params"]) == [name for name, _ in model.named_parameters()]
    assert set(names(model, layer_group(model)["layers"][0].strict)) == {"first.weights", "first.bias"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("MatrixLinear", [(["weight"], ["bias"])]),
        ("TensorProduct C4", [(["weights", "soft_weights"], [])]),
        ("filter C4 fields", [(["0.weight"], ["0.bias"])]),
        ("filter C4", [(["0.weight"], ["0.bias"])]),
    ],
)
def test_other_layers(kind, expected) -> None:
    assert parts(CARRIERS[kind]()) == expected


def test_a_projected_layer_is_its_dense_weight() -> None:
    model = es.projected(es.SoftR2Conv(IMAGE, HIDDEN, 3, softness=es.Cutoff(1.0)))
    assert parts(model) == [(["dense.weight"], ["dense.bias"])]


def test_tables_have_a_scale_of_their_own() -> None:
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.randn(4, 4, 3, 3))
    module.relative_position_bias_table = torch.nn.Parameter(torch.randn(4, 4, 3, 3))
    graded = es.layers.graded_kernel(torch.nn.Conv2d(4, 4, 3), HIDDEN, HIDDEN)
    for name in ("weight", "relative_position_bias_table"):
        soft = es.SoftFilter(graded, 0.5, getattr(module, name))
        torch.nn.utils.parametrize.register_parametrization(module, name, soft)
    first, second = layer_group(module)["layers"]
    assert tuple(p for p, _ in first.matrices) == first.weights
    assert second.matrices == ()
    assert names(module, second.weights) == ["parametrizations.relative_position_bias_table.original"]


def test_layers_that_share_a_parameter_share_a_scale() -> None:
    first, second, third = (es.SoftR2Conv(HIDDEN, HIDDEN, 3) for _ in range(3))
    third.weights = first.weights
    model = torch.nn.Sequential(first, second, third)
    joint = parts(model)[1]
    assert len(parts(model)) == 2
    assert joint[0] == ["0.weights", "0.soft_weights", "2.soft_weights"]
    assert len(joint[1]) == 4


def test_a_module_used_twice_is_listed_once() -> None:
    layer = es.SoftR2Conv(HIDDEN, HIDDEN, 3)
    assert len(parts(torch.nn.Sequential(layer, layer))) == 1


def test_a_pruned_layer_stays_one() -> None:
    layer = es.SoftR2Conv(HIDDEN, HIDDEN, 3)
    prune.random_unstructured(layer, "soft_weights", 0.5)
    prune.random_unstructured(layer, "bias", 0.5)
    assert {frozenset(part) for part in parts(layer)[0]} == {
        frozenset({"weights", "soft_weights_orig"}),
        frozenset({"bias_orig", "soft_bias"}),
    }


def test_hard_layers_are_none() -> None:
    import escnn

    assert layer_group(escnn.nn.R2Conv(IMAGE, SPACE.type(SPACE.regular_repr), 3))["layers"] == ()
