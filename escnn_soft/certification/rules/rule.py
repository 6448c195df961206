"""What `certify` has to know about a module before it covers it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from escnn.nn import FieldType
from torch import Tensor
from torch.nn import Module

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.tensor_action import Action, is_permutation

__all__ = ["EXACT", "Call", "Deviation", "Kernel", "Rule", "rounded", "unit_roundoff"]

Bound = float | Tensor
"""A number, or one for each (row, sample) or sample."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module on the computed activations.

    Attributes:
        module: the module.
        inputs: its tensors.
        types: their field types; None for plain tensors.
        actions: how the group acts on them.
        output: what came out; the first tensor of it.
        declared: type of the output of the escnn module, itself without a rule, that the call is a part of.
    """

    module: Any
    inputs: tuple[Tensor, ...]
    types: tuple[FieldType | None, ...]
    actions: tuple[Action, ...]
    output: Tensor
    declared: FieldType | None = None

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def action(self) -> Action:
        """The action on it."""
        return self.actions[0]

    @property
    def type(self) -> FieldType:
        """Its field type."""
        assert self.types[0] is not None
        return self.types[0]

    @property
    def type_of_action(self) -> FieldType:
        """The type by which the group acts on it, plain tensor or not."""
        assert self.action.type is not None
        return self.action.type

    @property
    def points(self) -> int:
        """Pixels of the first input."""
        return self.x[0, 0].numel()


@dataclass(frozen=True, eq=False)
class Kernel:
    """A linear map as a convolution without dilation, for folding; dilation changes no operator norm."""

    kernel: Tensor  # in double precision, shape: (out, in, *sizes)
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Deviation:
    """Claim for every input of one shape: f(T x) - T f(x) is gain-Lipschitz in x, and at most gain ||x|| + constant.

    It is one about the module, not about the input at hand: an own error that is 0 where an activation happens to
    vanish need not be 0 beside it.
    """

    gain: float = 0.0
    constant: float = 0.0

    def at(self, norms: Tensor) -> Tensor:
        """The bound for inputs of these norms."""
        return self.gain * norms + self.constant


EXACT = Deviation()
"""Equivariant on every input, in exact arithmetic."""


class Rule:
    """A module that is exactly equivariant in exact arithmetic, spreads nothing, and only moves numbers.

    Subclasses say where it differs. Errors are norms of each sample over its channels and pixels.
    """

    kind = "exact"
    """exact: equivariant by construction; soft: has an error of its own; measured: equivariance is not assumed."""
    ulps = 0.0
    """Rounding of one evaluation, in units of u (|f(x)| + L (|x| + offset))."""
    single = False
    """Whether its constants are stored in single precision whatever its dtype is."""
    local = False
    """Whether its Lipschitz constant uses the activations: then it holds between their orbit and other points only."""

    def at(self, call: Call) -> Rule:
        """The rule that covers a call, where that depends on what comes in."""
        return self

    @property
    def everywhere(self) -> bool:
        """Whether its Lipschitz constant holds between any two points."""
        return not self.local

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """For each input: how much a change of it is spread, at most.

        It has to hold between a point of the orbit of the computed activations and every other point, no further away
        than ``reach``.

        Args:
            call: the call of the module.
            reach: bound on the error of its input.  # shape: (rows + 1, samples)

        Returns:
            A constant for each input.
        """
        return (1.0,) * len(call.inputs)

    def no_constant(self, call: Call) -> str:
        """Why there is no finite Lipschitz constant, where there is none."""
        return "no finite Lipschitz constant"

    def refusal(self, call: Call, row: int) -> str | None:
        """Why the module is not covered under the element of a row."""
        return None

    def own(self, call: Call, row: int) -> Deviation | None:
        """Its own error without rounding, from the shape of the input and not from its values.

        Args:
            call: the call of the module.
            row: of the element.

        Returns:
            The claim; None if only a measurement can tell. Beside an input where it was measured it may then be larger
            by twice the Lipschitz constant times the distance.
        """
        return EXACT

    def offset(self, call: Call) -> float:
        """Norm of the constants that are added to the input."""
        return 0.0

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """Floating-point error of one evaluation at inputs of these norms, by row and sample."""
        spread = [as_bound(bound, reach)[:-1] for bound in self.lipschitz(call, reach)]
        largest = torch.stack(spread).amax(dim=0)
        return rounded(call, largest * (norms + self.offset(call)), self.ulps, single=self.single)

    def scales(self, call: Call) -> Tensor | None:
        """The factor of each channel, for a module that scales channels and adds constants."""
        return None

    def kernel(self, call: Call) -> Kernel | None:
        """The linear part of a module, up to constants and for every image size."""
        return None

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """How the group acts on what comes out, a field of some type or a plain tensor."""
        return call.action if out_type is None else call.action.retyped(out_type)


def as_bound(bound: Bound, reach: Tensor) -> Tensor:
    """A bound for each (row, sample), with the last row of constants that hold everywhere."""
    return torch.as_tensor(bound, dtype=torch.float64).cpu().expand(reach.shape)


def rounded(call: Call, spread: Tensor, ulps: float, *, single: bool = False) -> Tensor:
    """ulps u (|f(x)| + spread), (rows, samples), for one evaluation, a cast, and constants in ``single`` precision."""
    ulps += 2.0 if call.output.dtype != call.x.dtype else 0.0
    if ulps == 0.0:
        return torch.zeros_like(spread)
    return ulps * unit_roundoff(call, single=single) * (sample_norms(call.output) + spread)


def unit_roundoff(call: Call, *, single: bool = False) -> float:
    """u of the least precise dtype on the way: some of escnn's modules answer in single precision always."""
    own = itertools.chain(call.module.parameters(), call.module.buffers())
    dtypes = {t.dtype for t in (call.x, call.output, *own) if t.is_floating_point()}
    dtypes |= {torch.float32} if single else set()
    return max(torch.finfo(dtype).eps for dtype in dtypes) / 2


def not_permuting(action: Action, row: int, *, signed: bool = False) -> str | None:
    """Why the element does not merely permute the channels."""
    if action.fixes_channels():
        return None
    if action.elements[row] is None:
        return "the channels are not trivial, and no single element is given that would permute them"
    if all(is_permutation(block, signed=signed) for block in action.blocks(row)):
        return None
    return "the element does not permute the channels, so a pointwise function does not commute with it"


def parameters_norm(module: Module, call: Call, *names: str) -> float:
    """Norm of some parameters, repeated at every pixel and every channel of a field."""
    total = 0.0
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, Tensor):
            total += float(value.detach().double().square().sum())
    return float((total * call.points * call.x.shape[1]) ** 0.5)
