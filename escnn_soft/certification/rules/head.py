"""Plain torch layers after an invariant map: nothing left to break, so only their Lipschitz constants count."""

from __future__ import annotations

import math

import torch
from escnn.nn import FieldType
from torch import Tensor, nn

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.rules.rule import Bound, Call, Rule, rounded, unit_roundoff
from escnn_soft.certification.tensor_action import Action
from escnn_soft.linalg import convolution_norm, spectral_norm

__all__ = ["Head", "HeadConvolution", "HeadFlatten", "HeadLinear", "HeadNorm", "HeadSoftmax"]


class Head(Rule):
    """A module that knows of no group: covered where its input is invariant."""

    kind = "head"
    ulps = 64.0

    def refusal(self, call: Call, row: int) -> str | None:
        """The input has to be invariant."""
        if call.action.is_identity(row):
            return None
        return "it is a plain torch layer, and its input is not invariant"

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """Invariant again, whatever the shape."""
        return Action(call.action.elements, None, pixels=False)


class HeadLinear(Head):
    """x -> W x + b."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """||W||; a matrix that is applied at each position keeps its norm."""
        return (float(spectral_norm(self.weight(call))),)

    def weight(self, call: Call) -> Tensor:
        """The matrix or kernel, in double precision."""
        weight: Tensor = call.module.weight
        return weight.detach().double().cpu()

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """gamma_n || |W| ||, and the bias."""
        weight = self.weight(call).abs()
        unit = unit_roundoff(call)
        gamma = (weight[0].numel() + 2) * unit
        largest = float(spectral_norm(weight.flatten(2).sum(2) if weight.ndim > 2 else weight))
        return gamma * largest * norms + 2 * unit * (sample_norms(call.output))


class HeadConvolution(HeadLinear):
    """A convolution of an invariant map, zeros around it."""

    def refusal(self, call: Call, row: int) -> str | None:
        """A single image would have its channels taken for the samples."""
        batch = call.x.ndim == call.module.weight.ndim
        return super().refusal(call, row) if batch else "its input is no batch of images"

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The certified norm of its kernel."""
        module = call.module
        if module.padding_mode != "zeros" or len(set(module.dilation)) > 1:
            return (math.inf,)
        kernel, dilation = self.weight(call), module.dilation[0]
        return (max(convolution_norm(block, module.stride, dilation) for block in kernel.chunk(module.groups)),)

    def no_constant(self, call: Call) -> str:
        """Padding by other things than zeros, and oblong dilation."""
        module = call.module
        what = f"padding_mode={module.padding_mode!r}" if module.padding_mode != "zeros" else f"{module.dilation=}"
        return f"{what.removeprefix('module.')} of a plain convolution is not covered"


class HeadNorm(Head):
    """Layer and group normalisation, (v - mean) / sqrt(|v - mean|^2 / n + eps), times weights, plus biases.

    With s(v) the root, |f(y) - f(x)| <= |y - x| / s(x) + |y| / s(y) * |s(y) - s(x)| / s(x) <= 2 |y - x| / s(x).
    """

    local = True

    def refusal(self, call: Call, row: int) -> str | None:
        """The samples of a batch have to stay apart; groups of scalar fields may be normalised, all pixels at once."""
        if self._over_batch(call):
            return "it normalises over the batch"
        scalars = call.action.fixes_channels() and not self._of_layers(call)
        return None if scalars else super().refusal(call, row)

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """As on its input."""
        return call.action

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """2 max |weight| / s, s the smallest of this input."""
        module = call.module
        if self._over_batch(call):
            return (math.inf,)
        x = call.x.detach().double().cpu()
        blocks = (-1, math.prod(module.normalized_shape)) if self._of_layers(call) else (module.num_groups, -1)
        groups = x.reshape(len(x), *blocks)
        root = (groups.var(dim=-1, unbiased=False) + module.eps).sqrt().amin(dim=1)
        weight = 1.0 if module.weight is None else float(module.weight.detach().abs().max())
        return (2 * weight / root,)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """Sums over a group for the mean and the variance."""
        largest = torch.as_tensor(self.lipschitz(call, reach)[0])
        return rounded(call, torch.clamp(largest, min=1.0) * norms, 4.0 * call.x[0].numel() + 64.0)

    def _of_layers(self, call: Call) -> bool:
        return hasattr(call.module, "normalized_shape")

    def _over_batch(self, call: Call) -> bool:
        return len(getattr(call.module, "normalized_shape", ())) >= call.x.ndim


class HeadSoftmax(Head):
    """softmax, whose Jacobian is a covariance of norm at most 1/2, or its logarithm, of norm at most sqrt(n)."""

    def refusal(self, call: Call, row: int) -> str | None:
        """The samples of a batch have to stay apart."""
        if call.module.dim is None or call.module.dim % call.x.ndim == 0:
            return "its dim is not given, or is that of the samples"
        return super().refusal(call, row)

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """By the class."""
        if isinstance(call.module, nn.LogSoftmax):
            return (math.sqrt(max(call.x.shape[1:])),)
        return (0.5,)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """Exponentials of differences of inputs, and a sum."""
        return rounded(call, 4 * norms, 4.0 * call.x[0].numel() + 64.0)


class HeadFlatten(Rule):
    """The same numbers in another shape."""

    def refusal(self, call: Call, row: int) -> str | None:
        """The samples have to stay, and pixels must not move."""
        if call.output.shape[0] != call.x.shape[0]:
            return "it mixes the samples of a batch"
        if call.action.is_identity(row) or flattens_points(call.action, call.x, call.output):
            return None
        return "it flattens pixels that the group moves"

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """That on the channels."""
        still = all(call.action.is_identity(row) for row in range(len(call.action.elements)))
        return Action(call.action.elements, None if still else call.action.type, pixels=False)


def flattens_points(action: Action, x: Tensor, output: Tensor) -> bool:
    """Whether an image of a single pixel, or a feature vector, became a feature vector."""
    return x.shape[:2] == output.shape[:2] and x[0, 0].numel() == 1
