"""escnn layers with one dial: from exactly equivariant (softness 0) to unconstrained (softness 1)."""

from escnn_soft import _compat as _compat  # mends escnn before anything builds a basis
from escnn_soft import metrics
from escnn_soft.bounds import Certificate, PixelErrors, Term
from escnn_soft.certification import (
    NetworkCertificate,
    budget,
    certificate,
    certify,
    register_action,
    register_lipschitz,
)
from escnn_soft.convert import LayerStatus, SoftStatus, harden, register_soft, set_softness, soft_status, soften
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
from escnn_soft.nn import (
    SoftLinear,
    SoftnessScheduler,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftR3IcoConvTransposed,
    SoftTensorProduct,
)
from escnn_soft.policies import Budget, CosineSchedule, Cutoff, Exponential, Learned, LinearSchedule, Policy
from escnn_soft.spectrum import Level, LevelEnergy, WeightSpectrum
from escnn_soft.training import ProjectedLayer, project_after_step, projected

__version__ = "0.1.0"

__all__ = [
    "AliasedBasisError",
    "ArgumentError",
    "BasisFilterError",
    "Budget",
    "Certificate",
    "CosineSchedule",
    "Cutoff",
    "DtypeError",
    "EmptyBasisError",
    "EscnnSoftError",
    "Exponential",
    "FieldTypeError",
    "GSpaceError",
    "GridActionError",
    "LayerStatus",
    "Learned",
    "Level",
    "LevelEnergy",
    "LinearSchedule",
    "NetworkCertificate",
    "PixelErrors",
    "Policy",
    "ProjectedLayer",
    "RepresentationError",
    "ShapeError",
    "SoftLinear",
    "SoftR2Conv",
    "SoftR2ConvTransposed",
    "SoftR3Conv",
    "SoftR3ConvTransposed",
    "SoftR3IcoConv",
    "SoftR3IcoConvTransposed",
    "SoftStatus",
    "SoftTensorProduct",
    "SoftnessError",
    "SoftnessScheduler",
    "Term",
    "WeightSpectrum",
    "__version__",
    "budget",
    "certificate",
    "certify",
    "harden",
    "metrics",
    "project_after_step",
    "projected",
    "register_action",
    "register_lipschitz",
    "register_soft",
    "set_softness",
    "soft_status",
    "soften",
]
