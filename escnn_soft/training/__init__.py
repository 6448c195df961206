"""Optimisers that keep a symmetry; and names of version 0.1, which live in ``convert`` now."""

from __future__ import annotations

from typing import Any

from escnn_soft._moved import MOVED, forwarded
from escnn_soft.training.damped_muon import DampedMuon
from escnn_soft.training.layer_parameters import LayerParameters, layer_group
from escnn_soft.training.layerwise_adam import LayerwiseAdam

__all__ = ["DampedMuon", "LayerParameters", "LayerwiseAdam", "layer_group"]


def __getattr__(name: str) -> Any:
    return forwarded(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MOVED[__name__]})
