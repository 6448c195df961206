"""Making strided layers symmetric about the image's centre."""

from __future__ import annotations

from typing import TypeVar

from torch.nn import AvgPool2d, Conv2d, MaxPool2d, Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import own_class, structural_copy
from escnn_soft.convert.selection import FilterFn, names_of
from escnn_soft.errors import ArgumentError
from escnn_soft.layers.geometry import per_axis
from escnn_soft.layers.grid.centred import CentredAvgPool2d, CentredConv2d, CentredMaxPool2d, CentredSameConv2d

__all__ = ["centre_strides"]

AnyModule = TypeVar("AnyModule", bound=Module)

_SAME = ("Conv2dSame", "Conv2dStaticSamePadding", "Conv2dDynamicSamePadding")
"""What timm and the EfficientNet packages call convolutions with TensorFlow's padding."""


def centre_strides(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Make the strided convolutions and poolings of a plain model symmetric about the image's centre.

    A window of k pixels that moves in steps of s reaches equally far over both ends only where (size + 2 padding - k)
    is a multiple of s. Elsewhere, as for the usual k = 3, s = 2, padding = 1 on even sizes, a mirrored or turned image
    is sampled at other places, and no kernel makes up for it. The layer is exchanged for the mean over the windows'
    two placements along each axis, which are mirror images of each other; see :class:`CentredLayer`.

    **This changes what the model computes**, on sizes where the windows were off-centre, as an average over
    neighbouring placements does: features move by half a pixel as a rule, and are blurred a little. Names, Parameters
    and output sizes stay. Expect to fine-tune, or at least to estimate the statistics of batch norms anew.

    Args:
        model: a model of plain torch layers, with filters or without. Exact classes only: ``Conv2d``, ``MaxPool2d``
            without indices, ``AvgPool2d`` with the default handling of padding, and convolutions with TensorFlow's
            ``SAME`` padding as timm and the EfficientNet packages have them.
        filter_fn: function of a module and its name, whether to exchange it; all by default.
        inplace: whether to change the model itself or to return a copy, which shares its Parameters.

    Returns:
        The model with centred layers.

    Raises:
        ArgumentError: if there is no such layer with a stride.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import soften
        >>> conv = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        >>> strict = soften(conv, 0.0, gspace=gspaces.rot2dOnR2(4))
        >>> x = torch.randn(1, 3, 8, 8)
        >>> def error(model):
        ...     turned = model(x).rot90(1, (2, 3)).detach()
        ...     return float((model(x.rot90(1, (2, 3))).detach() - turned).norm() / turned.norm())
        >>> error(strict) > 0.5, error(centre_strides(strict)) < 1e-6
        (True, True)
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    model = model if inplace else structural_copy(model)
    layers = names_of(model, lambda module: _centred_class(module) is not None, filter_fn)
    if not layers:
        expected = "a model with strided torch.nn.Conv2d, MaxPool2d or AvgPool2d layers"
        raise ArgumentError("model", model, expected, "Check filter_fn.")
    for layer in layers:
        centred = _centred_class(layer)
        assert centred is not None
        if is_parametrized(layer):
            own_class(layer, centred)
        else:
            layer.__class__ = centred
    return model


def _centred_class(module: Module) -> type[Module] | None:
    """The centred class of a strided layer; None for any other."""
    cls = type(module).__bases__[0] if is_parametrized(module) else type(module)
    if isinstance(module, Conv2d) and cls.__name__ in _SAME:
        return CentredSameConv2d
    if cls is Conv2d and isinstance(module, Conv2d) and max(module.stride) > 1:
        return CentredConv2d
    if cls is MaxPool2d and isinstance(module, MaxPool2d) and not module.return_indices and _strides(module) > 1:
        return CentredMaxPool2d
    if cls is AvgPool2d and isinstance(module, AvgPool2d) and _strides(module) > 1:
        plain = (module.count_include_pad or max(per_axis(module.padding, 2)) == 0) and not module.ceil_mode
        return CentredAvgPool2d if plain else None
    return None


def _strides(pool: MaxPool2d | AvgPool2d) -> int:
    return max(per_axis(pool.stride, 2))
