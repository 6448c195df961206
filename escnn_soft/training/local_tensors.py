"""The tensors that a step works on: this process's part, in single precision at least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from escnn_soft.errors import ArgumentError

__all__ = ["local", "sharded", "summed_over_shards", "wide", "wide_like", "write_back"]


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This process's parts of sharded tensors (FSDP2), views; other tensors as they are."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes."""
    return isinstance(tensor, DTensor)


def wide(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors in single precision at least: themselves, or copies of narrower ones."""
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def wide_like(parameter: Tensor) -> Tensor:
    """Zeros for the state of a parameter, sharded as it is, in single precision at least."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


def write_back(tensors: Sequence[Tensor], copies: Sequence[Tensor]) -> None:
    """Round wide copies to the tensors that they were made of."""
    changed = [(t, c) for t, c in zip(tensors, copies, strict=True) if t is not c]
    if changed:
        targets, sources = zip(*changed, strict=True)
        torch._foreach_copy_(list(targets), list(sources))


def summed_over_shards(sums: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Sums over each process's parts of some tensors, as sums over the whole: one all-reduce for all of them.

    Args:
        sums: one number a parameter, over this process's part.  # shape: (parameters,)
        parameters: the tensors, all sharded alike or none.

    Returns:
        One number a parameter.

    Raises:
        ArgumentError: if they are sharded in different ways.
    """
    if not any(sharded(p) for p in parameters):
        return sums
    first = next(p for p in parameters if isinstance(p, DTensor))
    for p in parameters:
        alike = isinstance(p, DTensor) and p.device_mesh == first.device_mesh and p.placements == first.placements
        if not alike or not all(isinstance(place, Shard | Replicate) for place in first.placements):
            remedy = "Apply fully_shard to the whole model, with one mesh."
            raise ArgumentError("parameters", getattr(p, "placements", None), "layers that are sharded alike", remedy)
    for axis, place in enumerate(first.placements):
        if isinstance(place, Shard):
            dist.all_reduce(sums, group=first.device_mesh.get_group(axis))
    return sums
