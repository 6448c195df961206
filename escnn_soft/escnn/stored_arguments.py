"""What escnn's modules and types keep under private names, by one name each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace2D
from escnn.nn import EquivariantModule, FieldType, InnerBatchNorm
from torch import Tensor
from torch.nn import Module

__all__ = [
    "blur_padding",
    "change_of_basis",
    "different_representations",
    "has_samples",
    "interpolation",
    "leaky_slope",
    "merged_labels",
    "normalized_together",
    "pointwise_function",
    "restricted_to",
    "rings_of",
    "subgroup_of_plane",
]


def different_representations(field: FieldType) -> set[Representation]:
    """The representations that occur in a type, once each."""
    representations: set[Representation] = field._unique_representations
    return representations


def subgroup_of_plane(gspace: GSpace2D) -> tuple[float | None, int]:
    """The symmetry of a gspace on the plane as a subgroup of O(2): (axis of the reflection, order), -1 for infinite."""
    return gspace._sg_id


def rings_of(layer: EquivariantModule) -> dict[str, Any]:
    """Radii and widths of the rings of a convolution, as its constructor takes them."""
    return {"sigma": layer._sigma, "rings": layer._rings}


def has_samples(layer: EquivariantModule) -> bool:
    """Whether a convolution is built from samples on a sphere instead of harmonics."""
    return hasattr(layer, "_samples")


def leaky_slope(module: Module) -> float:
    """Slope of a ``LeakyReLU`` below 0."""
    slope: float = module._negative_slope  # type: ignore[assignment]
    return slope


def restricted_to(module: Module) -> Any:
    """Id of the subgroup of a ``RestrictionModule``."""
    return module._id


def change_of_basis(module: Module) -> list[Tensor]:
    """The matrices of a ``DisentangleModule``, one a representation, in the order of its fields; float64."""
    names: Any = module._order
    return [getattr(module, f"change_of_basis_{name}").detach().to(torch.float64) for name in names]


def merged_labels(module: Module) -> list[list[str]]:
    """Labels of the inputs that each submodule of a ``MergeModule`` takes."""
    labels: Any = module._labels
    return [list(names) for names in labels]


def pointwise_function(module: Module) -> Any:
    """The function that a pointwise or norm non-linearity applies."""
    return module._function


def blur_padding(module: Module) -> Any:
    """Padding of an anti-aliased pooling's filter; None for poolings without one."""
    return getattr(module, "_pad", None)


def interpolation(module: Module) -> tuple[Any, dict[str, Any]]:
    """Scale factor of an upsampling (None if it has a size), and how it interpolates, for ``F.interpolate``."""
    aligned: Any = module._align_corners
    return module._scale_factor, {"mode": module._mode} | ({} if aligned is None else {"align_corners": aligned})


def normalized_together(module: Any) -> Iterator[tuple[Tensor, list[int]]]:
    """The factors of fields that a batch normalisation keeps together, and the channels they stand for."""
    for name, contiguous in module._contiguous.items():
        if isinstance(module, InnerBatchNorm):
            norm = getattr(module, f"batch_norm_[{name}]")
            weight, variance, indices = norm.weight, norm.running_var, getattr(module, f"indices_{name}")
        else:
            key = module._escape_name(name) if isinstance(name, str) else f"{name}"
            weight = getattr(module, f"{key}_weight", None)
            variance = getattr(module, f"{key}_running_var")
            indices = getattr(module, f"{key}_indices")
        factors = 1 / (variance.detach().to(torch.float64) + module.eps).sqrt()
        if weight is not None:
            factors = weight.detach().to(torch.float64) * factors
        ends = [int(i) for i in indices]
        yield factors.flatten(), list(range(*ends)) if contiguous else ends
