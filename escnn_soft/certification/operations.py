"""Torch operations between the modules of a network: residual sums, scaling, reductions and reshaping."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.rules.pointwise import constant_of
from escnn_soft.certification.rules.rule import not_permuting
from escnn_soft.certification.tensor_action import Action
from escnn_soft.linalg import spectral_norm

__all__ = ["METADATA", "operate"]

METADATA = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "stride", "__len__", "is_contiguous", "is_floating_point",
     "is_complex", "get_device", "element_size", "storage_offset", "type", "__repr__", "__hash__",
     "is_autocast_enabled", "_is_view", "is_inference", "is_same_size", "register_hook"}
)  # fmt: skip
"""Functions that look at the shape, dtype or place of a tensor and not at its values."""


def operate(operation: Operation) -> Outcome | str:
    """What is known of an operation: its outcome, or the reason why it is not covered."""
    if operation.result.ndim == 0 or operation.result.shape[0] != operation.tracked[0].shape[0]:
        return f"torch.{operation.name} mixes the samples of the batch"
    rule = _RULES.get(operation.name, _pointwise)
    unknown = operation.kwargs.keys() - {"input", *_KEYWORDS.get(rule, operation.kwargs)}
    if unknown:
        return f"torch.{operation.name} with {', '.join(sorted(unknown))}"
    outcome = rule(operation)
    if isinstance(outcome, str):
        return outcome
    if len(outcome.factors) != len(operation.tracked):
        return f"torch.{operation.name} of more than one activation"
    if not operation.result.is_floating_point():
        return f"torch.{operation.name} to {operation.result.dtype}"
    return outcome


def _same(operation: Operation) -> Outcome | str:
    cast = operation.result.dtype != operation.tracked[0].dtype
    return Outcome((1.0,), operation.action, 2.0 if cast else 0.0)


def _sum(operation: Operation) -> Outcome | str:
    alpha = abs(float(operation.kwargs.get("alpha", 1.0)))
    if len(operation.args) > 2:
        return f"torch.{operation.name} in this form"
    if len(operation.tracked) == 2:
        first, second = operation.facts
        if operation.tracked[0].shape != operation.tracked[1].shape:
            return f"torch.{operation.name} of tensors of different shapes"
        same_type = first.action.type == second.action.type and first.action.pixels == second.action.pixels
        if not same_type or first.action.elements != second.action.elements:
            return f"torch.{operation.name} of tensors on which the group acts differently"
        # alpha goes with the second argument; by their names they may come in any order
        ahead = operation.tracked[0] is operation.argument(0, "input")
        factors = (1.0, alpha) if ahead != (operation.name == "rsub") else (alpha, 1.0)
        return Outcome(factors, first.action, 4.0)
    other = operation.beside
    scale = max(1.0, alpha)
    if operation.result.shape != operation.tracked[0].shape:
        return f"torch.{operation.name} changes the shape"
    if isinstance(other, int | float):
        if any(not_permuting(operation.action, row) for row in operation.rows):
            return f"torch.{operation.name} of a number: it is not invariant under a group that mixes channels"
        return Outcome((scale,), operation.action, 4.0)
    if operation.constants(other) and operation.invariant:
        return Outcome((scale,), operation.action, 4.0)
    return f"torch.{operation.name} of an activation that is not invariant and another tensor"


def _scaled(operation: Operation) -> Outcome | str:
    if len(operation.tracked) == 2:
        return f"torch.{operation.name} of two activations has no Lipschitz constant"
    first, other = operation.argument(0, "input") is operation.tracked[0], operation.beside
    divides = operation.name in ("div", "true_divide", "__itruediv__", "__truediv__")
    if operation.result.shape != operation.tracked[0].shape or (divides and not first):
        return f"torch.{operation.name} in this form"
    if isinstance(other, int | float):
        factor = abs(float(other))
    elif operation.constants(other) and (other.numel() == 1 or operation.invariant):
        values = other.detach().abs().double()
        factor = float(values.min() if divides else values.max())
    else:
        return f"torch.{operation.name} by a tensor that is not a parameter of one number"
    if divides:
        factor = 1 / factor if factor else math.inf
    return Outcome((factor * (1 + 1e-12),), operation.action, 4.0)


def _reduced(operation: Operation) -> Outcome | str:
    x = operation.tracked[0]
    dims = operation.argument(1, "dim", operation.kwargs.get("axis"))
    if dims is None or isinstance(dims, torch.dtype) or dims in ((), []):
        return f"torch.{operation.name} over everything mixes the samples of the batch"
    axes = {int(d) % x.ndim for d in ((dims,) if isinstance(dims, int) else dims)}
    if 0 in axes:
        return f"torch.{operation.name} mixes the samples of the batch"
    action = operation.action
    if not operation.invariant:
        if 1 in axes or (action.pixels and axes != set(range(2, x.ndim))):
            return f"torch.{operation.name} over dimensions {sorted(axes)} of a field that the group moves"
        if operation.name == "amax" and any(not_permuting(action, row) for row in operation.rows):
            return "torch.amax of a field whose channels the group mixes"
        action = Action(action.elements, action.type, pixels=False)
    count = math.prod(x.shape[d] for d in axes)
    factor = {"mean": 1 / math.sqrt(count), "sum": math.sqrt(count), "amax": 1.0}[operation.name]
    # |sum of n terms| loses n u sum |terms| <= n u sqrt(n) |x|
    return Outcome((factor,), action, 0.0 if operation.name == "amax" else 2.0 * count + 4.0)


def _pooled_to_points(operation: Operation) -> Outcome | str:
    size = operation.argument(1, "output_size")
    dims = int(operation.name[-2])
    if size not in (1, (1,) * dims, [1] * dims) or operation.tracked[0].ndim != dims + 2:
        return f"torch.{operation.name} as a function to more than one pixel: use escnn's module"
    count = operation.tracked[0][0, 0].numel()
    return Outcome((1 / math.sqrt(count),), operation.action, 2.0 * count + 4.0)


def _reshaped(operation: Operation) -> Outcome | str:
    x, result = operation.tracked[0], operation.result
    if result.dtype != x.dtype:
        return f"torch.{operation.name} to another dtype"
    if operation.invariant:
        return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))
    if result.shape == x.shape:
        return Outcome((1.0,), operation.action)
    points = (x.ndim > 2 and x[0, 0].numel() == 1) or not operation.action.pixels
    if points and result.ndim >= 2 and result.shape[1] == x.shape[1] and result[0, 0].numel() == x[0, 0].numel():
        return Outcome((1.0,), Action(operation.action.elements, operation.action.type, pixels=False))
    return f"torch.{operation.name} of a field that the group moves"


def _beside(operation: Operation) -> Outcome | str:
    parts = operation.argument(0, "tensors")
    axis = operation.argument(1, "dim", operation.kwargs.get("axis", 0))
    if axis % operation.result.ndim != 1 or len(parts) != len(operation.tracked):
        return "torch.cat, except of activations along the channels"
    action = operation.action.concatenated([fact.action for fact in operation.facts[1:]])
    if action is None:
        return "torch.cat of tensors on which the group acts differently"
    return Outcome((1.0,) * len(parts), action, aside=True)


def _dropped(operation: Operation) -> Outcome | str:
    if operation.argument(2, "training", True) and operation.argument(1, "p", 0.5):
        return f"torch.{operation.name} in training"
    return Outcome((1.0,), operation.action)


def _softened(operation: Operation) -> Outcome | str:
    x, dim = operation.tracked[0], operation.argument(1, "dim")
    if not operation.invariant or not isinstance(dim, int) or dim % x.ndim == 0:
        return f"torch.{operation.name} of a field that the group moves, or without dim"
    count = x.shape[dim]
    return Outcome((0.5 if operation.name == "softmax" else math.sqrt(count),), operation.action, 8.0 * count + 64.0)


def _selected(operation: Operation) -> Outcome | str:
    index = operation.args[1] if isinstance(operation.args[1], tuple) else (operation.args[1],)
    plain = all(i is None or i is Ellipsis or type(i) in (int, slice) for i in index)
    used = sum(i is not None and i is not Ellipsis for i in index)
    samples_stay = index[:1] == (slice(None),) if index[:1] != (Ellipsis,) else used < operation.tracked[0].ndim
    if plain and operation.invariant and samples_stay:
        return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))
    return "indexing of a field that the group moves, or by a tensor"


def _linear(operation: Operation) -> Outcome | str:
    weight, bias = operation.argument(1, "weight"), operation.argument(2, "bias")
    if not operation.invariant or len(operation.tracked) > 1 or operation.tracked[0].ndim < 2:
        return "torch.linear of a field that the group moves"
    if not operation.constants(weight) or not (bias is None or operation.constants(bias)):
        return "torch.linear with a weight or bias that is no parameter"
    norm = float(spectral_norm(weight.detach().double()))
    ratio = float(spectral_norm(weight.detach().double().abs())) / max(norm, 1e-300)
    return Outcome((norm,), operation.action, (weight.shape[1] + 4.0) * max(1.0, ratio))


def _pointwise(operation: Operation) -> Outcome | str:
    name = operation.name
    parameters = _PARAMETERS.get(name, ())
    unknown = operation.kwargs.keys() - {"input", "inplace", *parameters}
    positions = 2 if name in _SLOPES else 1
    known = constant_of(name, float(operation.argument(1, *_SLOPES[name])) if name in _SLOPES else 1.0)
    if known is None:
        return f"no rule for torch.{name}: put it into a module and use register_lipschitz"
    if unknown or len(operation.args) > positions or (name == "celu" and operation.kwargs.get("alpha", 1.0) != 1.0):
        return f"torch.{name} with parameters that change its slope"
    if any(not_permuting(operation.action, row) for row in operation.rows if not operation.action.is_identity(row)):
        return f"torch.{name} of a field whose channels the group mixes"
    return Outcome((known[0],), operation.action, known[1])


_SLOPES = {"elu": ("alpha", 1.0), "leaky_relu": ("negative_slope", 0.01)}
"""Parameters that are the largest slope below zero, with their defaults."""

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "elu": ("alpha",), "leaky_relu": ("negative_slope",), "celu": ("alpha",), "hardtanh": ("min_val", "max_val"),
}  # fmt: skip
"""Parameters of functions of one number, by name; others are refused, as they may change the slope."""

_KEYWORDS: dict[Callable[[Operation], Outcome | str], tuple[str, ...]] = {
    _same: ("dtype", "device", "copy", "non_blocking", "memory_format", "requires_grad"),
    _sum: ("other", "alpha"),
    _scaled: ("other",),
    _reduced: ("dim", "axis", "keepdim", "keepdims", "dtype"),
    _reshaped: ("shape", "size", "dim", "start_dim", "end_dim"),
    _beside: ("tensors", "dim", "axis"),
    _dropped: ("p", "training", "train", "inplace"),
    _softened: ("dim", "dtype", "_stacklevel"),
    _selected: (),
    _linear: ("weight", "bias"),
    _pooled_to_points: ("output_size",),
}
"""Keyword arguments that a rule knows of; those of functions of one number depend on the function."""

_RULES: dict[str, Callable[[Operation], Outcome | str]] = {
    **dict.fromkeys(("clone", "contiguous", "detach", "to", "float", "double", "alias", "requires_grad"), _same),
    **dict.fromkeys(("add", "sub", "rsub", "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__"), _sum),
    **dict.fromkeys(("mul", "div", "true_divide", "__mul__", "__rmul__", "__imul__", "__truediv__"), _scaled),
    **dict.fromkeys(("multiply", "__itruediv__"), _scaled),
    **dict.fromkeys(("mean", "sum", "amax"), _reduced),
    **dict.fromkeys(("flatten", "reshape", "view", "squeeze", "unsqueeze", "view_as", "reshape_as"), _reshaped),
    **dict.fromkeys(("cat", "concat", "concatenate"), _beside),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _dropped),
    **dict.fromkeys(("softmax", "log_softmax"), _softened),
    "neg": _same,
    "__neg__": _same,
    "__getitem__": _selected,
    "linear": _linear,
    "adaptive_avg_pool2d": _pooled_to_points,
    "adaptive_avg_pool3d": _pooled_to_points,
}
