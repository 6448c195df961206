"""Whole models: escnn's layers into soft ones and back, and their softness."""

from escnn_soft.convert.calibrate import CalibratedLayer, Calibration, calibrate
from escnn_soft.convert.grid.centring import centre_strides
from escnn_soft.convert.grid.grid_breaks import GridBreak
from escnn_soft.convert.harden import bake, harden
from escnn_soft.convert.projected import ProjectedLayer, project_after_step, projected
from escnn_soft.convert.restrict import restrict
from escnn_soft.convert.soften import soften
from escnn_soft.convert.status import LayerStatus, SoftStatus, set_softness, soft_status
from escnn_soft.convert.vision_transformers import position_tables as position_tables  # registers known structures
from escnn_soft.convert.vision_transformers import rotary_attention as rotary_attention
from escnn_soft.convert.vision_transformers.positions import Position, Unreachable, register_positions

__all__ = [
    "CalibratedLayer",
    "Calibration",
    "GridBreak",
    "LayerStatus",
    "Position",
    "ProjectedLayer",
    "SoftStatus",
    "Unreachable",
    "bake",
    "calibrate",
    "centre_strides",
    "harden",
    "project_after_step",
    "projected",
    "register_positions",
    "restrict",
    "set_softness",
    "soft_status",
    "soften",
]
