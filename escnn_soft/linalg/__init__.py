"""Linear algebra of intertwiners: numpy only, no escnn."""

from escnn_soft.linalg.intertwiners import RANK_TOLERANCE, extend_orthonormal, intertwiners

__all__ = ["RANK_TOLERANCE", "extend_orthonormal", "intertwiners"]
