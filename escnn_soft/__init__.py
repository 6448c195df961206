"""escnn layers with one dial: from exactly equivariant (softness 0) to unconstrained (softness 1)."""

from escnn_soft import _compat as _compat  # mends escnn before anything builds a basis
from escnn_soft.bounds import Certificate, PixelErrors, Term
from escnn_soft.certify import certificate
from escnn_soft.errors import (
    AliasedBasisError,
    ArgumentError,
    BasisFilterError,
    DtypeError,
    EmptyBasisError,
    EscnnSoftError,
    FieldTypeError,
    GridActionError,
    GSpaceError,
    RepresentationError,
    ShapeError,
    SoftnessError,
)
from escnn_soft.nn import SoftLinear, SoftR2Conv
from escnn_soft.policies import Cutoff, Exponential, Policy
from escnn_soft.spectrum import Level, LevelEnergy, WeightSpectrum

__version__ = "0.1.0"

__all__ = [
    "AliasedBasisError",
    "ArgumentError",
    "BasisFilterError",
    "Certificate",
    "Cutoff",
    "DtypeError",
    "EmptyBasisError",
    "EscnnSoftError",
    "Exponential",
    "FieldTypeError",
    "GSpaceError",
    "GridActionError",
    "Level",
    "LevelEnergy",
    "PixelErrors",
    "Policy",
    "RepresentationError",
    "ShapeError",
    "SoftLinear",
    "SoftR2Conv",
    "SoftnessError",
    "Term",
    "WeightSpectrum",
    "__version__",
    "certificate",
]
