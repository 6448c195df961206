"""Plain layers of torch between fields: convolutions, linear maps and batch norms that know of no group.

How the group acts on what comes out is nobody's to find out but ours to choose: whatever is chosen, the bound is one on
||f(g x) - g f(x)||. So a layer maps between the fields that its filter knows, else to those that the escnn module
around it declares, else from scalar fields to scalar fields.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.bounds import Certificate
from escnn_soft.certification.layer import certificate
from escnn_soft.certification.rules.constants import displacement
from escnn_soft.certification.rules.head import Head, HeadConvolution, HeadLinear
from escnn_soft.certification.rules.linear_layers import LinearLayer
from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Kernel, Rule
from escnn_soft.certification.tensor_action import Action
from escnn_soft.layers import filtered_tensors
from escnn_soft.layers.geometry import per_axis

__all__ = ["PlainBatchNorm", "PlainConvolution", "PlainLinear"]

Types = tuple[FieldType, FieldType]


class PlainLayer(LinearLayer):
    """A plain layer with a certificate between fields; after an invariant map, only its Lipschitz constant counts."""

    head: Head

    def at(self, call: Call) -> Rule:
        """As a head where the group moves nothing of what comes in."""
        return self if call.action.pixels or not call.action.fixes_channels() else self.head

    def types(self, call: Call) -> Types | None:
        """Fields of the input and output; None if there is nothing to go by."""
        filters = [each.filter.types for each in filtered_tensors(call.module) if each.tensor == "weight"]
        if filters and filters[0] is not None:
            return filters[0].in_type, filters[0].out_type
        into = call.type_of_action
        if call.declared is not None and call.declared.size == call.output.shape[1]:
            return into, call.declared
        return self.undeclared(into, call)

    def undeclared(self, into: FieldType, call: Call) -> Types | None:
        """Fields of a layer of which nothing is said."""
        return None

    def certificate(self, call: Call) -> Certificate:
        """By the levels of its filter, or those that one would have."""
        if id(call.module) not in self._certificates:
            filtered = any(each.of_layer for each in filtered_tensors(call.module))
            between = (None, None) if filtered else self.types(call) or (None, None)
            self._certificates[id(call.module)] = certificate(call.module, *between)
        return self._certificates[id(call.module)]

    def runs_in(self, module: Any) -> torch.dtype:
        """The dtype of its weight."""
        dtype: torch.dtype = module.weight.dtype
        return dtype

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The certified norm."""
        return super().lipschitz(call, reach) if self.types(call) else (math.inf,)

    def refusal(self, call: Call, row: int) -> str | None:
        """Without types, or with others than those of the input."""
        types = self.types(call)
        if types is None:
            return "it is a plain torch layer, and its input is not invariant"
        if not call.action.agrees(types[0]):
            return f"its filter maps {types[0]}, and the group acts on its input otherwise"
        return super().refusal(call, row)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """The certificate's."""
        return super().rounding(call, norms, reach) if self.types(call) else torch.zeros_like(norms)

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """On the fields of its output."""
        types = self.types(call)
        return call.action if types is None else Action(call.action.elements, types[1], call.action.pixels)


class PlainConvolution(PlainLayer):
    """A convolution of torch's, transposed or not."""

    def __init__(self) -> None:
        self.head = HeadConvolution()

    def undeclared(self, into: FieldType, call: Call) -> Types | None:
        """Scalar fields, if those that come in are."""
        space = into.gspace
        if space.dimensionality == 0 or not call.action.fixes_channels():
            return None
        return into, space.type(*[space.trivial_repr] * call.output.shape[1])

    def kernel(self, call: Call) -> Kernel | None:
        """The kernel, where its symbol bounds the layer."""
        conv = call.module
        if conv.transposed or conv.groups > 1 or conv.padding_mode != "zeros" or max(conv.dilation) > 1:
            return None
        kernel = conv.weight.detach().double().cpu()
        return Kernel(kernel, per_axis(conv.stride, kernel.ndim - 2))


class PlainLinear(PlainLayer):
    """A linear map of torch's."""

    def __init__(self) -> None:
        self.head = HeadLinear()

    def refusal(self, call: Call, row: int) -> str | None:
        """Channels have to be what it sums over."""
        if call.action.pixels or call.x.ndim != 2:
            return "it is a plain torch layer, and its input is not invariant"
        return super().refusal(call, row)

    def kernel(self, call: Call) -> Kernel | None:
        """The matrix, of feature vectors."""
        if call.x.ndim != 2:
            return None
        return Kernel(call.module.weight.detach().double().cpu()[:, :, None, None], (1, 1))


class PlainBatchNorm(Rule):
    """x -> weight (x - mean) / sqrt(variance + eps) + bias for each channel, exact where channels stay as they are."""

    ulps = 64.0

    def at(self, call: Call) -> Rule:
        """With an error of its own where the group mixes channels."""
        return self if call.action.fixes_channels() else MixedBatchNorm()

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The largest factor."""
        if call.module.running_var is None:
            return (math.inf,)
        return (float(factors_of(call).abs().max()),)

    def no_constant(self, call: Call) -> str:
        """Statistics of the batch."""
        return "it normalises with the statistics of the batch, so samples depend on each other"

    def refusal(self, call: Call, row: int) -> str | None:
        """Statistics of the batch make samples depend on each other."""
        return self.no_constant(call) if call.module.running_var is None else None

    def offset(self, call: Call) -> float:
        """Means and biases, at every pixel."""
        shifts = [call.module.running_mean, call.module.bias]
        total = sum(float(t.detach().double().square().sum()) for t in shifts if t is not None)
        return math.sqrt(total * call.points)

    def scales(self, call: Call) -> Tensor | None:
        """The factor of each channel."""
        return None if call.module.running_var is None else factors_of(call)


class MixedBatchNorm(PlainBatchNorm):
    """As :class:`PlainBatchNorm`, with the error ||g D - D g|| ||x|| + ||g f(0) - f(0)|| sqrt(pixels)."""

    kind = "soft"

    def own(self, call: Call, row: int) -> Deviation | None:
        """How far factors and shifts differ between channels that the element mixes."""
        if call.action.elements[row] is None or call.module.running_var is None:
            return None
        rho, factors = torch.from_numpy(call.action.matrix(row)).double(), factors_of(call)
        apart = float(torch.linalg.matrix_norm(rho * factors - factors[:, None] * rho, 2))
        shifts = -factors * call.module.running_mean.detach().double().cpu()
        if call.module.bias is not None:
            shifts = shifts + call.module.bias.detach().double().cpu()
        moved = displacement(Action(call.action.elements, call.action.type, pixels=False), row, shifts)
        assert moved is not None
        return Deviation(apart * (1 + 1e-9), moved * math.sqrt(call.points) * (1 + 1e-9))


def factors_of(call: Call) -> Tensor:
    """What each channel is multiplied with."""
    factors = 1 / (call.module.running_var.detach().double().cpu() + call.module.eps).sqrt()
    weight = call.module.weight
    return factors if weight is None else factors * weight.detach().double().cpu()
