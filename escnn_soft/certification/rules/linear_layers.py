"""Convolutions and linear layers, escnn's and soft ones: their certificates."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from escnn.nn import EquivariantModule
from torch import Tensor

from escnn_soft.bounds import Certificate
from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.layer import certificate
from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Kernel, Rule, unit_roundoff
from escnn_soft.layers import SoftLayer
from escnn_soft.layers.geometry import per_axis

__all__ = ["LinearLayer"]

_NORM_ROUNDING = 1e-9
"""Norms are rounded sums of squares, here and wherever the bound is compared with a measurement."""


class LinearLayer(Rule):
    """x -> W x + b with ||f(g x) - g f(x)|| <= operator_at(g) ||x|| + ||g b - b|| sqrt(pixels of the output)."""

    kind = "soft"

    @cached_property
    def _certificates(self) -> dict[int, Certificate]:
        return {}

    def certificate(self, call: Call) -> Certificate:
        """The layer's certificate; a rule serves one run of ``certify`` only, so the weights are those of now."""
        if id(call.module) not in self._certificates:
            self._certificates[id(call.module)] = certificate(call.module)
        return self._certificates[id(call.module)]

    def runs_in(self, module: Any) -> torch.dtype:
        """The dtype of its weights."""
        dtype: torch.dtype = module.weights.dtype
        return dtype

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The certified norm of the layer as it runs."""
        return (self.certificate(call).lipschitz,)

    def refusal(self, call: Call, row: int) -> str | None:
        """What the certificate says; and a kernel kept by escnn has to be the one that the weights stand for."""
        element = call.action.elements[row]
        if call.output.dtype != self.runs_in(call.module):
            return f"it runs in {call.output.dtype}, as under autocast, and its rounding is bounded for its own dtype"
        if stale(call.module):
            return "its kept kernel or bias is not that of its weights: call .train() and .eval() once"
        if element is None:
            return None
        return self.certificate(call).refusal(element, tuple(call.x.shape))

    def own(self, call: Call, row: int) -> Deviation | None:
        """The error that the weights allow."""
        cert, element = self.certificate(call), call.action.elements[row]
        gain = cert.operator if element is None else cert.operator_at(element)
        bias = 0.0
        if cert.bias is not None:
            bias = cert.bias.sup if element is None else cert.bias.at(element)
        added = bias * math.sqrt(call.output[0, 0].numel())
        return Deviation(gain * (1 + _NORM_ROUNDING), added * (1 + _NORM_ROUNDING))

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """The certificate's rounding, and that of adding the bias."""
        return self.certificate(call).rounding * norms + 2 * unit_roundoff(call) * (
            sample_norms(call.output) + self.certificate(call).lipschitz * norms
        )

    def kernel(self, call: Call) -> Kernel | None:
        """The kernel, where its symbol bounds the layer: zeros or a period around the image, one block."""
        module = call.module
        if hasattr(module, "output_padding"):
            return None
        with torch.no_grad():
            kernel = module.expand_parameters()[0].double().cpu()
        if kernel.ndim == 2:
            return Kernel(kernel[:, :, None, None], (1, 1))
        stride = per_axis(module.stride, kernel.ndim - 2)
        if module.groups > 1 or module.padding_mode != "zeros" or (module.dilation > 1 and max(stride) > 1):
            return None
        return Kernel(kernel, stride)


def stale(module: Any) -> bool:
    """Whether what escnn keeps for evaluation, kernel and bias, was overtaken by the weights or changed by hand."""
    if module.training or isinstance(module, SoftLayer) or not isinstance(module, EquivariantModule):
        return False
    kept = getattr(module, "filter", None)
    kept = getattr(module, "matrix", None) if kept is None else kept
    if kept is None:
        return False
    with torch.no_grad():
        kernel, bias = module.expand_parameters()
    added = module.expanded_bias
    if (added is None) != (bias is None):
        return True
    return not torch.equal(kept, kernel.reshape(kept.shape)) or (bias is not None and not torch.equal(added, bias))
