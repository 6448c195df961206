"""Torch functions that are layers, such as pooling, padding and normalisation: covered by the rule of such a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import Module

from escnn_soft.certification.operation import Operation
from escnn_soft.certification.operations.reductions import axes_and_action, correction_of
from escnn_soft.certification.operations.sums import DIVISIONS
from escnn_soft.certification.rules.called import Called
from escnn_soft.certification.rules.constants import Scaling, Shift
from escnn_soft.certification.rules.head import HeadNorm
from escnn_soft.certification.rules.padding import Padding
from escnn_soft.certification.rules.plain_layers import PlainBatchNorm, PlainConvolution
from escnn_soft.certification.rules.pooling import AdaptivePool, AveragePool, Interpolation, MaxPool
from escnn_soft.certification.rules.rule import Rule
from escnn_soft.certification.rules.unit import Normalized, Variance
from escnn_soft.layers.geometry import per_axis

__all__ = ["LayerFunction", "layer_of"]


@dataclass(frozen=True, eq=False)
class LayerFunction:
    """A call of a torch function, as a layer.

    Attributes:
        module: with what the function was called with, where a layer has its settings and weights.
        rule: that covers it.
    """

    module: Module
    rule: Rule


Made = LayerFunction | str | None
Axes = int | Sequence[int]


def layer_of(operation: Operation) -> LayerFunction | str | None:
    """The layer that a function of torch is; the reason why it is not covered; or None if it is no layer."""
    make = _LAYERS.get(operation.name)
    if make is None:
        return None
    try:
        bound = inspect.signature(make).bind(operation, *operation.args, **operation.kwargs)
    except TypeError:
        return f"torch.{operation.name} in this form"
    layer = make(*bound.args, **bound.kwargs)
    if isinstance(layer, LayerFunction):
        if len(operation.tracked) > 1:
            return f"torch.{operation.name} of more than one activation"
        if any(isinstance(t, Tensor) and not operation.constants(t) for t in _others(operation)):
            return f"torch.{operation.name} with a tensor that is no parameter, buffer or function of them"
    return layer


def _others(operation: Operation) -> list[Any]:
    return [a for a in (*operation.args, *operation.kwargs.values()) if a is not operation.tracked[0]]


def _images(operation: Operation, input: Tensor, dims: int) -> str | None:
    """Why an activation is no batch of images."""
    if input is operation.tracked[0] and input.ndim == dims + 2:
        return None
    return f"torch.{operation.name}: its input is no batch of images with {dims} axes"


# ---------------------------------------------------------------------- pooling, padding, resizing


def _average(
    operation: Operation, input: Tensor, kernel_size: Axes, stride: Axes | None = None, padding: Axes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Made:  # fmt: skip
    window = {"kernel_size": kernel_size, "stride": stride or kernel_size, "padding": padding}
    counting = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad, "divisor_override": divisor_override}
    return _pooled(operation, input, AveragePool(), window | counting)


def _maximum(
    operation: Operation, input: Tensor, kernel_size: Axes, stride: Axes | None = None, padding: Axes = 0,
    dilation: Axes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Made:  # fmt: skip
    if return_indices:
        return _with_indices(operation)
    window = {"kernel_size": kernel_size, "stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    return _pooled(operation, input, MaxPool(), window)


def _pooled(operation: Operation, input: Tensor, rule: Rule, settings: dict[str, Any]) -> Made:
    dims = int(operation.name[-2])
    for name in ("kernel_size", "stride", "padding", "dilation"):
        value = settings.get(name, 1)
        settings[name] = per_axis(value[0] if not isinstance(value, int) and len(value) == 1 else value, dims)
    return _images(operation, input, dims) or LayerFunction(Called(**settings), rule)


def _adaptive(operation: Operation, input: Tensor, output_size: Any, return_indices: bool = False) -> Made:
    if return_indices:
        return _with_indices(operation)
    rule = AdaptivePool(maximum="max" in operation.name)
    return _images(operation, input, int(operation.name[-2])) or LayerFunction(Called(), rule)


def _with_indices(operation: Operation, *args: Any, **kwargs: Any) -> Made:
    return f"torch.{operation.name} with indices, on which the rest may depend"


def _padded(
    operation: Operation, input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Made:
    if input is not operation.tracked[0] or len(pad) > 2 * (input.ndim - 2):
        return "torch.pad of channels or samples"
    return LayerFunction(Called(pad=tuple(pad), mode=mode, value=float(value or 0.0)), Padding())


def _interpolated(
    operation: Operation, input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Made:  # fmt: skip
    if input is not operation.tracked[0]:
        return "torch.interpolate in this form"
    how = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
    if scale_factor is not None:
        how["recompute_scale_factor"] = recompute_scale_factor
    return LayerFunction(Called(factor=scale_factor, how=how), Interpolation())


# ---------------------------------------------------------------------- normalisation


def _layer_norm(
    operation: Operation, input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Made:  # fmt: skip
    shape = tuple(normalized_shape)
    return LayerFunction(Called(normalized_shape=shape, weight=weight, bias=bias, eps=eps), HeadNorm())


def _group_norm(
    operation: Operation, input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Made:  # fmt: skip
    return LayerFunction(Called(num_groups=num_groups, weight=weight, bias=bias, eps=eps), HeadNorm())


def _batch_norm(
    operation: Operation, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Made:  # fmt: skip
    if training:
        return "torch.batch_norm in training"
    statistics = {"running_mean": running_mean, "running_var": running_var}
    return LayerFunction(Called(**statistics, weight=weight, bias=bias, eps=eps), PlainBatchNorm())


def _normalized(
    operation: Operation, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Made:
    if p != 2 or not isinstance(dim, int) or dim % input.ndim == 0:
        return "torch.normalize with another norm than the Euclidean one of a sample, along one dimension"
    return LayerFunction(Called(axis=dim % input.ndim, eps=eps), Normalized())


def _variance(operation: Operation, *args: Any, **kwargs: Any) -> Made:
    found = axes_and_action(operation)
    if isinstance(found, str):
        return found
    axes, action = found
    return LayerFunction(Called(), Variance(sorted(axes), correction_of(operation), action))


# ---------------------------------------------------------------------- convolutions and constants


def _convolved(
    operation: Operation, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Axes = 1,
    padding: Any = 0, dilation: Axes = 1, groups: int = 1,
) -> Made:  # fmt: skip
    out, channels, *size = weight.shape
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    module = nn.Conv2d(channels * groups, out, size, bias=bias is not None, device="meta", **settings)  # type: ignore[arg-type]
    module.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return LayerFunction(module, PlainConvolution())


def _with_constant(operation: Operation, *args: Any, **kwargs: Any) -> Made:
    """A sum or product with a constant tensor where the group moves the activation; anything else is no layer."""
    x, other = operation.tracked[0], operation.beside
    constant = len(operation.tracked) == 1 and isinstance(other, Tensor) and operation.constants(other)
    if not constant or operation.invariant or operation.result.shape != x.shape or len(operation.args) > 2:
        return None
    if other.numel() == 1 and operation.name not in _SUMS:
        return None
    if other.ndim == x.ndim and len(other) > 1:
        return f"torch.{operation.name} of an activation and a constant that differs between the samples"
    table, first = other.detach().expand(x.shape)[0], operation.argument(0, "input") is x
    if operation.name in _SUMS:
        alpha = float(operation.kwargs.get("alpha", 1.0))
        ahead = first != (operation.name == "rsub")
        return LayerFunction(Called(table=table, slope=1.0 if ahead else alpha, scale=alpha if ahead else 1.0), Shift())
    if operation.name in DIVISIONS and not first:
        return f"torch.{operation.name} in this form"
    return LayerFunction(Called(table=1 / table if operation.name in DIVISIONS else table), Scaling())


_SUMS = ("add", "sub", "subtract", "rsub", "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__")
_PRODUCTS = ("mul", "multiply", "__mul__", "__rmul__", "__imul__", *DIVISIONS)

_LAYERS: dict[str, Callable[..., Made]] = {
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _average),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _maximum),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), _adaptive),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive),
    **dict.fromkeys((f"max_pool{d}d_with_indices" for d in (1, 2, 3)), _with_indices),
    **dict.fromkeys((f"adaptive_max_pool{d}d_with_indices" for d in (1, 2, 3)), _with_indices),
    **dict.fromkeys((*_SUMS, *_PRODUCTS), _with_constant),
    "pad": _padded,
    "interpolate": _interpolated,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "normalize": _normalized,
    "var": _variance,
    "conv2d": _convolved,
}
"""How a call becomes a layer, by the name of the function; signatures are torch's own."""
