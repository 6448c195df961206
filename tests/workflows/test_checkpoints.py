"""Checkpoints of whole models: between modes, classes, formats and processes; and what their numbers mean."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from escnn import group, gspaces

from escnn_soft import (
    SoftLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftTensorProduct,
    harden,
    soften,
)
from tests.convert.models import HARD_LAYERS, Classifier, output, randomised, sequential
from tests.disturbance import disturb
from tests.processes import python

FROZEN = Path(__file__).with_name("frozen_kernels.json")
MODES = {"fresh": lambda m: m, "train": lambda m: m.eval().train(), "eval": lambda m: m.eval()}


def soft(build=sequential):
    return disturb(soften(build(), 0.5))


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("source", MODES)
@pytest.mark.parametrize("kind", ["soft", "hard", "hardened"])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_strict_state_between_every_pair_of_modes(build, kind, source, target) -> None:
    first = MODES[source]({"soft": soft, "hard": lambda b: b(), "hardened": lambda b: harden(soft(b))}[kind](build))
    second = disturb(MODES[target](soft(build)), scale=1.0)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1.0)
    output(second)
    second.load_state_dict(first.state_dict(), strict=True)
    assert (output(second.eval()) - output(first.eval())).abs().max() < 1e-6


@pytest.mark.parametrize("source", MODES)
@pytest.mark.parametrize("name", HARD_LAYERS)
def test_strict_state_of_each_of_escnns_layers_in_every_mode(name, source) -> None:
    hard = MODES[source](randomised(HARD_LAYERS[name]()))
    x = hard.in_type(torch.randn(2, hard.in_type.size, *[5] * hard.in_type.gspace.dimensionality))
    expected = hard(x).tensor
    for change in MODES.values():
        soft = change(disturb(soften(HARD_LAYERS[name](), 0.5), scale=1.0))
        soft.load_state_dict(hard.state_dict(), strict=True)
        assert (soft(x).tensor - expected).abs().max() < 1e-5
        again = harden(soft)
        fresh = HARD_LAYERS[name]().train().train(again.training)
        fresh.load_state_dict(again.state_dict(), strict=True)
        assert (fresh(x).tensor - expected).abs().max() < 1e-5


def test_pickled_state(tmp_path) -> None:
    model, twin = soft(), soft()
    disturb(twin, scale=1.0)
    twin.load_state_dict(pickle.loads(pickle.dumps(model.state_dict())))
    assert torch.equal(output(twin), output(model))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    disturb(twin, scale=1.0).load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(output(twin), output(model))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_safetensors(build, train, tmp_path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model, twin = soft(build).train(train), disturb(soft(build), scale=1.0).train(train)
    safetensors.save_model(model, tmp_path / "model.safetensors")  # shared modules are stored once
    safetensors.load_model(twin, tmp_path / "model.safetensors")
    assert torch.equal(output(twin.eval()), output(model.eval()))


def test_safetensors_of_a_plain_state(tmp_path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model, twin = soft(), disturb(soft(), scale=1.0)
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    twin.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    assert torch.equal(output(twin), output(model))


def test_another_process_computes_the_same(tmp_path) -> None:
    model = soft().eval()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.save(output(model).detach(), tmp_path / "output.pt")
    python(
        f"""
        import torch
        from escnn_soft import soften
        from tests.convert.models import output, sequential
        torch.randn(17)  # elsewhere, something else was drawn before
        model = soften(sequential(), 0.5)
        model.load_state_dict(torch.load({str(tmp_path / "state.pt")!r}, weights_only=True))
        expected = torch.load({str(tmp_path / "output.pt")!r}, weights_only=True)
        assert torch.allclose(output(model.eval()), expected, atol=1e-6)
        """
    )


# ---------------------------------------------------------------------- frozen numbers


def planar(space, size, kind=SoftR2Conv):
    field = space.type(space.regular_repr if space.fibergroup.order() > 0 else space.irrep(1), space.trivial_repr)
    return kind(field, field, size, softness=0.5)


def spatial(space, kind=SoftR3Conv):
    field = space.type(space.irrep(0), space.irrep(1))
    return kind(field, field, 3, softness=0.5)


def icosahedral():
    space = gspaces.icoOnR3()
    field = space.type(space.irrep(0), space.irrep(1))
    return SoftR3IcoConv(field, field, 3, samples="ico", softness=0.5)


def spherical():
    space = gspaces.no_base_space(group.so3_group(2))
    field = space.type(space.irrep(0), space.irrep(1), space.irrep(2))
    return SoftLinear(field, field, softness=0.5)


def quadratic():
    space = gspaces.rot2dOnR2(4)
    field = space.type(space.regular_repr, space.regular_repr)
    return SoftTensorProduct(field, field, softness=0.5)


# without O(2): escnn finds its coefficients as null spaces, whose signs are not the same on every kind of CPU
LAYERS = {
    "C4, k = 3": lambda: planar(gspaces.rot2dOnR2(4), 3),
    "C8, k = 5": lambda: planar(gspaces.rot2dOnR2(8), 5),
    "D4, k = 3": lambda: planar(gspaces.flipRot2dOnR2(4), 3),
    "SO(2), k = 5": lambda: planar(gspaces.rot2dOnR2(-1, maximum_frequency=2), 5),
    "D6, k = 3": lambda: planar(gspaces.flipRot2dOnR2(6), 3),
    "C4, k = 3, transposed": lambda: planar(gspaces.rot2dOnR2(4), 3, SoftR2ConvTransposed),
    "SO(3) matrix": spherical,
    "SO(3), k = 3": lambda: spatial(gspaces.rot3dOnR3()),
    "octahedral, k = 3": lambda: spatial(gspaces.octaOnR3()),
    "octahedral, k = 3, transposed": lambda: spatial(gspaces.octaOnR3(), SoftR3ConvTransposed),
    "icosahedral, k = 3": icosahedral,
    "C4 tensor product": quadratic,
}


def kernel_values(layer) -> list[float]:
    """Some values of the kernel and bias that given coefficients stand for."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(torch.cos(steps + len(name)))  # numbers without any symmetry of their own
        kernel, bias = layer.double().expand_parameters()
    kernel = kernel.flatten()
    return [*kernel[:: max(1, kernel.numel() // 12)][:12].tolist(), *([] if bias is None else bias[:4].tolist())]


@pytest.mark.parametrize("name", LAYERS)
def test_coefficients_mean_the_same_kernel_as_when_this_was_written(name) -> None:
    frozen = json.loads(FROZEN.read_text())[name]
    assert kernel_values(LAYERS[name]()) == pytest.approx(frozen, abs=2e-6)  # escnn's own basis is float32
