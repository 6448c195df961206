"""The tensors that a step works on: this process's part, in single precision at least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from escnn_soft.errors import ArgumentError

__all__ = ["local", "sharded", "summed_over_shards", "wide", "wide_like", "write_back"]


def local(tensors: Iterable[Any]) -> list[Tensor]:
    """This process's parts of sharded tensors (FSDP2), views; other tensors as they are."""
    return [t.to_local() if sharded(t) else t for t in tensors]


def sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes."""
    return hasattr(tensor, "to_local")


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


def summed_over_shards(sums: Tensor, parameters: Sequence[Any]) -> Tensor:
    """Sums over each process's parts of some tensors, as sums over the whole: one all-reduce for all of them.

    Args:
        sums: one number a parameter, over this process's part.  # shape: (parameters,)
        parameters: the tensors, all sharded alike or none.

    Returns:
        One number a parameter.

    Raises:
        ArgumentError: if they are sharded in different ways.
    """
    spread = [p for p in parameters if sharded(p)]
    if not spread:
        return sums
    mesh, places = spread[0].device_mesh, spread[0].placements
    alike = all(p.device_mesh == mesh and p.placements == places for p in spread) and len(spread) == len(parameters)
    if not alike or any(place.is_partial() for place in places):
        remedy = "Apply fully_shard to the whole model, with one mesh."
        raise ArgumentError("placements", places, "parameters that are sharded alike", remedy)
    for axis, place in enumerate(places):
        if place.is_shard():
            dist.all_reduce(sums, group=mesh.get_group(axis))
    return sums
