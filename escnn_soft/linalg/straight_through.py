"""Values that are replaced, with gradients that pass as if they were not."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nothing_unless"]


def nothing_unless(resolved: Tensor, weight: Tensor) -> Tensor:
    """The weight, or zeros through which gradients pass as if they were the weight."""
    if not torch.is_grad_enabled():
        return torch.where(resolved, weight, 0.0)
    return weight - torch.where(resolved, 0.0, weight.detach())
