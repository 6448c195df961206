"""Functions of the norms of fields: norm non-linearities, norm pooling, and choices of the strongest."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.certification.rules.gated import field_norms, largest, sizes_of
from escnn_soft.certification.rules.pooling import Window, overlap
from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule
from escnn_soft.escnn.stored_arguments import pointwise_function

__all__ = ["NormPooling", "Radial", "StrongestInWindow", "VectorField"]


class Radial(Rule):
    """x -> phi(|x|) x / |x| for each field.

    Constant 1 for ReLU(|x| - b) with b >= 0, the proximal map of b |x|, and for x / (1 + |x|). The sigmoid and the
    softplus do not vanish at 0, so the direction jumps there; away from 0,

        |f(y) - f(x)| <= |phi'| |y - x| + phi(|x|) * 2 |y - x| / |x|

    so the constant is that of the weakest field of this input. Subfields of induced representations likewise.
    """

    ulps = 64.0
    local = True

    def __init__(self, *, induced: bool = False) -> None:
        self.induced = induced

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """By the name of the function."""
        function = pointwise_function(call.module)
        if function is torch.relu:
            return (1.0,)
        if function is torch.sigmoid:
            return (0.25 + 2 * largest(1 / self._norms(call)),)
        if function is F.softplus:
            norms = self._norms(call)
            return (1 + 2 * largest(F.softplus(norms) / norms),)
        # escnn's third function is a lambda, t / (1 + t)
        probe = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
        known = getattr(function, "__name__", "") == "<lambda>" and torch.equal(function(probe), probe / (1 + probe))
        return (1.0 if known and call.module.log_bias is None else math.inf,)

    def no_constant(self, call: Call) -> str:
        """A field that vanishes, or an unknown function."""
        return "a field is zero, where this function of the norm makes the direction jump, or the function is not known"

    def _norms(self, call: Call) -> Tensor:
        return field_norms(call.x, subfield_sizes(call.type) if self.induced else sizes_of(call.type))

    def own(self, call: Call, row: int) -> Deviation | None:
        """Subfields are permuted by induced representations: left to a measurement."""
        return None if self.induced else super().own(call, row)

    def offset(self, call: Call) -> float:
        """The biases, exp(log_bias); and fields weaker than escnn's 1e-10 are set to zero."""
        bias = call.module.log_bias
        total = 0.0 if bias is None else float(bias.detach().double().exp().norm())
        return (total + 1e-9) * math.sqrt(call.points * call.x.shape[1])


def subfield_sizes(field_type: FieldType) -> list[int]:
    """Channels of each subfield of induced representations."""
    sizes = []
    for rho in field_type.representations:
        size = next(int(n.split("_")[-1]) for n in rho.supported_nonlinearities if n.startswith("induced_norm"))
        sizes += [size] * (rho.size // size)
    return sizes


class NormPooling(Rule):
    """x -> |x| for each field, or the largest norm of its subfields: | |y| - |x| | <= |y - x|."""

    ulps = 64.0

    def __init__(self, *, induced: bool = False) -> None:
        self.induced = induced

    def own(self, call: Call, row: int) -> Deviation | None:
        """Subfields are permuted by induced representations: left to a measurement."""
        return None if self.induced else super().own(call, row)


class VectorField(Rule):
    """The largest of N responses, as a vector in its direction: it jumps where another one becomes the largest.

    Within gap / sqrt(2), gap the distance of the largest response to the next, nothing jumps, and the constant is 1;
    otherwise a jump of at most 2 max has needed a change of at least gap / sqrt(2).
    """

    kind = "measured"
    local = True
    ulps = 32.0
    single = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the smallest gap of this input."""
        x = call.x.detach().double().cpu()
        top = x.unflatten(1, (-1, call.type.fibergroup.order())).topk(2, dim=2).values
        return (_selection(top[:, :, 0], top[:, :, 0] - top[:, :, 1], reach),)

    def no_constant(self, call: Call) -> str:
        """A tie."""
        return "two directions respond alike, and the vector jumps between them"

    def own(self, call: Call, row: int) -> Deviation | None:
        """Left to a measurement, because of ties."""
        return None


class StrongestInWindow(Rule):
    """The field with the largest norm in each window; as :class:`VectorField`, with the windows' overlap."""

    kind = "measured"
    local = True
    ulps = 4.0

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the smallest gap between the norms of this input."""
        window = Window.of(call)
        norms = field_norms(call.x, sizes_of(call.type))
        down, right = window.padding
        padded = F.pad(norms, (right, right, down, down), value=-math.inf)
        patches = F.unfold(padded, window.kernel, window.dilation, 0, window.stride)
        top = patches.unflatten(1, (norms.shape[1], -1)).topk(2, dim=2).values
        return (overlap(window) * _selection(top[:, :, 0], top[:, :, 0] - top[:, :, 1], reach),)

    def no_constant(self, call: Call) -> str:
        """A tie."""
        return "two fields of a window have equal norms, and the output jumps between them"

    def refusal(self, call: Call, row: int) -> str | None:
        """Windows have to be centred."""
        return Window.of(call).refusal(call, row)

    def own(self, call: Call, row: int) -> Deviation | None:
        """Left to a measurement, because of ties."""
        return None


def _selection(largest_value: Tensor, gap: Tensor, reach: Tensor) -> Tensor:
    """1 within reach of the smallest gap, and beyond it what a jump amounts to."""
    active = largest_value > 0  # choosing among zeros changes nothing
    radius = torch.where(active, gap, math.inf).flatten(1).amin(dim=1) / math.sqrt(2)
    jump = largest(torch.where(active, 1 + 2 * math.sqrt(2) * largest_value / gap, 1.0))
    return torch.where(reach < radius, 1.0, jump)
