"""Softened models in the files of other libraries: transformers, timm and Hugging Face's hub."""

from __future__ import annotations

import json

import pytest
import torch
from escnn import gspaces
from safetensors.torch import load_file
from torch.nn import Module

import escnn_soft as es
from tests.disturbance import disturb

C4 = gspaces.rot2dOnR2(4)
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def softened(model: Module) -> Module:
    """A model whose filters and tables are soft, each at a softness of its own."""
    soft = es.soften(model, es.Exponential(0.5), gspace=C4, inplace=True)
    for i, dial in enumerate(es.layers.dials(soft).values()):
        dial.softness = es.Graded(0.3) if i % 2 else es.Exponential(0.7)
    return disturb(soft).eval()


def classes(model: Module) -> torch.Tensor:
    with torch.no_grad():
        y = model(PICTURES)
    return getattr(y, "logits", y)


def transformers_vit(config=None) -> Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8) if config is None else config
    return transformers.ViTForImageClassification(config).eval()


def test_transformers_own_saving_and_loading_keep_the_function(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")

    class SoftViT(transformers.ViTForImageClassification):
        def __init__(self, config) -> None:
            super().__init__(config)
            if getattr(config, "softness", None) is not None:
                es.load_softness(self, config.softness)

    soft = softened(SoftViT(transformers_vit().config))
    soft.config.softness = es.softness_config(soft)
    soft.save_pretrained(tmp_path)
    again = SoftViT.from_pretrained(tmp_path).eval()  # builds on the meta device
    assert torch.equal(classes(again), classes(soft))
    assert es.softness_config(again) == es.softness_config(soft)


def test_one_file_beside_transformers_config_does_too(tmp_path) -> None:
    soft = softened(transformers_vit())
    soft.config.save_pretrained(tmp_path)
    es.save_softened(soft, tmp_path / "model.safetensors")
    again = transformers_vit(type(soft.config).from_pretrained(tmp_path))
    assert torch.equal(classes(es.load_softened(tmp_path / "model.safetensors", again)), classes(soft))


def timm_vit(**arguments) -> Module:
    timm = pytest.importorskip("timm")
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, **arguments
    ).eval()


def test_timm_keeps_the_function(tmp_path) -> None:
    soft = softened(timm_vit())
    es.save_softened(soft, tmp_path / "model.safetensors")
    again = es.load_softened(tmp_path / "model.safetensors", timm_vit())
    assert torch.equal(classes(again), classes(soft))


def test_timms_own_loading_keeps_it_where_the_softness_is_set_first(tmp_path) -> None:
    helpers = pytest.importorskip("timm.models")
    soft = softened(timm_vit())
    config = es.save_softened(soft, tmp_path / "model.safetensors")
    again = es.load_softness(timm_vit(), config)
    helpers.load_checkpoint(again, str(tmp_path / "model.safetensors"))
    assert torch.equal(classes(again), classes(soft))


def test_the_hubs_mixin_keeps_it_in_a_local_folder(tmp_path) -> None:
    hub = pytest.importorskip("huggingface_hub")

    class Net(Module, hub.PyTorchModelHubMixin):
        def __init__(self, width: int = 8, softness: dict | None = None) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), torch.nn.ELU(), torch.nn.Conv2d(width, 4, 3))
            if softness is not None:
                es.load_softness(self, softness)

        def forward(self, x):
            return self.body(x).mean((2, 3))

    soft = softened(Net(width=6))
    soft.save_pretrained(tmp_path, config={"width": 6, "softness": es.softness_config(soft)})
    assert json.loads((tmp_path / "config.json").read_text())["softness"]["filters"]
    assert load_file(tmp_path / "model.safetensors")
    again = Net.from_pretrained(tmp_path).eval()
    assert torch.equal(classes(again), classes(soft))
