"""No optimiser takes a layer out of the set of its softness: every carrier, group, dtype and scale.

``HYPOTHESIS_PROFILE=thorough`` attacks 5,000 layers, with up to 500 steps each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Module

import escnn_soft as es
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import dials
from escnn_soft.testing.moved_layers import MovedLayer, moved_layer
from escnn_soft.training import LayerwiseAdam
from tests.cases import PLANAR, POINT, field_types, planar, point
from tests.workflows.carriers import CARRIERS

THOROUGH = settings.default.max_examples > 1000
STEPS = [0, 1, 5, 30, 100, 500] if THOROUGH else [0, 1, 5, 30]
UNCERTIFIED = ("table", "rotary", "positions")
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
OPTIMIZERS: dict[str, Callable[[Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=10.0, momentum=0.9),
    "Adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.1),
    "LayerwiseAdam": lambda model: LayerwiseAdam(model, lr=0.1),
}
LAYERS = [
    *(("carrier", kind) for kind in CARRIERS if not any(word in kind for word in UNCERTIFIED)),
    *(("plane", name) for name in PLANAR),
    *(("fibres", name) for name in POINT),
]


@cache
def built(kind: str, name: str) -> Module:
    if kind == "carrier":
        return CARRIERS[name]()
    if kind == "plane":
        return es.SoftR2Conv(*field_types(planar(name))[2], 3, padding=1)
    return es.SoftLinear(*field_types(point(name))[2])


def weights(layer: Module) -> list[Tensor]:
    """Kernel and bias, as the layer uses them, or what a bilinear layer multiplies by; squares must not overflow."""
    try:
        parts = moved_layer(layer).parts()
    except ArgumentError:
        parts = [part for inner in dials(layer).values() for part in moved_layer(inner).parts()]
    return [part.double() for part in parts]


def movable(model: Module) -> Module:
    return model[0] if isinstance(model, torch.nn.Sequential) else model


def error(view: MovedLayer, element: object) -> Tensor:
    """||g . W - W||^2 / ||W||^2, differentiably."""
    parts = [part.double() for part in view.parts()]
    moved = view.moved(element, parts)
    squares = [(a - b).square().sum() for a, b in zip(moved, parts, strict=True)]
    return torch.stack(squares).sum() / torch.stack([p.square().sum() for p in parts]).sum().clamp_min(1e-30)


def alignment(layer: Module, target: list[Tensor]) -> Tensor:
    """Of the weights with something that has no symmetry."""
    parts = weights(layer)
    product = torch.stack([(a * b).sum() for a, b in zip(parts, target, strict=True)]).sum()
    return product / torch.stack([p.square().sum() for p in parts]).sum().sqrt().clamp_min(1e-15)


def attack(layer: Module, optimizer: str, steps: int) -> None:
    """Make the layer err as much as its softness lets it, along one element or towards noise."""
    training = OPTIMIZERS[optimizer](layer)
    target = [torch.randn_like(part) for part in weights(layer)]
    try:
        view = moved_layer(layer)
        elements = view.elements
    except ArgumentError:
        elements = []
    element = elements[torch.randint(len(elements), ()).item()] if elements and torch.rand(()) < 0.5 else None
    for _ in range(steps):
        training.zero_grad()
        gain = alignment(layer, target) if element is None else error(view, element)
        if not gain.requires_grad:  # at softness 0 of a layer without equivariant weights
            return
        (-gain).backward()
        training.step()


@settings(max_examples=5_000 if THOROUGH else settings.default.max_examples)
@given(
    which=st.sampled_from(LAYERS),
    softness=st.sampled_from([0.0, 1e-6, 0.02, 0.1, 0.5, 0.999, 1.0]) | st.floats(0, 1),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e3, 1e12]),
    breaking=st.sampled_from([1e-6, 1.0, 1e6]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    steps=st.sampled_from(STEPS),
)
def test_no_optimiser_leaves_the_set(which, softness, scale, breaking, dtype, optimizer, steps) -> None:
    model = copy.deepcopy(built(*which)).to(dtype)
    es.set_softness(model, softness)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=scale * (breaking if "soft_" in name else 1.0))
    attack(movable(model), optimizer, steps)
    for dial in dials(model).values():
        relative = dial.certificate().relative.sup
        assert relative <= dial.bound() * (1 + ROUNDING[dtype]) + 1e-12, (relative, dial.bound())
