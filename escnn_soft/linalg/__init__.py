"""Linear algebra: intertwiners, and norms with certified upper bounds; no escnn."""

from escnn_soft.linalg.intertwiners import RANK_TOLERANCE, extend_orthonormal, intertwiners
from escnn_soft.linalg.norms import convolution_norm, oversampling_factor, spectral_norm

__all__ = [
    "RANK_TOLERANCE",
    "convolution_norm",
    "extend_orthonormal",
    "intertwiners",
    "oversampling_factor",
    "spectral_norm",
]
