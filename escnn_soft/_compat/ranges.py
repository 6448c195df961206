"""escnn's ranges of channels as numbers, so that a network can be traced as one graph.

escnn's norms, gates and poolings keep the channels of fields that lie next to each other as a buffer (first, last + 1),
and cut them out with ``x[:, indices[0]:indices[1]]``. A range that is read from a tensor is data to a compiler:
``torch.export`` and ``torch.compile(fullgraph=True)`` refuse it, and on a GPU each layer waits for it. So the attribute
is a pair of Python numbers, and the buffer stays beside it for checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from escnn import nn
from torch.nn import Module

__all__ = ["keep_ranges"]

_WITH_RANGES: tuple[type[Module], ...] = (
    nn.BranchingModule, nn.DisentangleModule, nn.FieldDropout, nn.GNormBatchNorm, nn.GatedNonLinearity1,
    nn.GatedNonLinearity2, nn.GroupPooling, nn.IIDBatchNorm1d, nn.IIDBatchNorm2d, nn.IIDBatchNorm3d,
    nn.InducedGatedNonLinearity1, nn.InducedNormBatchNorm, nn.InducedNormNonLinearity, nn.InducedNormPool,
    nn.InnerBatchNorm, nn.NormBatchNorm, nn.NormMaxPool, nn.NormNonLinearity, nn.NormPool,
)  # fmt: skip


def keep_ranges() -> None:
    """Let every module that is built from now on know its ranges as numbers."""
    for cls in _WITH_RANGES:
        cls.__init__ = _then_ranges(cls.__init__)  # type: ignore[method-assign]


def _then_ranges(construct: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(construct)
    def call(self: Module, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype == torch.int64 and buffer.shape == (2,) and not buffer.is_meta:
                vars(self)[name] = tuple(buffer.tolist())  # two channels that are no range are indexed by it as well

    return call
