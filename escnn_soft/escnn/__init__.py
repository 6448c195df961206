"""escnn from the inside: its sampled bases, the band limits that its layers keep, and its first weights.

What reads escnn's own bookkeeping belongs here, so that a new version of escnn is met in one place.
"""

from escnn_soft.escnn.band_limit import Options, band_limits, band_limits_at_points, kept_in_basis
from escnn_soft.escnn.empty_basis import empty_allowed
from escnn_soft.escnn.initialization import generalized_he_init
from escnn_soft.escnn.kept_rings import BasisFilter, FrequenciesCutoff, exactly, kept_harmonics, kept_shells
from escnn_soft.escnn.kernel_basis import SoftKernelBasis
from escnn_soft.escnn.point_convolutions import HAS_POINT_CONVOLUTIONS, R2PointConv, R3PointConv
from escnn_soft.escnn.point_rings import harmonics_at_points

__all__ = [
    "HAS_POINT_CONVOLUTIONS",
    "BasisFilter",
    "FrequenciesCutoff",
    "Options",
    "R2PointConv",
    "R3PointConv",
    "SoftKernelBasis",
    "band_limits",
    "band_limits_at_points",
    "empty_allowed",
    "exactly",
    "generalized_he_init",
    "harmonics_at_points",
    "kept_harmonics",
    "kept_in_basis",
    "kept_shells",
]
