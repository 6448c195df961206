"""Poolings to a size and interpolations: whether they take the same from both ends and along both axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["RESAMPLING"]

_aten = torch.ops.aten


def _nearest(arguments: dict[str, Any], result: Tensor) -> str | None:
    """Nearest neighbours are symmetric where as many pixels are left out, or repeated, from both ends."""
    image = arguments["self"]
    factors = (arguments["scales_h"], arguments["scales_w"])
    if all(map(_same_from_both_ends, image.shape[2:], result.shape[2:], factors)):
        return None
    return f"takes nearest neighbours from {_size(image)} to {_size(result)}: not the same at both ends"


def _between_pixels(arguments: dict[str, Any], result: Tensor) -> str | None:
    """Points between pixels lie about the centre where their steps span the image."""
    image = arguments["self"]
    factors = (arguments["scales_h"], arguments["scales_w"])
    if arguments["align_corners"] or all(map(_spans, image.shape[2:], result.shape[2:], factors)):
        return None
    return f"scales {_size(image)} by {factors}, which is not quite {_size(result)}: off-centre"


def _to_a_size(arguments: dict[str, Any], result: Tensor | tuple[Tensor, ...]) -> str | None:
    """Windows that follow from the sizes are symmetric, but turn with a square image only if their number does."""
    image, pooled = arguments["self"], result if isinstance(result, Tensor) else result[0]
    if image.ndim != 4 or image.shape[2] != image.shape[3] or pooled.shape[2] == pooled.shape[3]:
        return None
    return f"pools {_size(image)} to {_size(pooled)}: differs between the axes"


def _same_from_both_ends(old: int, new: int, factor: float | None) -> bool:
    exact = _spans(old, new, factor)  # else torch goes by the factor that it was given
    taken = [i * old // new if exact else min(int(i / (factor or 1.0)), old - 1) for i in range(new)]
    return taken == [old - 1 - i for i in reversed(taken)]


def _spans(old: int, new: int, factor: float | None) -> bool:
    """Whether new points in steps of 1 / factor are as long as the old ones; without a factor steps are made to be."""
    return factor is None or abs(new / factor - old) < 1e-6 * old


def _size(image: Tensor) -> str:
    return " x ".join(map(str, image.shape[2:]))


RESAMPLING: dict[Any, Callable[[dict[str, Any], Any], str | None]] = {
    _aten._adaptive_avg_pool2d: _to_a_size,
    _aten.adaptive_max_pool2d: _to_a_size,
    _aten.upsample_nearest2d: _nearest,
    _aten.upsample_bilinear2d: _between_pixels,
    _aten.upsample_bicubic2d: _between_pixels,
    _aten._upsample_bilinear2d_aa: _between_pixels,
    _aten._upsample_bicubic2d_aa: _between_pixels,
}
"""From an operation to a function of its arguments and result, which says what is wrong with it, if anything."""
