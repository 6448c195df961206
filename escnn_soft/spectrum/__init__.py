"""The Fourier transform of weights: levels, analysis and synthesis for fibre maps and kernels."""

from escnn_soft.spectrum.action import act, act_on_fibres, act_on_rows
from escnn_soft.spectrum.fibre import fibre_transform
from escnn_soft.spectrum.fibregroup import FibreGroup, IrrepId
from escnn_soft.spectrum.graded import Graded, GradedPixels, GradedWeight, SpectralGraded, without_band_limit
from escnn_soft.spectrum.gram import IrrepGrams
from escnn_soft.spectrum.grid import Grid, grid_action, grid_exact, moves_pixels, pixel_elements, pixel_permutation
from escnn_soft.spectrum.groups import fibre_group
from escnn_soft.spectrum.harmonics import Harmonic
from escnn_soft.spectrum.kernel import SpatialFunction, kernel_transform
from escnn_soft.spectrum.levels import Level, LevelEnergy, WeightSpectrum
from escnn_soft.spectrum.planar import PlanarGroup
from escnn_soft.spectrum.polyhedral import VertexShell
from escnn_soft.spectrum.transform import WeightTransform

__all__ = [
    "FibreGroup",
    "Graded",
    "GradedPixels",
    "GradedWeight",
    "Grid",
    "Harmonic",
    "IrrepGrams",
    "IrrepId",
    "Level",
    "LevelEnergy",
    "PlanarGroup",
    "SpatialFunction",
    "SpectralGraded",
    "VertexShell",
    "WeightSpectrum",
    "WeightTransform",
    "act",
    "act_on_fibres",
    "act_on_rows",
    "fibre_group",
    "fibre_transform",
    "grid_action",
    "grid_exact",
    "kernel_transform",
    "moves_pixels",
    "pixel_elements",
    "pixel_permutation",
    "without_band_limit",
]
