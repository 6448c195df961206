"""What a training loop needs: optimisers that keep a symmetry, and the softness in numbers.

Names of version 0.1, which live in ``convert`` now, still resolve.
"""

from __future__ import annotations

from typing import Any

from escnn_soft._moved import MOVED, forwarded
from escnn_soft.training.damped_muon import DampedMuon
from escnn_soft.training.layer_parameters import LayerParameters, layer_group
from escnn_soft.training.layerwise_adam import LayerwiseAdam
from escnn_soft.training.tracking import log_softness, softness_scalars

__all__ = ["DampedMuon", "LayerParameters", "LayerwiseAdam", "layer_group", "log_softness", "softness_scalars"]


def __getattr__(name: str) -> Any:
    return forwarded(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MOVED[__name__]})
