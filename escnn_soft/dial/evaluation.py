"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn import Module

__all__ = ["evaluated"]


@contextmanager
def evaluated(module: Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own mode again afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:  # parents first, so that the last word is each part's own
            part.train(mode)
