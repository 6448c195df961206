"""After export(): torch.export, ONNX and TorchScript."""

from __future__ import annotations

import io

import pytest
import torch

from escnn_soft import soften
from tests.convert.models import PICTURES, Classifier, output, sequential
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


def test_onnx(plain, tmp_path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnxruntime

    model, expected = plain
    torch.onnx.export(model, (PICTURES,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(None, {session.get_inputs()[0].name: PICTURES.numpy()})
    assert abs(y - expected.numpy()).max() < 1e-5


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
