"""escnn layers with one dial: from exactly equivariant (softness 0) to unconstrained (softness 1).

Names are imported when they are first asked for, so that ``import escnn_soft`` and ``escnn-soft --help`` take no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from escnn_soft import _compat as _compat  # mends escnn before anything builds a basis
from escnn_soft._moved import MOVED, forwarded, table

if TYPE_CHECKING:  # the same names, for type checkers, editors and import-linter
    from escnn_soft import errors, groups, metrics
    from escnn_soft.bounds import Certificate, MatrixCertificate
    from escnn_soft.certification import (
        NetworkCertificate,
        certificate,
        certify,
        register_action,
        register_lipschitz,
        set_budget,
    )
    from escnn_soft.checkpoints import load_scheduler, load_softened, load_softness, save_softened, softness_config
    from escnn_soft.convert import (
        Position,
        ProjectedLayer,
        bake,
        calibrate,
        centre_strides,
        harden,
        project_after_step,
        projected,
        register_positions,
        restrict,
        set_softness,
        soft_status,
        soften,
    )
    from escnn_soft.dial import (
        Budget,
        CosineSchedule,
        Cutoff,
        Exponential,
        Graded,
        Learned,
        LinearSchedule,
        Policy,
        SoftFilter,
    )
    from escnn_soft.grading import TokenShifts
    from escnn_soft.layers import (
        MatrixGate,
        SoftLinear,
        SoftMatrixBilinear,
        SoftMatrixLinear,
        SoftnessScheduler,
        SoftR2Conv,
        SoftR2ConvTransposed,
        SoftR2PointConv,
        SoftR3Conv,
        SoftR3ConvTransposed,
        SoftR3IcoConv,
        SoftR3IcoConvTransposed,
        SoftR3PointConv,
        SoftTensorProduct,
        dials,
        register_soft,
    )

__version__ = "0.2.0"

__all__ = [
    "Budget",
    "Certificate",
    "CosineSchedule",
    "Cutoff",
    "Exponential",
    "Graded",
    "Learned",
    "LinearSchedule",
    "MatrixCertificate",
    "MatrixGate",
    "NetworkCertificate",
    "Policy",
    "Position",
    "ProjectedLayer",
    "SoftFilter",
    "SoftLinear",
    "SoftMatrixBilinear",
    "SoftMatrixLinear",
    "SoftR2Conv",
    "SoftR2ConvTransposed",
    "SoftR2PointConv",
    "SoftR3Conv",
    "SoftR3ConvTransposed",
    "SoftR3IcoConv",
    "SoftR3IcoConvTransposed",
    "SoftR3PointConv",
    "SoftTensorProduct",
    "SoftnessScheduler",
    "TokenShifts",
    "__version__",
    "bake",
    "calibrate",
    "centre_strides",
    "certificate",
    "certify",
    "dials",
    "errors",
    "groups",
    "harden",
    "load_scheduler",
    "load_softened",
    "load_softness",
    "metrics",
    "project_after_step",
    "projected",
    "register_action",
    "register_lipschitz",
    "register_positions",
    "register_soft",
    "restrict",
    "save_softened",
    "set_budget",
    "set_softness",
    "soft_status",
    "soften",
    "softness_config",
]

_HOMES = table(
    {
        "bounds": "Certificate MatrixCertificate",
        "certification": "NetworkCertificate certificate certify register_action register_lipschitz set_budget",
        "checkpoints": "load_scheduler load_softened load_softness save_softened softness_config",
        "convert": (
            "Position ProjectedLayer bake calibrate centre_strides harden project_after_step projected "
            "register_positions restrict set_softness soft_status soften"
        ),
        "dial": "Budget CosineSchedule Cutoff Exponential Graded Learned LinearSchedule Policy SoftFilter",
        "grading": "TokenShifts",
        "layers": (
            "MatrixGate SoftLinear SoftMatrixBilinear SoftMatrixLinear SoftnessScheduler SoftR2Conv "
            "SoftR2ConvTransposed SoftR2PointConv SoftR3Conv SoftR3ConvTransposed SoftR3IcoConv "
            "SoftR3IcoConvTransposed SoftR3PointConv SoftTensorProduct dials register_soft"
        ),
    }
)
"""Name -> module that has it, and its name there."""

_ROOMS = [
    "bounds",
    "certification",
    "checkpoints",
    "convert",
    "dial",
    "errors",
    "escnn",
    "export",
    "functions",
    "grading",
    "groups",
    "layers",
    "linalg",
    "metrics",
    "training",
]
"""Packages that need no import of their own."""


def __getattr__(name: str) -> Any:
    """A name from where it lives; one that moved, with a ``DeprecationWarning``."""
    value: Any
    if name in _HOMES:
        module, there = _HOMES[name]
        value = getattr(importlib.import_module(module), there)
    elif name in _ROOMS:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        return forwarded(__name__, name)
    globals()[name] = value  # so that this is asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, *MOVED[__name__]})
