"""Moves of the pixels onto pixels that a softened model is to commute with, on images and on what is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from escnn.group import GroupElement
from escnn.gspaces import GSpace2D
from escnn.nn import EquivariantModule, FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import SoftFilter
from escnn_soft.functions import act, act_on_fibres, pixel_elements, stored_axes

__all__ = ["PixelMove", "field_types_of", "moved_image", "moves_of"]

Axes = tuple[tuple[int, int], ...]
"""For each axis in the order of storage: the axis that comes there, and its sign."""

_LEADING = 8
"""Tokens in front of those of a grid, such as class and register tokens, that are looked for."""

_IDENTITY: Axes = ((0, 1), (1, 1))


@dataclass(frozen=True)
class PixelMove:
    """A turn by a multiple of 90 degrees, or a mirror.

    Attributes:
        axes: which axis comes where.
    """

    axes: Axes

    @property
    def words(self) -> str:
        """What it is called."""
        (row, up), (_, right) = self.axes
        turn = (up * right > 0) == (row == 0)
        return "a mirror" if not turn else "a half turn" if row == 0 else "a quarter turn"

    @property
    def swaps(self) -> bool:
        """Whether it exchanges the two axes."""
        return self.axes[0][0] == 1

    def element(self, gspace: GSpace2D) -> GroupElement:
        """The element of a gspace's group that it is."""
        return next(g for g in pixel_elements(gspace) if stored_axes(gspace, g) == self.axes)

    def on(self, x: Tensor, rows: int) -> Tensor:
        """What is in a tensor's axes ``rows`` and ``rows + 1``, moved."""
        back = 1 if self.swaps else -1  # y points against the rows, so that a sign between the axes is turned round
        x = x.transpose(rows, rows + 1) if self.swaps else x
        return x.flip([rows + a for a, (_, sign) in enumerate(self.axes) if sign == back])

    def on_tokens(self, x: Tensor, dim: int, grid: tuple[int, int]) -> Tensor:
        """The tokens of a grid along an axis, moved; those in front stay."""
        size = grid[0] * grid[1]
        first, last = x.split([x.shape[dim] - size, size], dim)
        return torch.cat([first, self.on(last.unflatten(dim, grid), dim).flatten(dim, dim + 1)], dim)

    def readings(self, y: Tensor | GeometricTensor, image: Tensor, types: Sequence[FieldType]) -> Iterator[Tensor]:
        """What an output may become when the image is moved: as many readings as its shape allows.

        Args:
            y: the output.
            image: the input, whose sides those of token grids are parts of.
            types: between which the model's layers map; a reading each for those with as many channels.

        Yields:
            The moved output; where it is scores or the like, the same.
        """
        if isinstance(y, GeometricTensor):
            planar = isinstance(y.type.gspace, GSpace2D)
            yield act(self.element(y.type.gspace), y).tensor if planar else y.tensor
            return
        yield y
        for each in (t for t in types if y.ndim in (2, 4) and t.size == y.shape[1]):
            moved = act_on_fibres(self.element(each.gspace), y, each)
            yield self.on(moved, 2) if y.ndim == 4 else moved
        if y.ndim == 4:
            yield from (self.on(y, 2), self.on(y, 1))
        if y.ndim == 3 and y.shape[1] * image.shape[3] == y.shape[2] * image.shape[2]:  # a map without channels
            yield self.on(y, 1)
        grids = [] if y.ndim not in (3, 4) else [(dim, grid) for dim in (1, 2) for grid in _grids(y.shape[dim], image)]
        for dim, grid in grids:
            if y.ndim == 3:
                yield self.on_tokens(y, dim, grid)
            elif dim == 2 and y.shape[2] == y.shape[3]:  # attention between tokens
                yield self.on_tokens(self.on_tokens(y, 2, grid), 3, grid)


def moves_of(types: Sequence[FieldType], spaces: Sequence[GSpace2D], image: Tensor) -> tuple[PixelMove, ...]:
    """A turn and a mirror, as far as all groups have them, that leave the image's height and width as they are.

    They generate what the groups share: a quarter turn where there is one, else a half turn.

    Args:
        types: between which the model's layers map.
        spaces: of what else is softened.
        image: the input.

    Returns:
        Two moves at most; none where no group acts on the plane.
    """
    every = list(dict.fromkeys([*(each.gspace for each in types), *spaces]))
    shared = [{stored_axes(space, g) for g in pixel_elements(space)} for space in every]
    if not shared:
        return ()
    moves = [PixelMove(axes) for axes in sorted(set.intersection(*shared) - {_IDENTITY}, reverse=True)]
    fit = [move for move in moves if image.shape[2] == image.shape[3] or not move.swaps]
    by_words = {move.words: move for move in fit}
    turn, mirror = by_words.get("a quarter turn", by_words.get("a half turn")), by_words.get("a mirror")
    return tuple(move for move in (turn, mirror) if move is not None)


def field_types_of(model: Module) -> tuple[list[FieldType], list[GSpace2D]]:
    """The planar types between which a model's layers map, in order, and the groups of its tables of positions."""
    types, spaces = [], []
    for module in model.modules():
        owner = module.types if isinstance(module, SoftFilter) else module
        if isinstance(module, SoftFilter) and isinstance(module.symmetry, GSpace2D):
            spaces.append(module.symmetry)
        if isinstance(module, SoftFilter | EquivariantModule) and owner is not None:
            types += [getattr(owner, each, None) for each in ("in_type", "out_type")]
    planar = [each for each in types if isinstance(each, FieldType) and isinstance(each.gspace, GSpace2D)]
    return list(dict.fromkeys(planar)), list(dict.fromkeys(spaces))


def moved_image(move: PixelMove, image: Tensor, types: Sequence[FieldType]) -> Tensor:
    """The image, moved; its channels are those of the first layer with as many of them, else scalars."""
    kind = next((each for each in types if each.size == image.shape[1]), None)
    fibres = image if kind is None else act_on_fibres(move.element(kind.gspace), image, kind)
    return move.on(fibres, 2)


def _grids(tokens: int, image: Tensor) -> list[tuple[int, int]]:
    """Grids of the image's proportions that fill a number of tokens, but for a few in front."""
    height, width = image.shape[2:]
    sizes = {(rows, columns) for rows in range(2, height + 1) for columns in _rounded(rows * width, height)}
    return [grid for grid in sorted(sizes) if 0 <= tokens - grid[0] * grid[1] <= min(_LEADING, tokens // 3)]


def _rounded(a: int, b: int) -> tuple[int, int]:
    """a / b, rounded down and up."""
    return a // b, -(-a // b)
