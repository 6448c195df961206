"""Torch operations between the modules of a network: residual sums, scaling, reductions and reshaping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from escnn_soft.certification.action import Action
from escnn_soft.certification.fact import Fact
from escnn_soft.certification.rules.pointwise import constant_of
from escnn_soft.certification.rules.rule import not_permuting
from escnn_soft.linalg import spectral_norm

__all__ = ["METADATA", "Operation", "Outcome", "operate"]

METADATA = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "stride", "__len__", "is_contiguous", "is_floating_point",
     "is_complex", "get_device", "element_size", "storage_offset", "type", "__repr__", "__hash__", "is_nonzero_",
     "is_autocast_enabled", "_is_view", "is_inference", "is_same_size", "register_hook"}
)  # fmt: skip
"""Functions that look at the shape, dtype or place of a tensor and not at its values."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a torch function on activations.

    Attributes:
        name: of the function, without in-place underscores.
        args: as it was called.
        kwargs: likewise.
        tracked: the activations among the arguments, as they were before.
        facts: what is known of them.
        result: what came out.
        constants: whether a tensor is a parameter or buffer of the network.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tracked: Sequence[Tensor]
    facts: Sequence[Fact]
    result: Tensor
    constants: Callable[[object], bool]

    @property
    def action(self) -> Action:
        """The action on the first activation."""
        return self.facts[0].action

    @property
    def rows(self) -> range:
        """The rows of the certificate."""
        return range(len(self.action.elements))

    @property
    def invariant(self) -> bool:
        """Whether the group acts trivially on the first activation."""
        return all(self.action.is_identity(row) for row in self.rows)

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an operation does to errors.

    Attributes:
        factors: Lipschitz constant for each activation.
        action: on the result.
        ulps: rounding, in units of u times the magnitudes.
        aside: whether the activations lie side by side in the result, so that their errors are orthogonal.
    """

    factors: tuple[float, ...]
    action: Action
    ulps: float = 0.0
    aside: bool = False


def operate(operation: Operation) -> Outcome | str:
    """What is known of an operation.

    Args:
        operation: the call.

    Returns:
        Its outcome, or the reason why it is not covered.
    """
    if operation.result.ndim == 0 or operation.result.shape[0] != operation.tracked[0].shape[0]:
        return f"torch.{operation.name} mixes the samples of the batch"
    rule = _RULES.get(operation.name)
    if rule is not None:
        return rule(operation)
    return _pointwise(operation)


def _same(operation: Operation) -> Outcome | str:
    if not operation.result.is_floating_point():
        return f"torch.{operation.name} to {operation.result.dtype}"
    cast = operation.result.dtype != operation.tracked[0].dtype
    return Outcome((1.0,), operation.action, 2.0 if cast else 0.0)


def _sum(operation: Operation) -> Outcome | str:
    alpha = abs(float(operation.kwargs.get("alpha", 1.0)))
    if len(operation.tracked) == 2:
        first, second = operation.facts
        if operation.tracked[0].shape != operation.tracked[1].shape:
            return f"torch.{operation.name} of tensors of different shapes"
        same_type = first.action.type == second.action.type and first.action.pixels == second.action.pixels
        if not same_type or first.action.elements != second.action.elements:
            return f"torch.{operation.name} of tensors on which the group acts differently"
        factors = (alpha, 1.0) if operation.name == "rsub" else (1.0, alpha)
        return Outcome(factors, first.action, 4.0)
    other = operation.args[1] if operation.args[0] is operation.tracked[0] else operation.args[0]
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
    first = operation.args[0] is operation.tracked[0]
    other = operation.args[1] if first else operation.args[0]
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
    if dims is None or isinstance(dims, torch.dtype):
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
    if size not in (1, (1, 1), [1, 1]):
        return "torch.adaptive_avg_pool2d as a function to more than one pixel: use escnn's module"
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
    if operation.argument(1, "dim", 0) % operation.result.ndim != 1 or len(parts) != len(operation.tracked):
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
    plain = all(i is None or i is Ellipsis or isinstance(i, int | slice) for i in index)
    if plain and operation.invariant and (index[0] is Ellipsis or index[0] == slice(None)):
        return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))
    return "indexing of a field that the group moves, or by a tensor"


def _linear(operation: Operation) -> Outcome | str:
    weight = operation.argument(1, "weight")
    if not operation.invariant or not operation.constants(weight) or len(operation.tracked) > 1:
        return "torch.linear of a field that the group moves"
    norm = float(spectral_norm(weight.detach().double()))
    ratio = float(spectral_norm(weight.detach().double().abs())) / max(norm, 1e-300)
    return Outcome((norm,), operation.action, (weight.shape[1] + 4.0) * max(1.0, ratio))


def _pointwise(operation: Operation) -> Outcome | str:
    below = {"elu": ("alpha", 1.0), "leaky_relu": ("negative_slope", 0.01)}.get(operation.name, ("", 1.0))
    known = constant_of(operation.name, float(operation.argument(1, *below) if below[0] else 1.0))
    if known is None or (operation.name in ("celu", "softplus", "hardtanh") and len(operation.args) > 1):
        return f"no rule for torch.{operation.name}: put it into a module and use register_lipschitz"
    if any(not_permuting(operation.action, row) for row in operation.rows if not operation.action.is_identity(row)):
        return f"torch.{operation.name} of a field whose channels the group mixes"
    return Outcome((known[0],), operation.action, known[1])


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
}
