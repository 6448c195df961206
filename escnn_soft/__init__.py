"""escnn layers with one dial: from exactly equivariant (softness 0) to unconstrained (softness 1)."""

from escnn_soft import _compat as _compat  # mends escnn before anything builds a basis
from escnn_soft.nn import SoftLinear, SoftR2Conv
from escnn_soft.policies import Cutoff, Exponential, Policy
from escnn_soft.spectrum import Level, LevelEnergy, WeightSpectrum

__version__ = "0.1.0"

__all__ = [
    "Cutoff",
    "Exponential",
    "Level",
    "LevelEnergy",
    "Policy",
    "SoftLinear",
    "SoftR2Conv",
    "WeightSpectrum",
    "__version__",
]
