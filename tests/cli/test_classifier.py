"""The demo's networks: exactly invariant at 0, free at 1, and the same network before training."""

from __future__ import annotations

import pytest
import torch

from escnn_soft.cli.classifier import LAYERS, PlainClassifier, SoftClassifier
from escnn_soft.cli.digits import SIDE, Digits
from escnn_soft.cli.settings import Settings
from escnn_soft.cli.training import equivariance_error, train

FIELDS = (2, 2, 3)
IMAGES = torch.rand(20, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
DIGITS = Digits(IMAGES, torch.arange(20) % 10)


def trained(softness, epochs=2):
    torch.manual_seed(0)
    model = PlainClassifier(FIELDS) if softness is None else SoftClassifier(softness, FIELDS)
    loss = train(model, DIGITS, Settings(epochs=epochs, batch=5, rate=0.02), 0)
    return model, loss


def test_strict_network_is_invariant_after_training():
    assert equivariance_error(trained(0.0)[0], IMAGES) < 1e-4


@pytest.mark.parametrize("softness", [0.3, 1.0, None])
def test_other_networks_are_free(softness):
    assert equivariance_error(trained(softness)[0], IMAGES) > 1e-2


def test_all_stops_start_as_the_same_network():
    def fresh(softness):
        torch.manual_seed(3)
        return SoftClassifier(softness, FIELDS).eval()(IMAGES)

    assert torch.allclose(fresh(0.0), fresh(0.5), atol=1e-5)
    assert torch.allclose(fresh(0.0), fresh(1.0), atol=1e-5)


def test_training_is_reproducible_and_learns():
    (first, _), (again, _) = trained(0.3), trained(0.3)
    assert torch.equal(first(IMAGES), again(IMAGES))
    assert trained(1.0, epochs=12)[1] < trained(1.0, epochs=1)[1] / 2


def test_plain_network_has_the_shape_of_the_soft_one():
    soft, plain = SoftClassifier(1.0, FIELDS), PlainClassifier(FIELDS)
    assert soft.reachable() == plain.reachable() > 3 * SoftClassifier(0.0, FIELDS).reachable()
    kernels = [tuple(layer.expand_parameters()[0].shape) for layer in soft.convolutions]
    assert kernels == [tuple(layer.weight.shape) for layer in plain if isinstance(layer, torch.nn.Conv2d)]
    assert [f"{kernel[2]} x {kernel[3]}" for kernel in kernels] == list(LAYERS)
    assert plain(IMAGES).shape == soft(IMAGES).shape == (20, 10)


def test_filters_turned_back_agree_in_a_strict_layer_only():
    strict = trained(0.0)[0].field_filters()
    free = trained(1.0)[0].field_filters()
    assert strict.shape == (4, 5, 5)
    assert torch.allclose(strict, strict[:1].expand_as(strict), atol=1e-5)
    assert not torch.allclose(free, free[:1].expand_as(free), atol=1e-2)
