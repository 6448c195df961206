"""Training dense weights inside the levels that a softness opens: no overhead in the forward and backward pass."""

from escnn_soft.training.projected import ProjectedLayer, project_after_step, projected

__all__ = ["ProjectedLayer", "project_after_step", "projected"]
