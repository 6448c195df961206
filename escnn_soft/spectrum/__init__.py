"""The Fourier transform of weights: levels, analysis and synthesis for fibre maps and kernels."""

from escnn_soft.spectrum.action import act, act_on_fibres, act_on_rows
from escnn_soft.spectrum.chain import Chain, SubgroupId, restricted_type, subgroup_chain
from escnn_soft.spectrum.continuous import RingFunctions, continuous_transform, ring_functions
from escnn_soft.spectrum.equivariant_maps import equivariant_maps
from escnn_soft.spectrum.escnn_generators import escnn_matrix_group, escnn_matrix_representation
from escnn_soft.spectrum.fibre import fibre_transform
from escnn_soft.spectrum.fibregroup import FibreGroup
from escnn_soft.spectrum.field import Field
from escnn_soft.spectrum.frame import ChannelFrame
from escnn_soft.spectrum.generators import Generators, MatrixElement
from escnn_soft.spectrum.graded import Graded, GradedPixels, GradedWeight, SpectralGraded, without_band_limit
from escnn_soft.spectrum.gram import IrrepGrams
from escnn_soft.spectrum.grid import (
    Grid,
    grid_action,
    grid_exact,
    moves_pixels,
    pixel_elements,
    pixel_permutation,
    stored_axes,
)
from escnn_soft.spectrum.groups import fibre_group
from escnn_soft.spectrum.harmonics import Harmonic
from escnn_soft.spectrum.irreps import Irrep, IrrepId, IrrepProducts, Irreps, IrrepTable
from escnn_soft.spectrum.kernel import SpatialFunction, kernel_transform
from escnn_soft.spectrum.kernel_basis import SoftKernelBasis
from escnn_soft.spectrum.kernel_space import KernelSpace
from escnn_soft.spectrum.levels import Level, LevelEnergy, WeightSpectrum
from escnn_soft.spectrum.matrix_group import MatrixGroup
from escnn_soft.spectrum.matrix_groups import (
    lorentz_group,
    orthogonal_group,
    permutation_group,
    proper_lorentz_group,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
)
from escnn_soft.spectrum.matrix_representation import MatrixField, MatrixRepresentation, scalar, vector
from escnn_soft.spectrum.matrix_spectrum import matrix_transform
from escnn_soft.spectrum.permutations import GradedPermutation, SignedPermutations, graded_permutation
from escnn_soft.spectrum.planar import PlanarGroup
from escnn_soft.spectrum.polyhedral import VertexShell
from escnn_soft.spectrum.rings import GradedRings, graded_rings
from escnn_soft.spectrum.rotary import RotaryChannels, RotaryTable
from escnn_soft.spectrum.shifts import GradedShifts, TokenShifts, graded_shifts
from escnn_soft.spectrum.tokens import TokenTable, token_maps, token_permutations, token_spectrum
from escnn_soft.spectrum.transform import WeightTransform, weight_transform

__all__ = [
    "Chain",
    "ChannelFrame",
    "FibreGroup",
    "Field",
    "Generators",
    "Graded",
    "GradedPermutation",
    "GradedPixels",
    "GradedRings",
    "GradedShifts",
    "GradedWeight",
    "Grid",
    "Harmonic",
    "Irrep",
    "IrrepGrams",
    "IrrepId",
    "IrrepProducts",
    "IrrepTable",
    "Irreps",
    "KernelSpace",
    "Level",
    "LevelEnergy",
    "MatrixElement",
    "MatrixField",
    "MatrixGroup",
    "MatrixRepresentation",
    "PlanarGroup",
    "RingFunctions",
    "RotaryChannels",
    "RotaryTable",
    "SignedPermutations",
    "SoftKernelBasis",
    "SpatialFunction",
    "SpectralGraded",
    "SubgroupId",
    "TokenShifts",
    "TokenTable",
    "VertexShell",
    "WeightSpectrum",
    "WeightTransform",
    "act",
    "act_on_fibres",
    "act_on_rows",
    "continuous_transform",
    "equivariant_maps",
    "escnn_matrix_group",
    "escnn_matrix_representation",
    "fibre_group",
    "fibre_transform",
    "graded_permutation",
    "graded_rings",
    "graded_shifts",
    "grid_action",
    "grid_exact",
    "kernel_transform",
    "lorentz_group",
    "matrix_transform",
    "moves_pixels",
    "orthogonal_group",
    "permutation_group",
    "pixel_elements",
    "pixel_permutation",
    "proper_lorentz_group",
    "restricted_type",
    "ring_functions",
    "scalar",
    "special_orthogonal_group",
    "special_unitary_group",
    "stored_axes",
    "subgroup_chain",
    "symplectic_group",
    "token_maps",
    "token_permutations",
    "token_spectrum",
    "vector",
    "weight_transform",
    "without_band_limit",
]
