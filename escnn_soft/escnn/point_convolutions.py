"""escnn's point convolutions, which exist only beside torch_geometric, or what says so in their place."""

from __future__ import annotations

import sys
from typing import Any

from escnn import nn

from escnn_soft.errors import MissingPackageError

__all__ = [
    "HAS_POINT_CONVOLUTIONS",
    "R2PointConv",
    "R3PointConv",
    "message_arguments",
    "point_rules",
    "require_point_convolutions",
]

HAS_POINT_CONVOLUTIONS = hasattr(nn, "R2PointConv")
"""escnn leaves them out where ``import torch_geometric`` fails."""

R2PointConv: Any = getattr(nn, "R2PointConv", nn.EquivariantModule)
R3PointConv: Any = getattr(nn, "R3PointConv", nn.EquivariantModule)


def point_rules(*arguments: Any) -> Any:
    """escnn's rule from a layer's arguments to its filter, radii, widths and highest frequency."""
    return sys.modules[R2PointConv.__module__].compute_basis_params(*arguments)


def message_arguments(cls: Any) -> dict[str, Any]:
    """The attributes in which torch_geometric notes a class's methods when a layer of it is built."""
    shell = cls.__new__(cls)
    sys.modules["torch_geometric"].nn.MessagePassing.__init__(shell)
    return {name: vars(shell)[name] for name in ("inspector", "fuse", *(n for n in vars(shell) if "user_args" in n))}


def require_point_convolutions(name: str) -> None:
    """Refuse to build a point convolution without torch_geometric."""
    if not HAS_POINT_CONVOLUTIONS:
        raise MissingPackageError(
            "torch_geometric",
            None,
            f"torch_geometric, on which {name} is built,",
            "Install it: pip install torch_geometric",
        )
