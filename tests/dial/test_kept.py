"""What evaluation keeps is what the tensors say, whoever wrote them and by whichever way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector, parametrize, prune, vector_to_parameters

import escnn_soft as es
from escnn_soft.dial import kept
from tests.disturbance import disturb
from tests.kinds import KINDS, example, value

TRIALS = 2
"""Of each way on each kind; 1,000 of each were run once."""

FUSED = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad]
SOME = ["SoftR2Conv, off the pixels", "SoftMatrixLinear", "filter of fields, off the pixels", "SoftLinear"]


@cache
def _template(kind: str) -> torch.nn.Module:
    model = disturb(KINDS[kind]())
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.copy_(torch.cos(torch.arange(p.numel()) + 1.0).view_as(p))
    return model


def _model(kind: str) -> torch.nn.Module:
    return copy.deepcopy(_template(kind)).eval()


def assert_fresh(model: torch.nn.Module) -> None:
    """A copy keeps nothing, so it computes from the tensors."""
    torch.testing.assert_close(value(model), value(copy.deepcopy(model)), rtol=0, atol=0)


def _trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.numel()]


def _scale(trial: int) -> float:
    return 1.0 + (trial % 7 + 1) / 4


def by_vectors(model: torch.nn.Module, trial: int) -> None:
    """There and back: the memory of the old storages is free for the new ones."""
    before = parameters_to_vector(model.parameters()).detach().clone()
    vector_to_parameters(before * _scale(trial), model.parameters())
    assert_fresh(model)
    vector_to_parameters(before, model.parameters())


def by_data(model: torch.nn.Module, trial: int) -> None:
    for p in _trained(model):
        p.data.mul_(_scale(trial))


def by_replacing_data(model: torch.nn.Module, trial: int) -> None:
    for p in _trained(model):
        p.data = p.data * _scale(trial)


def by_permuting(model: torch.nn.Module, trial: int) -> None:
    """Sums of the entries stay what they are."""
    for p in _trained(model):
        p.data.copy_(p.data.flatten().roll(1 + trial % 3).view_as(p))


def by_numpy(model: torch.nn.Module, trial: int) -> None:
    """One entry alone."""
    for p in _trained(model):
        p.detach().numpy().reshape(-1)[trial % p.numel()] += 1.0


def by_dlpack(model: torch.nn.Module, trial: int) -> None:
    for p in _trained(model):
        np.from_dlpack(p.detach())
        torch.from_dlpack(p.detach()).mul_(_scale(trial))


def by_flat_memory(model: torch.nn.Module, trial: int) -> None:
    """Parameters are views of one vector, which is written in place."""
    flat = parameters_to_vector(model.parameters()).detach().clone()
    vector_to_parameters(flat, model.parameters())
    assert_fresh(model)
    flat.mul_(_scale(trial))


def by_new_parameters(model: torch.nn.Module, trial: int) -> None:
    for module in model.modules():
        for name, p in list(module._parameters.items()):
            if p is not None and p.numel():
                setattr(module, name, torch.nn.Parameter(p.detach() * _scale(trial)))


def by_buffers(model: torch.nn.Module, trial: int) -> None:
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not name.startswith("_basis"):
            buffer.data.mul_(_scale(trial))


def in_place(model: torch.nn.Module, trial: int) -> None:
    with torch.no_grad():
        for p in _trained(model):
            p.mul_(_scale(trial))


WAYS: list[Callable[[torch.nn.Module, int], None]] = [
    by_vectors, by_data, by_replacing_data, by_permuting, by_numpy, by_dlpack, by_flat_memory, by_new_parameters,
    by_buffers, in_place,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_any_write_is_seen(kind, way) -> None:
    model = _model(kind)
    value(model)
    for trial in range(TRIALS):
        before = value(model).clone()
        way(model, trial)
        assert_fresh(model)
        assert value(model).shape == before.shape
        if way in (by_data, by_replacing_data, by_flat_memory, in_place):
            assert not torch.equal(value(model), before)
            model.load_state_dict(_template(kind).state_dict())


@pytest.mark.parametrize("kind", SOME)
def test_one_tensor_handed_in(kind) -> None:
    model = _model(kind)
    named = [(name, p) for name, p in model.named_parameters() if p.numel()]
    for trial in range(TRIALS):
        name, p = named[trial % len(named)]
        other = {name: p.detach() * _scale(trial)}
        with torch.no_grad():
            y = torch.func.functional_call(model, other, (example(model),))
        twin = copy.deepcopy(model)
        twin.load_state_dict({**twin.state_dict(), **other})
        torch.testing.assert_close(y if isinstance(y, torch.Tensor) else y.tensor, value(twin))
        assert_fresh(model)


@pytest.mark.parametrize("optimizer", FUSED, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("kind", SOME)
def test_fused_steps_are_seen(kind, optimizer) -> None:
    model = _model(kind)
    steps = optimizer(_trained(model), lr=0.1, fused=True)
    for _ in range(TRIALS):
        before = value(model).clone()
        for p in _trained(model):
            p.grad = torch.ones_like(p)
        steps.step()
        assert_fresh(model)
        assert not torch.equal(value(model), before)


@pytest.mark.parametrize("optimizer", FUSED, ids=lambda cls: cls.__name__)
def test_fused_steps_are_seen_where_memory_is_not_read(optimizer, monkeypatch) -> None:
    """As on a device."""
    monkeypatch.setattr(kept, "_in_memory", lambda tensor: False)
    test_fused_steps_are_seen(SOME[0], optimizer)


@pytest.mark.parametrize("way", [by_vectors, by_replacing_data, by_new_parameters, in_place], ids=lambda w: w.__name__)
@pytest.mark.parametrize("kind", SOME)
def test_what_is_seen_where_memory_is_not_read(kind, way, monkeypatch) -> None:
    monkeypatch.setattr(kept, "_in_memory", lambda tensor: False)
    test_any_write_is_seen(kind, way)


class Scaled(torch.nn.Module):
    """A parametrization with a number of its own, which torch knows nothing of."""

    factor = 1.0

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.factor


def _parametrized(layer: torch.nn.Module) -> Iterator[Callable[[int], None]]:
    scaled = Scaled()
    parametrize.register_parametrization(layer, "weights", scaled)
    yield lambda trial: setattr(scaled, "factor", _scale(trial))
    yield lambda trial: layer.parametrizations.weights.original.data.mul_(_scale(trial))
    yield lambda trial: parametrize.register_parametrization(layer, "soft_weights", Scaled()) if trial == 0 else None


def _pruned(layer: torch.nn.Module) -> Iterator[Callable[[int], None]]:
    prune.random_unstructured(layer, "weights", 0.2)
    prune.random_unstructured(layer, "soft_weights", 0.2)
    yield lambda trial: layer.weights_mask.data.copy_(1 - layer.weights_mask)
    yield lambda trial: layer.soft_weights_orig.data.mul_(_scale(trial))


@pytest.mark.parametrize("prepare", [_parametrized, _pruned], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", ["SoftR2Conv, on the pixels", "SoftLinear"])
def test_originals_masks_and_numbers_of_parametrizations(kind, prepare) -> None:
    layer = _model(kind)
    for write in prepare(layer):
        layer.eval()
        value(layer)
        for trial in range(TRIALS):
            write(trial)
            assert_fresh(layer)


def test_nothing_is_expanded_twice(monkeypatch) -> None:
    layer = _model("SoftR2Conv, off the pixels")
    calls = []
    expand = layer.expand_parameters
    monkeypatch.setattr(layer, "expand_parameters", lambda: calls.append(1) or expand())
    first = value(layer)
    torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1).step()  # another's
    assert torch.equal(value(layer), first)
    assert not calls
    by_numpy(layer, 0)
    value(layer)
    value(layer)
    assert len(calls) == 1


def test_the_sampled_basis_is_watched() -> None:
    layer = _model("SoftR2Conv, off the pixels")
    value(layer)
    with torch.no_grad():
        for buffer in layer._basisexpansion.buffers():
            buffer.mul_(2)
    assert_fresh(layer)


def test_bits_are_compared() -> None:
    """Not numbers: NaN equals itself, and the zeros differ."""
    counts = []
    cache = kept.Kept[int]()

    def count() -> int:
        counts.append(1)
        return len(counts)

    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool):
        tensor = torch.zeros(3, 2, dtype=dtype)
        if dtype.is_floating_point:
            tensor[0, 0] = torch.nan
        first = cache([tensor], count)
        assert cache([tensor], count) == first == cache([tensor.clone()], count)
        assert cache([tensor.t().contiguous().t()], count) == first
        if dtype.is_floating_point:
            tensor.data[1, 1] = -0.0
            assert cache([tensor], count) == first + 1
        assert cache([tensor.double() + 1], count) == len(counts)
        assert cache([tensor[:2]], count) == len(counts)


def test_softness_is_a_part_of_it() -> None:
    for kind in SOME:
        model = _model(kind)
        value(model)
        es.set_softness(model, 0.2)
        assert_fresh(model)
