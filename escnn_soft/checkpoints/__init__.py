"""Softened models as files: what their dials are, beside what their tensors hold."""

from escnn_soft.checkpoints.load_softness import load_scheduler, load_softness
from escnn_soft.checkpoints.safetensors_file import (
    fill,
    load_softened,
    read_config,
    read_state,
    save_softened,
    write_state,
)
from escnn_soft.checkpoints.softness_config import softness_config

__all__ = [
    "fill",
    "load_scheduler",
    "load_softened",
    "load_softness",
    "read_config",
    "read_state",
    "save_softened",
    "softness_config",
    "write_state",
]
