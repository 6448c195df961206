"""Functions of one number, applied everywhere: exactly equivariant where the group permutes the channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from escnn.nn import ConcatenatedNonLinearity
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Rule, not_permuting, rounded
from escnn_soft.escnn.stored_arguments import pointwise_function

__all__ = ["CONSTANTS", "Concatenated", "HeadPointwise", "Pointwise", "PointwiseModule", "constant_of"]

CONSTANTS: dict[str, tuple[float, float]] = {
    "relu": (1.0, 0.0),
    "relu6": (1.0, 0.0),
    "hardtanh": (1.0, 0.0),
    "leaky_relu": (1.0, 1.0),
    "elu": (1.0, 8.0),
    "selu": (1.0507009873554805 * 1.6732632423543772, 16.0),
    "celu": (1.0, 8.0),
    "tanh": (1.0, 8.0),
    "sigmoid": (0.25, 8.0),
    "softplus": (1.0, 16.0),
    "softsign": (1.0, 8.0),
    "logsigmoid": (1.0, 16.0),
    "gelu": (1.13, 32.0),
    "silu": (1.1, 16.0),
    "mish": (1.09, 32.0),
    "hardsigmoid": (1 / 6, 8.0),
    "hardswish": (1.5, 8.0),
    "identity": (1.0, 0.0),
}
"""For each function: the largest slope, rounded up, and the rounding of one evaluation in units of u."""

_ALIASES = {"leakyrelu": "leaky_relu", "swish": "silu"}


def constant_of(name: str, alpha: float = 1.0) -> tuple[float, float] | None:
    """Largest slope and rounding of a function by its name, ``alpha`` its slope or scale below zero.

    Args:
        name: torch's name of the function, with or without the underscore of the in-place version.
        alpha: ELU's scale or LeakyReLU's negative slope.

    Returns:
        The pair, or None if the function is not known.

    Example:
        >>> constant_of("elu", alpha=2.0)
        (2.0, 8.0)
    """
    name = name.rstrip("_").lower()
    name = _ALIASES.get(name, name)
    if name not in CONSTANTS:
        return None
    slope, ulps = CONSTANTS[name]
    if name in ("elu", "leaky_relu"):
        slope = max(1.0, abs(alpha))
    return slope, ulps


class Pointwise(Rule):
    """f(x)_i = phi(x_i): as many times as phi' may spread, exact under permutations of the channels.

    Args:
        constants: slope and rounding of the function that a module applies, or None if it is not known.
    """

    def __init__(self, constants: Callable[[Any], tuple[float, float] | None]) -> None:
        self.constants = constants

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The largest slope."""
        known = self.constants(call.module)
        return (math.inf if known is None else known[0],)

    def no_constant(self, call: Call) -> str:
        """Only functions that are not known have none."""
        return "its function is not known, so neither is its largest slope"

    def refusal(self, call: Call, row: int) -> str | None:
        """Channels have to be permuted."""
        return not_permuting(call.action, row)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """That of evaluating the function."""
        known = self.constants(call.module)
        slope, ulps = (1.0, 0.0) if known is None else known
        return rounded(call, max(1.0, slope) * norms, ulps)


_FUNCTIONS: dict[Any, str] = {
    F.relu: "relu", F.relu_: "relu", torch.relu: "relu", F.elu: "elu", F.elu_: "elu", F.sigmoid: "sigmoid",
    torch.sigmoid: "sigmoid", torch.sigmoid_: "sigmoid", F.tanh: "tanh", torch.tanh: "tanh", torch.tanh_: "tanh",
}  # fmt: skip


class PointwiseModule(Pointwise):
    """A module that applies one of escnn's functions."""

    def __init__(self) -> None:
        super().__init__(lambda module: constant_of(function_name(module)))


def function_name(module: Any) -> str:
    """The name of the function that an escnn module applies; empty if it is not one of escnn's."""
    return _FUNCTIONS.get(pointwise_function(module), "")


class Concatenated(Pointwise):
    """x -> (phi(x), phi(-x)), exact under signed permutations: ReLU splits x, the others count twice."""

    def __init__(self) -> None:
        super().__init__(lambda module: constant_of(function_name(module)))

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """|relu(a) - relu(b)|^2 + |relu(-a) - relu(-b)|^2 <= |a - b|^2."""
        assert isinstance(call.module, ConcatenatedNonLinearity)
        name = function_name(call.module)
        known = constant_of(name)
        if known is None:
            return (math.inf,)
        return (known[0] if name == "relu" else math.sqrt(2) * known[0],)

    def refusal(self, call: Call, row: int) -> str | None:
        """Channels have to be permuted, up to signs."""
        return not_permuting(call.action, row, signed=True)


class HeadPointwise(Pointwise):
    """A torch module that applies a function of one number; its slope below zero under any of torch's names."""

    kind = "head"

    def __init__(self, name: str) -> None:
        super().__init__(lambda module: constant_of(name, _alpha(module)))

    def refusal(self, call: Call, row: int) -> str | None:
        """Channels have to be permuted, or the input is invariant."""
        return None if call.action.is_identity(row) else not_permuting(call.action, row)


def _alpha(module: Any) -> float:
    return float(getattr(module, "negative_slope", getattr(module, "alpha", 1.0)))
