"""The core: all weights of a shape as an orthogonal sum of levels, one for each way of breaking the symmetry.

A transform takes a weight to its coefficients, level by level, and back.
"""

from escnn_soft.grading.chain import Chain, SubgroupChain, SubgroupId, restricted_type, subgroup_chain
from escnn_soft.grading.continuous import RingFunctions, continuous_transform, ring_functions
from escnn_soft.grading.damped_synthesis import DampedSynthesis
from escnn_soft.grading.fibre import fibre_transform
from escnn_soft.grading.field import Field
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.graded import GradedPixels, GradedWeight, Grading, SpectralGrading, without_band_limit
from escnn_soft.grading.gram import GramVector, IrrepGrams
from escnn_soft.grading.kernel import SpatialFunction, kernel_transform
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.levels import Level, LevelEnergy, WeightSpectrum
from escnn_soft.grading.low_rank import LowRank
from escnn_soft.grading.matrix_spectrum import matrix_transform
from escnn_soft.grading.positions.permutations import GradedPermutation, SignedPermutations, graded_permutation
from escnn_soft.grading.positions.rotary import RotaryChannels, RotaryTable
from escnn_soft.grading.positions.shifts import GradedShifts, TokenShifts, graded_shifts
from escnn_soft.grading.positions.token_rings import GradedRings, graded_rings
from escnn_soft.grading.positions.tokens import TokenTable, token_maps, token_permutations, token_spectrum
from escnn_soft.grading.transform import WeightTransform, weight_transform

__all__ = [
    "Chain",
    "ChannelFrame",
    "DampedSynthesis",
    "Field",
    "GradedPermutation",
    "GradedPixels",
    "GradedRings",
    "GradedShifts",
    "GradedWeight",
    "Grading",
    "GramVector",
    "IrrepGrams",
    "KernelSpace",
    "Level",
    "LevelEnergy",
    "LowRank",
    "RingFunctions",
    "RotaryChannels",
    "RotaryTable",
    "SignedPermutations",
    "SpatialFunction",
    "SpectralGrading",
    "SubgroupChain",
    "SubgroupId",
    "TokenShifts",
    "TokenTable",
    "WeightSpectrum",
    "WeightTransform",
    "continuous_transform",
    "fibre_transform",
    "graded_permutation",
    "graded_rings",
    "graded_shifts",
    "kernel_transform",
    "matrix_transform",
    "restricted_type",
    "ring_functions",
    "subgroup_chain",
    "token_maps",
    "token_permutations",
    "token_spectrum",
    "weight_transform",
    "without_band_limit",
]
