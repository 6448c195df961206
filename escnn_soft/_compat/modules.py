"""Mends escnn's modules, as :mod:`escnn_soft._compat.mending` does its numbers: importing this module does it, once.

escnn samples bases in single precision, and compares them with what has torch's default dtype: under any other default
no layer can be built, and one that is built does not run. So bases are built under single precision and multiplied in
the weights' dtype.

Sampled bases stay in memory for all layers. Sampled inside ``torch.inference_mode()``, one of them would make every
later layer of its geometry impossible to train, so they are sampled outside of it.

Torch asks for a module's hash whenever it walks through a model, and escnn's basis expansions answer with the values of
their tensors: ``torch.func`` and ``torch.export`` fail, and equal expansions of two layers are taken for one. So each
is equal to itself alone, like every other module. What else stands between escnn and one graph of a network is mended
in :mod:`escnn_soft._compat.ranges`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from escnn.kernels import SteerableKernelBasis
from escnn.nn.modules.basismanager import (
    BlocksBasisExpansion,
    BlocksBasisSampler,
    SingleBlockBasisExpansion,
    basisexpansion_blocks,
)
from torch.nn import Module

from escnn_soft._compat.ranges import keep_ranges


def _in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, run with single precision as torch's default, which is put back afterwards."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_default_dtype(dtype)

    return call


def _expand(self: SingleBlockBasisExpansion, weights: torch.Tensor) -> torch.Tensor:
    """``SingleBlockBasisExpansion.forward``, in the dtype of the weights, whatever it was sampled in."""
    expanded: torch.Tensor = torch.einsum("boi...,kb->koi...", self.sampled_basis.to(weights.dtype), weights)
    return expanded


for _kind in (SteerableKernelBasis, BlocksBasisExpansion, BlocksBasisSampler):
    _kind.__init__ = _in_single(_kind.__init__)
basisexpansion_blocks.block_basisexpansion = torch.inference_mode(False)(basisexpansion_blocks.block_basisexpansion)
SingleBlockBasisExpansion.forward = _expand
for _kind in (BlocksBasisExpansion, SingleBlockBasisExpansion):
    _kind.__hash__, _kind.__eq__ = Module.__hash__, object.__eq__
keep_ranges()
