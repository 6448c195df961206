"""Whole models: escnn's layers into soft ones and back, and their softness."""

from escnn_soft.convert import position_tables as position_tables  # registers known structures
from escnn_soft.convert import rotary as rotary
from escnn_soft.convert.centring import centre_strides
from escnn_soft.convert.grid_breaks import GridBreak
from escnn_soft.convert.harden import bake, harden
from escnn_soft.convert.positions import Position, Unreachable, register_positions
from escnn_soft.convert.restrict import restrict
from escnn_soft.convert.soften import soften
from escnn_soft.convert.status import LayerStatus, SoftStatus, set_softness, soft_status

__all__ = [
    "GridBreak",
    "LayerStatus",
    "Position",
    "SoftStatus",
    "Unreachable",
    "bake",
    "centre_strides",
    "harden",
    "register_positions",
    "restrict",
    "set_softness",
    "soft_status",
    "soften",
]
