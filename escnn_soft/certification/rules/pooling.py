"""Pooling over windows: exact where the windows lie symmetrically on the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, not_permuting, rounded
from escnn_soft.escnn.stored_arguments import blur_padding, interpolation
from escnn_soft.layers.geometry import per_axis
from escnn_soft.linalg import convolution_norm

__all__ = ["AdaptivePool", "AveragePool", "BlurPool", "Interpolation", "MaxPool", "Upsampling", "Window", "overlap"]

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window moving over the pixels; one number for each axis in the order of storage, (..., height, width)."""

    kernel: Axes
    stride: Axes
    padding: Axes
    dilation: Axes

    @staticmethod
    def of(call: Call) -> Window:
        """The window of a pooling module or function."""
        dims = call.x.ndim - 2
        values = (getattr(call.module, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
        return Window(*(per_axis(value, dims) for value in values))

    def refusal(self, call: Call, row: int, margin: Axes | None = None) -> str | None:
        """Why an element does not map windows to windows, on an image that is larger by a margin."""
        motion = call.action.motion(row)
        for name in ("kernel", "stride", "padding", "dilation"):
            values = getattr(self, name)
            if any(values[axis] != values[source] for axis, source in motion):
                return f"{name} {values} differs between the axes that the element swaps"
        for axis, _ in motion:
            size = int(call.x.shape[2 + axis]) + (0 if margin is None else margin[axis])
            span = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            rest = (size + 2 * self.padding[axis] - span) % self.stride[axis]
            if rest:
                return (
                    f"stride {self.stride[axis]} is off-centre on size {size}: "
                    f"({size} + 2 * {self.padding[axis]} - {span}) % {self.stride[axis]} = {rest}, and it should be 0"
                )
        return None


def overlap(window: Window) -> float:
    """Square root of the number of windows that share a pixel: i s + j d = p holds for every s / gcd(s, d)-th j."""
    axes = zip(window.kernel, window.stride, window.dilation, strict=True)
    return math.prod(math.sqrt(math.ceil(k / (s // math.gcd(s, d)))) for k, s, d in axes)


class MaxPool(Rule):
    """|max y - max x| <= max |y - x| in each window, and each pixel lies in a few windows only: see :func:`overlap`."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """Square root of the overlap."""
        return (overlap(Window.of(call)),)

    def refusal(self, call: Call, row: int) -> str | None:
        """Windows have to be centred, and channels permuted: the maximum is a pointwise matter."""
        return Window.of(call).refusal(call, row) or not_permuting(call.action, row)


class AveragePool(Rule):
    """The mean over a window, zeros around the image counted unless the module says otherwise."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The product of the norms of the matrices of the axes; windows may be cut short."""
        total, divisor = 1.0, getattr(call.module, "divisor_override", None)
        for axis, size in enumerate(call.x.shape[2:]):
            rows = self._along(call, axis, size)
            rows = rows if divisor is None else (rows > 0).double()
            total *= float(torch.linalg.matrix_norm(rows, 2)) * (1 + 1e-12)
        return (total if divisor is None else total / abs(divisor),)

    def refusal(self, call: Call, row: int) -> str | None:
        """Windows have to be centred."""
        return Window.of(call).refusal(call, row)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """A sum of as many terms as the window has pixels."""
        return rounded(call, norms, 2.0 * math.prod(Window.of(call).kernel) + 4.0)

    def _along(self, call: Call, axis: int, size: int) -> Tensor:
        """The matrix of an axis, transposed."""
        window, module = Window.of(call), call.module
        pixels = torch.eye(size, dtype=torch.float64)[None]
        kernel, stride, padding = window.kernel[axis], window.stride[axis], window.padding[axis]
        counted = getattr(module, "count_include_pad", True)
        return F.avg_pool1d(pixels, kernel, stride, padding, module.ceil_mode, counted)[0]


class BlurPool(Rule):
    """A Gaussian blur with a stride, alone or after the maximum over windows of stride 1."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The norm of the blur, times the overlap of the windows before it."""
        window, first = self._windows(call)
        blur = call.module.filter[:1].detach().double().cpu()
        return (convolution_norm(blur, window.stride) * (1.0 if first is None else overlap(first)),)

    def refusal(self, call: Call, row: int) -> str | None:
        """Windows have to be centred, of the maximum and of the blur."""
        window, first = self._windows(call)
        if first is None:
            return window.refusal(call, row)
        margin = (2 * p - d * (k - 1) for p, d, k in zip(first.padding, first.dilation, first.kernel, strict=True))
        return window.refusal(call, row, tuple(margin)) or first.refusal(call, row) or not_permuting(call.action, row)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """A sum of as many terms as the blur has pixels."""
        return rounded(call, norms, 2.0 * math.prod(self._windows(call)[0].kernel) + 4.0)

    def own(self, call: Call, row: int) -> Deviation | None:
        """The filter is stored in single precision and sampled symmetrically only up to its rounding."""
        return None

    def _windows(self, call: Call) -> tuple[Window, Window | None]:
        module = call.module
        window = Window.of(call)
        padding = blur_padding(module)
        if padding is None:
            return window, None
        once = (1,) * len(window.kernel)
        blur = Window(tuple(module.filter.shape[2:]), window.stride, per_axis(padding, len(once)), once)
        return blur, Window(window.kernel, once, window.padding, window.dilation)


class AdaptivePool(Rule):
    """Windows from floor(i n / o) to ceil((i + 1) n / o), symmetric for every size.

    The average is a matrix along each axis and has the product of their norms; for the maximum the windows that share
    a pixel are counted.
    """

    def __init__(self, *, maximum: bool) -> None:
        self.maximum = maximum

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """Product over the axes."""
        total = 1.0
        for before, after in zip(call.x.shape[2:], call.output.shape[2:], strict=True):
            rows = F.adaptive_avg_pool1d(torch.eye(before, dtype=torch.float64)[None], after)[0]
            shared = float((rows > 0).sum(dim=1).max())
            total *= math.sqrt(shared) if self.maximum else float(torch.linalg.matrix_norm(rows, 2)) * (1 + 1e-12)
        return (total,)

    def refusal(self, call: Call, row: int) -> str | None:
        """An oblong output cannot be turned by a quarter, and a maximum needs permuted channels."""
        size = call.output.shape[2:]
        if any(size[axis] != size[source] for axis, source in call.action.motion(row)):
            return f"output size {tuple(size)} differs between the axes that the element swaps"
        return not_permuting(call.action, row) if self.maximum else None

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """A sum over a window."""
        return rounded(call, norms, 0.0 if self.maximum else 2.0 * call.points + 4.0)


class Upsampling(Rule):
    """Interpolation, a matrix along each axis; whether it is symmetric is left to a measurement."""

    kind = "measured"
    ulps = 64.0
    single = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """Product of the norms of the matrices."""
        total, (factors, how) = 1.0, self.settings(call)
        for axis, (before, after) in enumerate(zip(call.x.shape[2:], call.output.shape[2:], strict=True)):
            beside = call.x.ndim - 3  # axes that are left as they are
            pixels = torch.eye(before, dtype=torch.float64)[None]
            lines = pixels.view(1, before, before, *[1] * beside).expand(-1, -1, -1, *[2] * beside)
            factor = factors[axis] if isinstance(factors, tuple | list) else factors
            size = {"size": (after, *[2] * beside)} if factor is None else {"scale_factor": (factor, *[1.0] * beside)}
            matrix = F.interpolate(lines, **how, **size)[0].flatten(2)[:, :, 0]
            total *= float(torch.linalg.matrix_norm(matrix, 2)) * (1 + 1e-5)
        return (total,)

    def settings(self, call: Call) -> tuple[Any, dict[str, Any]]:
        """Scale factor, or factors of the axes, or None; and how it interpolates."""
        return interpolation(call.module)

    def refusal(self, call: Call, row: int) -> str | None:
        """The sizes have to scale alike along axes that are swapped."""
        before, after = call.x.shape[2:], call.output.shape[2:]
        unequal = (after[a] * before[b] != after[b] * before[a] for a, b in call.action.motion(row))
        return "the axes that the element swaps are scaled differently" if any(unequal) else None

    def own(self, call: Call, row: int) -> Deviation | None:
        """Left to a measurement."""
        return None


class Interpolation(Upsampling):
    """Torch's function; it may make images smaller too."""

    def settings(self, call: Call) -> tuple[Any, dict[str, Any]]:
        """What it was called with."""
        return call.module.factor, call.module.how
