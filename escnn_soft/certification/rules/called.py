"""What a torch function was called with, where a rule expects a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import Module

__all__ = ["Called"]


class Called(Module):
    """A module without a forward pass that holds the arguments of a call: tensors as buffers, the rest as they are.

    Args:
        **arguments: by their names.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value.detach())
            else:
                setattr(self, name, value)
