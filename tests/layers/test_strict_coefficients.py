"""escnn's weights as coefficients of the equivariant level are the kernel that escnn expands them to."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import gspaces
from escnn.nn import FieldType
from torch.utils.flop_counter import FlopCounterMode

import escnn_soft as es
from escnn_soft.layers.soft import SoftLayer
from tests import cases
from tests.kinds import KINDS


def soft_layers(model: torch.nn.Module) -> list[SoftLayer]:
    return [module for module in model.modules() if isinstance(module, SoftLayer)]


def agree(layer: SoftLayer) -> None:
    """Kernels and gradients, with nothing in the soft part; escnn's own expansion is the oracle."""
    assert layer._strict is not None, layer
    with torch.no_grad():
        layer.weights.normal_()
        layer.soft_weights.zero_()
    ours, theirs = layer.expand_parameters()[0], layer._expand_strict()[0]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12 * float(theirs.abs().amax()))
    moved = torch.randn_like(theirs)
    gradients = [torch.autograd.grad(kernel, layer.weights, moved)[0] for kernel in (ours, theirs)]
    assert torch.allclose(*gradients, rtol=0, atol=1e-12 * float(gradients[1].abs().amax()))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["trivial", "C4", "C8", "D4", "D3", "flip tilted", "SO(2)", "O(2)"])
def test_between_all_fields_on_the_plane(name, kernel_size) -> None:
    for in_type, out_type in cases.field_types(cases.planar(name)):
        layer = es.SoftR2Conv(in_type, out_type, kernel_size, softness=1.0, initialize=False).double()
        if layer.weights.numel() and layer.soft_weights.numel():
            agree(layer)


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("Soft")])
def test_in_every_layer(name) -> None:
    for layer in soft_layers(es.set_softness(KINDS[name]().double().train(), es.Budget(0.3)) or torch.nn.Identity()):
        agree(layer)


def test_under_a_chain_and_in_groups() -> None:
    space = gspaces.flipRot2dOnR2(4)
    field = space.type(*[space.regular_repr] * 2)
    agree(es.SoftR2Conv(field, field, 3, softness=0.4, chain=[(None, 4)]).double())
    agree(es.SoftR2Conv(field, field, 3, softness=0.4, groups=2).double())
    agree(es.SoftR2ConvTransposed(field, field, 3, softness=0.4, groups=2).double())


def fields(kinds: int) -> FieldType:
    space = gspaces.rot2dOnR2(6)
    return space.type(*[space.regular_repr, space.irrep(1), space.irrep(2), space.trivial_repr][:kinds])


def test_where_escnn_takes_longer_at_softness_0_too() -> None:
    layer = es.SoftR2Conv(fields(4), fields(4), 3).double()
    agree(layer)
    few = es.SoftR2Conv(fields(4), fields(1), 3)
    assert few._strict is None
    few.softness = 0.5
    assert few._strict is not None
    few.softness = 0.0
    assert few._strict is None


def test_a_basis_that_was_written_to_is_seen() -> None:
    layer = copy.deepcopy(es.SoftR2Conv(fields(4), fields(4), 3, softness=0.5))  # layers of one geometry share theirs
    before = layer.expand_parameters()[0].detach()
    for block in layer._basisexpansion.children():
        block.sampled_basis.mul_(2.0)
    assert torch.allclose(layer.expand_parameters()[0], 2 * before, atol=1e-5)
    for block in layer._basisexpansion.children():
        block.sampled_basis.normal_()  # no longer equivariant
    assert torch.equal(layer.expand_parameters()[0], layer._expand_strict()[0])


@pytest.mark.parametrize("softness", [0.5, es.Budget(0.2)], ids=str)
def test_what_is_turned_in_inference_mode_serves_training(softness) -> None:
    layer = es.SoftR2Conv(fields(4), fields(4), 3)
    x = torch.randn(1, fields(4).size, 5, 5)
    with torch.inference_mode():
        layer.softness = softness
    with FlopCounterMode(display=False):  # operations are seen, and save what they need
        layer(fields(4)(x)).tensor.sum().backward()
    assert layer.weights.grad is not None
    with torch.inference_mode():
        layer.double()
    with FlopCounterMode(display=False):
        layer(fields(4)(x.double())).tensor.sum().backward()


def test_both_ends_of_the_dial_are_one_kernel_in_double_precision() -> None:
    space = gspaces.rot2dOnR2(4)
    field = space.type(space.regular_repr, space.trivial_repr)
    out = space.type(space.irrep(1), space.quotient_repr(2))
    layer = es.SoftR2Conv(field, out, 6, dilation=2).double()  # some rings miss the pixels
    strict = layer.expand_parameters()[0].detach()
    layer.softness = 0.4
    assert torch.allclose(layer.expand_parameters()[0], strict, atol=1e-12)


def test_a_copy_is_made_of_its_own_basis() -> None:
    layer = es.SoftR2Conv(fields(4), fields(4), 3, softness=0.5)
    twin = copy.deepcopy(layer)
    assert twin._strict.made_of(twin._basisexpansion)
    assert not twin._strict.made_of(layer._basisexpansion)
    assert twin._strict.matrices[0] is layer._strict.matrices[0]


def test_kernels_that_go_astray_stay_escnns() -> None:
    space = gspaces.rot2dOnR2(4)
    field = space.type(space.regular_repr)
    layer = es.SoftR2Conv(field, field, 3, dilation=3, softness=0.5)
    assert layer._strict is None
    assert torch.equal(layer.expand_parameters()[0], layer._expand_strict()[0])
