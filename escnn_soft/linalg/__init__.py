"""Linear algebra: intertwiners, null spaces, and norms with certified upper bounds; no escnn."""

from escnn_soft.linalg.intertwiners import RANK_TOLERANCE, extend_orthonormal, intertwiners
from escnn_soft.linalg.matrix_norms import largest_norm, spectral_norm
from escnn_soft.linalg.norms import convolution_norm, oversampling_factor
from escnn_soft.linalg.null_space import ZERO_TOLERANCE, null_space, singular_levels
from escnn_soft.linalg.unfoldings import unfolding_norm

__all__ = [
    "RANK_TOLERANCE",
    "ZERO_TOLERANCE",
    "convolution_norm",
    "extend_orthonormal",
    "intertwiners",
    "largest_norm",
    "null_space",
    "oversampling_factor",
    "singular_levels",
    "spectral_norm",
    "unfolding_norm",
]
