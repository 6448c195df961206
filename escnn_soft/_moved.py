"""Names that moved after version 0.1: they still resolve, with a warning that says where they are. Gone in 0.3."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ["MOVED", "forwarded", "table"]


def table(rooms: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Old name -> module and new name, from module -> names, ``old=new`` for one that changed."""
    return {
        name.partition("=")[0]: (f"escnn_soft.{room}", name.rpartition("=")[2])
        for room, names in rooms.items()
        for name in names.split()
    }


MOVED: dict[str, dict[str, tuple[str, str]]] = {
    "escnn_soft": table(
        {
            "bounds": "PixelErrors Term",
            "certification": "budget=set_budget",
            "convert": "GridBreak LayerStatus SoftStatus Unreachable",
            "errors": (
                "AliasedBasisError ArgumentError BasisFilterError DtypeError EmptyBasisError "
                "EscnnSoftError FieldTypeError GSpaceError GridActionError MissingPackageError "
                "RepresentationError ShapeError SoftnessError"
            ),
            "escnn": "SoftKernelBasis",
            "grading": "Level LevelEnergy TokenTable WeightSpectrum",
            "groups": (
                "MatrixElement MatrixGroup MatrixRepresentation equivariant_maps escnn_matrix_group "
                "escnn_matrix_representation lorentz_group orthogonal_group permutation_group "
                "proper_lorentz_group scalar special_orthogonal_group special_unitary_group "
                "symplectic_group vector"
            ),
        }
    ),
    "escnn_soft.nn": table(
        {
            "dial": "FieldTypes SoftFilter weight_filter",
            "layers": (
                "MatrixGate SoftConvolution SoftLayer SoftLinear SoftMatrixBilinear SoftMatrixLinear "
                "SoftPointConvolution SoftR2Conv SoftR2ConvTransposed SoftR2PointConv SoftR3Conv "
                "SoftR3ConvTransposed SoftR3IcoConv SoftR3IcoConvTransposed SoftR3PointConv "
                "SoftTensorProduct SoftnessScheduler graded_bias graded_kernel"
            ),
        }
    ),
    "escnn_soft.policies": table(
        {
            "dial": (
                "DIAL_TOLERANCE Budget CosineSchedule Cutoff Exponential Learned LinearSchedule Policy "
                "Schedule as_policy"
            ),
        }
    ),
    "escnn_soft.spectrum": table(
        {
            "bounds": "IrrepId",
            "escnn": "SoftKernelBasis",
            "functions": (
                "Grid Harmonic VertexShell act act_on_fibres act_on_rows grid_action grid_exact "
                "moves_pixels pixel_elements pixel_permutation stored_axes"
            ),
            "grading": (
                "Chain Graded=Grading GradedPermutation GradedPixels GradedRings GradedShifts GradedWeight "
                "IrrepGrams Level LevelEnergy RingFunctions RotaryChannels RotaryTable "
                "SignedPermutations SpatialFunction SpectralGraded=SpectralGrading SubgroupId TokenShifts TokenTable "
                "WeightSpectrum WeightTransform continuous_transform fibre_transform "
                "graded_permutation graded_rings graded_shifts kernel_transform matrix_transform "
                "restricted_type ring_functions subgroup_chain token_maps token_permutations "
                "token_spectrum without_band_limit"
            ),
            "groups": (
                "FibreGroup Generators MatrixElement MatrixField MatrixGroup MatrixRepresentation "
                "PlanarGroup equivariant_maps escnn_matrix_group escnn_matrix_representation "
                "fibre_group lorentz_group orthogonal_group permutation_group proper_lorentz_group "
                "scalar special_orthogonal_group special_unitary_group symplectic_group vector"
            ),
        }
    ),
    "escnn_soft.training": table(
        {
            "convert": "ProjectedLayer project_after_step projected",
        }
    ),
}
"""Old package -> name -> module that has it now, and its name there."""


def forwarded(package: str, name: str) -> Any:
    """The object that a package had under a name, from where it lives now, for the package's ``__getattr__``."""
    if name not in MOVED[package]:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, there = MOVED[package][name]
    message = f"{package}.{name} is deprecated: import {there} from {module}"
    warnings.warn(message, DeprecationWarning, stacklevel=3)  # past the package's __getattr__
    return getattr(importlib.import_module(module), there)
