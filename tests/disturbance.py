"""Symmetry breaking for layers whose soft part starts at zero."""

from __future__ import annotations

from typing import TypeVar

import torch

Model = TypeVar("Model", bound=torch.nn.Module)


def disturb(model: Model, scale: float = 0.1, generator: torch.Generator | None = None) -> Model:
    """The model, or layer, with random soft coefficients of this standard deviation."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] in ("soft_weights", "soft_bias"):
                parameter.normal_(std=scale, generator=generator)
    return model
