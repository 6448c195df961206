"""Functions on points: pixels and voxels, harmonics and shells on them, and how a group moves them."""

from escnn_soft.functions.circular import circular_functions, mirror_axis, split_frequency
from escnn_soft.functions.copies import SpatialCopy, SplitFunctions, split_functions
from escnn_soft.functions.field_action import act, act_on_fibres, act_on_rows, matrix_at
from escnn_soft.functions.grid import (
    Grid,
    grid_action,
    grid_exact,
    moves_pixels,
    pixel_elements,
    pixel_permutation,
    stored_axes,
)
from escnn_soft.functions.harmonics import Harmonic, unit_energy
from escnn_soft.functions.polyhedral import VertexShell, polyhedral_functions
from escnn_soft.functions.shells import shell_harmonics
from escnn_soft.functions.spherical import spherical_functions, split_degree

__all__ = [
    "Grid",
    "Harmonic",
    "SpatialCopy",
    "SplitFunctions",
    "VertexShell",
    "act",
    "act_on_fibres",
    "act_on_rows",
    "circular_functions",
    "grid_action",
    "grid_exact",
    "matrix_at",
    "mirror_axis",
    "moves_pixels",
    "pixel_elements",
    "pixel_permutation",
    "polyhedral_functions",
    "shell_harmonics",
    "spherical_functions",
    "split_degree",
    "split_frequency",
    "split_functions",
    "stored_axes",
    "unit_energy",
]
