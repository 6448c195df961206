"""Tables of positions and offsets in the vision transformers of timm, transformers and torchvision, by structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

from torch.jit import ScriptModule
from torch.nn import Embedding, LayerNorm, Linear, Module, Parameter

from escnn_soft.convert.vision_transformers.positions import Position, Unreachable, register_structure
from escnn_soft.grading import TokenTable

__all__ = ["absolute_tables", "patch_merging", "relative_tables"]

_ABSOLUTE = ("pos_embed", "position_embeddings", "pos_embedding", "position_embedding")


@register_structure
def absolute_tables(module: Module) -> Iterator[Position]:
    """Learned position embeddings: timm's ``pos_embed``, transformers' ``position_embeddings``, torchvision's.

    The sides of the grid are those of the patch embedding, or image size over patch size; tokens beyond the grid's
    come first: class, distillation and register tokens.

    Args:
        module: any module.

    Yields:
        The tables that it holds, or whose grid it knows.
    """
    sides = _sides(module)
    # torchvision's model knows its grid, its encoder has the table
    for holder in (module,) if sides is None else (module, getattr(module, "encoder", None)):
        for name in _ABSOLUTE:
            table = getattr(holder, name, None)
            if isinstance(table, Embedding) and sides is not None:
                yield Position(table, "weight", "position table", _table(tuple(table.weight.shape), sides))
            elif _is_open(holder) and isinstance(held := holder._parameters.get(name), Parameter):
                yield Position(holder, name, "position table", _table(tuple(held.shape), sides))


def _is_open(holder: object) -> TypeGuard[Module]:
    """Whether something is a module whose parameters a filter can be put on: it is not scripted."""
    return isinstance(holder, Module) and not isinstance(holder, ScriptModule)


def _sides(module: Module) -> tuple[int, int] | None:
    """(rows, columns) of the token grid that a module's patch embedding makes."""
    for name in ("patch_embed", "patch_embeddings"):
        patches = getattr(module, name, None)
        sides = getattr(patches, "grid_size", None) or _ratio(patches)
        if sides is not None:
            return int(sides[0]), int(sides[1])
    return _ratio(module)


def _ratio(module: object) -> tuple[int, int] | None:
    image, patch = (_pair(getattr(module, name, None)) for name in ("image_size", "patch_size"))
    return None if image is None or patch is None else (image[0] // patch[0], image[1] // patch[1])


def _pair(size: object) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, tuple | list) and len(size) == 2 else None


def _table(shape: tuple[int, ...], sides: tuple[int, int] | None) -> TokenTable | Unreachable:
    if sides is None or len(shape) < 2:
        return Unreachable("a table of a module that tells its token grid; tell it with register_positions")
    if len(shape) == 4 and shape[1:3] == sides:  # one axis for rows, one for columns
        return TokenTable(shape, 1, sides)
    axis, before = len(shape) - 2, shape[-2] - sides[0] * sides[1]
    if before < 0:
        return Unreachable(
            f"a table for the {sides[0]} x {sides[1]} tokens of the patch embedding, not {shape[-2]} rows"
        )
    return TokenTable(shape, axis, sides, before)


@register_structure
def relative_tables(module: Module) -> Iterator[Position]:
    """Tables of offsets, one row for each (dy, dx): Swin and BEiT; and what in such models is out of reach."""
    table, window = module._parameters.get("relative_position_bias_table"), _window(module)
    if isinstance(table, Parameter) and window is not None:
        sides = 2 * window[0] - 1, 2 * window[1] - 1  # offsets of class tokens come last
        place = TokenTable(tuple(table.shape), 0, sides, offsets=True)
        yield Position(module, "relative_position_bias_table", "relative positions", place)
    elif isinstance(getattr(module, "cpb_mlp", None), Module):
        reason = "a table of offsets; a network of the offset's coordinates would have to be even in both"
        yield Position(module, "cpb_mlp", "relative positions", Unreachable(reason))
    shift = _pair(getattr(module, "shift_size", None))
    if shift is not None and window is not None and any(2 * s % w for s, w in zip(shift, window, strict=True)):
        reason = f"windows {window} shifted by half a window, so that a turn maps windows to windows, not by {shift}"
        yield Position(module, "shift_size", "shifted windows", Unreachable(reason))


@register_structure
def patch_merging(module: Module) -> Iterator[Position]:
    """Swin's layers that join 2 x 2 tokens: the four, column by column, are blocks of the input's channels."""
    reduction, norm = getattr(module, "reduction", None), getattr(module, "norm", None)
    if "PatchMerging" not in type(module).__name__ or not isinstance(reduction, Linear):
        return
    width = reduction.in_features // 4
    place = TokenTable((reduction.out_features, 4, width), 1, (2, 2), by_columns=True)
    yield Position(reduction, "weight", "patch merging", place)
    if isinstance(norm, LayerNorm) and norm.normalized_shape == (4 * width,):  # before the projection
        for tensor in ("weight", "bias"):
            if norm._parameters.get(tensor) is not None:
                yield Position(norm, tensor, "patch merging", TokenTable((4, width), 0, (2, 2), by_columns=True))


def _window(module: Module) -> tuple[int, int] | None:
    return _pair(getattr(module, "window_size", None))
