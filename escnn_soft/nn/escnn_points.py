"""escnn's point convolutions, which exist only beside torch_geometric, or what says so in their place."""

from __future__ import annotations

import sys
from typing import Any

from escnn import nn

from escnn_soft.errors import MissingPackageError

__all__ = ["HAS_POINT_CONVOLUTIONS", "R2PointConv", "R3PointConv", "point_rules", "require_point_convolutions"]

HAS_POINT_CONVOLUTIONS = hasattr(nn, "R2PointConv")
"""escnn leaves them out where ``import torch_geometric`` fails."""

R2PointConv: Any = getattr(nn, "R2PointConv", nn.EquivariantModule)
R3PointConv: Any = getattr(nn, "R3PointConv", nn.EquivariantModule)


def point_rules(*arguments: Any) -> Any:
    """escnn's rule from a layer's arguments to its filter, radii, widths and highest frequency."""
    return sys.modules[R2PointConv.__module__].compute_basis_params(*arguments)


def require_point_convolutions(name: str) -> None:
    """Refuse to build a point convolution without torch_geometric."""
    if not HAS_POINT_CONVOLUTIONS:
        raise MissingPackageError(name)
