"""Queries and keys of rotary position embeddings in the vision transformers of timm and transformers, by structure."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Identity, Linear, Module

from escnn_soft.convert.vision_transformers.positions import Position, Unreachable, register_structure
from escnn_soft.grading import RotaryChannels, RotaryTable

__all__ = ["rotary_channels"]

_KIND = "rotary queries and keys"
_SIDE = 8
"""Tokens along a side of the grid on which an embedding of grids of any size is sampled."""


@register_structure
def rotary_channels(module: Module) -> Iterator[Position]:
    """Projections to queries and keys, fused or not, below a module that holds timm's or transformers' embedding."""
    embedding = getattr(module, "rope", None) or getattr(module, "rope_embeddings", None)
    if not isinstance(embedding, Module):
        return
    table = _table(embedding)
    for attention in module.modules():
        if isinstance(attention, Module) and _is_attention(attention):
            yield from _projections(attention, table)


def _is_attention(module: Module) -> bool:
    fused, *apart = (isinstance(getattr(module, name, None), Linear) for name in ("qkv", "q_proj", "k_proj"))
    return fused or all(apart)


def _projections(attention: Module, table: RotaryTable | Unreachable) -> Iterator[Position]:
    heads, size = (int(getattr(attention, name, 0)) for name in ("num_heads", "head_dim"))
    norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    place: Any = table
    if any(norm is not None and not isinstance(norm, Identity) for norm in norms):
        place = Unreachable("queries and keys without a norm of their own, whose mean and scales mix the rotary pairs")
    elif heads == 0 or size == 0:
        place = Unreachable("an attention that tells its num_heads and head_dim")
    elif isinstance(table, RotaryTable) and 2 * table.phases.shape[1] != size:
        place = Unreachable(f"a rotation of all {size} channels of a head, not {2 * table.phases.shape[1]}")
    rotated = getattr(attention, "qkv", None)
    prefixed = int(getattr(attention, "num_prefix_tokens", 1)) > 0

    def site(owner: Module, tensor: str, blocks: int, others: int = 0) -> Position:
        found = place if isinstance(place, Unreachable) else RotaryChannels(place, blocks, others, prefixed)
        return Position(owner, tensor, _KIND, found)

    if isinstance(rotated, Linear):
        yield site(rotated, "weight", 2 * heads, heads * size)
        if rotated.bias is not None:
            yield site(rotated, "bias", 2 * heads, heads * size)
    else:
        for projection in (attention.q_proj, attention.k_proj):
            assert isinstance(projection, Linear)
            blocks = projection.out_features // max(size, 1)  # grouped queries have more heads than keys
            yield site(projection, "weight", blocks)
            if projection.bias is not None:
                yield site(projection, "bias", blocks)
    for name in ("q_bias", "k_bias"):
        if isinstance(attention._parameters.get(name), Tensor):
            yield site(attention, name, heads)


def _table(embedding: Module) -> RotaryTable | Unreachable:
    """What an embedding rotates by, found by asking a copy of it in evaluation mode, where nothing is drawn."""
    embedding = copy.deepcopy(embedding).eval()
    known: Any = embedding
    with torch.no_grad():
        if hasattr(embedding, "num_patches_h"):  # transformers: cosines and sines of the patches of an image
            sides = int(known.num_patches_h), int(known.num_patches_w)
            patch = known.config.patch_size
            rows, columns = (patch, patch) if isinstance(patch, int) else patch
            cos, sin = embedding(torch.zeros(1, 1, sides[0] * rows, sides[1] * columns))
            return _of_channels(cos, sin, sides, interleaved=False)
        if hasattr(embedding, "get_embed"):  # timm: sines and cosines side by side
            sides = tuple(getattr(embedding, "feat_shape", None) or (_SIDE, _SIDE))
            both = known.get_embed(list(sides))
            if isinstance(both, Tensor) and both.dim() == 2:
                sin, cos = both.chunk(2, dim=-1)
                return _of_channels(cos, sin, sides, interleaved=not _halves(sin))
            return Unreachable(
                "one table of angles; frequencies of each head or layer of its own are permuted by no turn"
            )
    return Unreachable("a rotary embedding of timm's or transformers'; name others with register_positions")


def _halves(sin: Tensor) -> bool:
    """Whether channels c and c + n / 2 turn together, rather than neighbours."""
    first, second = sin.chunk(2, dim=-1)
    return bool(torch.equal(first, second))


def _of_channels(cos: Tensor, sin: Tensor, sides: tuple[int, int], *, interleaved: bool) -> RotaryTable:
    every = slice(0, None, 2) if interleaved else slice(0, cos.shape[-1] // 2)
    return RotaryTable(torch.complex(cos[:, every].double(), sin[:, every].double()), sides, interleaved)
