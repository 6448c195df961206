"""After export(): torch.export, ONNX and TorchScript."""

from __future__ import annotations

import io

import pytest
import torch
from escnn import gspaces

from escnn_soft import (
    SoftLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftTensorProduct,
    soften,
)
from tests.convert.models import PICTURES, VECTOR, Classifier, output, sequential
from tests.disturbance import disturb


@pytest.fixture(scope="module")
def plain() -> tuple[torch.nn.Module, torch.Tensor]:
    """A soft network as plain torch modules, and what it makes of the pictures."""
    model = disturb(soften(sequential(), 0.5)).eval()
    exported = model.export().eval()
    expected = output(model).detach()
    assert not any("escnn" in type(module).__module__ for module in exported if isinstance(module, torch.nn.Conv2d))
    assert (exported(PICTURES) - expected).abs().max() < 1e-5
    return exported, expected


@pytest.mark.parametrize("strict", [True, False])
def test_torch_export(plain, strict) -> None:
    model, expected = plain
    program = torch.export.export(model, (PICTURES,), strict=strict)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    assert (torch.export.load(buffer).module()(PICTURES) - expected).abs().max() < 1e-5


def by_onnx_runtime(model, x, path) -> torch.Tensor:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnxruntime

    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def test_onnx(plain, tmp_path) -> None:
    model, expected = plain
    assert (by_onnx_runtime(model, PICTURES, tmp_path / "model.onnx") - expected).abs().max() < 1e-5


C4, OCTAHEDRAL, ICOSAHEDRAL = gspaces.rot2dOnR2(4), gspaces.octaOnR3(), gspaces.icoOnR3()
REGULAR = C4.type(*[C4.regular_repr] * 2)
VOLUME = OCTAHEDRAL.type(OCTAHEDRAL.trivial_repr, OCTAHEDRAL.irrep(1))
ICO = [ICOSAHEDRAL.type(ICOSAHEDRAL.irrep(i)) for i in (0, 1)]
LAYERS = {
    "planar": lambda: SoftR2Conv(REGULAR, REGULAR, 3, padding=1),
    "planar, with all its arguments": lambda: SoftR2Conv(
        REGULAR, REGULAR, 3, padding=2, stride=2, dilation=2, padding_mode="circular", groups=2, bias=False
    ),
    "planar transposed": lambda: SoftR2ConvTransposed(REGULAR, REGULAR, 3, padding=1, output_padding=1, stride=2),
    "matrix": lambda: SoftLinear(VECTOR, VECTOR),
    "spatial": lambda: SoftR3Conv(VOLUME, VOLUME, 3, padding=1),
    "spatial transposed": lambda: SoftR3ConvTransposed(VOLUME, VOLUME, 3, padding=1, stride=2),
    "icosahedral": lambda: SoftR3IcoConv(*ICO, 3, samples="ico"),
    "tensor product": lambda: SoftTensorProduct(REGULAR, REGULAR),
}


@pytest.fixture(scope="module", params=LAYERS)
def layer(request) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A soft layer as a plain torch module, an input, and what the soft layer makes of it."""
    soft = disturb(LAYERS[request.param]()).eval()
    soft.softness = 0.5
    x = torch.randn(2, soft.in_type.size, *[6] * soft.in_type.gspace.dimensionality)
    return soft.export(), x, soft(soft.in_type(x)).tensor.detach()


def test_each_layer_in_onnx(layer, tmp_path) -> None:
    model, x, expected = layer
    assert (by_onnx_runtime(model, x, tmp_path / "layer.onnx") - expected).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_each_layer_in_torch_export_and_torchscript(layer) -> None:
    model, x, expected = layer
    assert (torch.export.export(model, (x,)).module()(x) - expected).abs().max() < 1e-5
    assert (torch.jit.script(model)(x) - expected).abs().max() < 1e-5
    assert (torch.jit.trace(model, x)(x) - expected).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript(plain, how) -> None:
    model, expected = plain
    scripted = torch.jit.trace(model, PICTURES) if how == "trace" else torch.jit.script(model)
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    assert (torch.jit.load(buffer)(PICTURES) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_torch_export_of_the_soft_model_itself(train, strict) -> None:
    model = disturb(soften(Classifier(), 0.5)).train(train)
    program = torch.export.export(model, (PICTURES,), strict=strict)
    assert (program.module()(PICTURES) - model(PICTURES)).abs().max() < 1e-5
