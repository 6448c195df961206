"""Strided layers whose windows are symmetric about the image's centre, whatever its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from torch import Tensor
from torch.nn import AvgPool2d, Conv2d, MaxPool2d
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

from escnn_soft.layers.geometry import per_axis

__all__ = ["CentredAvgPool2d", "CentredConv2d", "CentredLayer", "CentredMaxPool2d", "CentredSameConv2d"]

Sizes = Sequence[int]


class CentredLayer:
    """A strided layer that is averaged over the placements of its windows that the symmetries of a square exchange.

    Along an axis the windows of a plain layer end r pixels before the padded image does, r = (size + 2 padding - span)
    mod stride, so that of a mirrored image they see other pixels. Here the output is the mean of the layer's outputs
    for windows flush with one end and with the other, along both axes: four placements, one of them the plain layer's.
    Where r is 0 they are the same, and the layer is the plain one. Output sizes do not change.
    """


class CentredConv2d(CentredLayer, Conv2d):
    """A convolution with centred windows; as it is linear, the placements are averaged in its input."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        around = self._reversed_padding_repeated_twice  # left, right, top, bottom
        sizes = [size + around[i] + around[i + 1] for size, i in zip(input.shape[-2:], (2, 0), strict=True)]
        rests = [(n - span) % s for n, span, s in zip(sizes, self._spans(), self.stride, strict=True)]
        if not any(rests):
            return super()._conv_forward(input, weight, bias)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return self._averaged(pad(input, around, mode), rests, weight, bias)

    def _spans(self) -> list[int]:
        return [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]

    def _averaged(self, x: Tensor, rests: Sizes, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The mean over the placements in a padded image that is larger by ``rests`` than the windows need."""
        for axis, rest in zip((-2, -1), rests, strict=True):
            if rest:
                size = x.shape[axis] - rest
                x = (x.narrow(axis, 0, size) + x.narrow(axis, rest, size)) / 2
        return conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


class CentredSameConv2d(CentredConv2d):
    """A convolution with TensorFlow's ``SAME`` padding, which adds the odd pixel at the end, with centred windows."""

    def forward(self, input: Tensor) -> Tensor:
        """The mean of the convolutions of images padded by the odd pixel at the end, and at the beginning."""
        needed = [
            max((math.ceil(size / s) - 1) * s + span - size, 0)
            for size, s, span in zip(input.shape[-2:], self.stride, self._spans(), strict=True)
        ]
        half = [(n + 1) // 2 for n in needed]
        x = pad(input, (half[1], half[1], half[0], half[0]))
        return self._averaged(x, [2 * h - n for h, n in zip(half, needed, strict=True)], self.weight, self.bias)


class CentredMaxPool2d(CentredLayer, MaxPool2d):
    """A max-pooling with centred windows."""

    def forward(self, input: Tensor) -> Tensor:
        """The mean of the pooled images."""
        kernel, stride, padding, dilation = _axes(self.kernel_size, self.stride, self.padding, self.dilation)
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        rests = _rests(input.shape[-2:], spans, stride, padding, ceil_mode=self.ceil_mode)
        if not any(rests):
            return super().forward(input)
        return _mean(
            _placements(input, padding, rests, -math.inf), lambda x: max_pool2d(x, kernel, stride, 0, dilation)
        )


class CentredAvgPool2d(CentredLayer, AvgPool2d):
    """An average-pooling with centred windows, in which the zeros around the image count."""

    def forward(self, input: Tensor) -> Tensor:
        """The mean of the pooled images."""
        kernel, stride, padding = _axes(self.kernel_size, self.stride, self.padding)
        rests = _rests(input.shape[-2:], kernel, stride, padding, ceil_mode=False)
        if not any(rests):
            return super().forward(input)
        placed = _placements(input, padding, rests, 0.0)
        return _mean(placed, lambda x: avg_pool2d(x, kernel, stride, divisor_override=self.divisor_override))


def _axes(*values: int | Sequence[int]) -> list[tuple[int, ...]]:
    return [per_axis(value, 2) for value in values]


def _rests(sizes: Sizes, spans: Sizes, stride: Sizes, padding: Sizes, *, ceil_mode: bool) -> list[int]:
    """How many pixels the windows end before the padded image; negative where ``ceil_mode`` lets them reach out."""
    rests = []
    for size, span, s, p in zip(sizes, spans, stride, padding, strict=True):
        rest = (size + 2 * p - span) % s
        # a further window has to start inside the image or the padding before it
        reaches_out = ceil_mode and rest > 0 and size + 2 * p - span - rest + s < size + p
        rests.append(rest - s if reaches_out else rest)
    return rests


def _placements(input: Tensor, padding: Sizes, rests: Sizes, fill: float) -> Iterator[Tensor]:
    """The image, padded or cropped so that the windows fit exactly, flush with either end of both axes."""
    for starts in product(*[(0, rest) if rest else (0,) for rest in rests]):
        around = [(p - start, p - rest + start) for p, start, rest in zip(padding, starts, rests, strict=True)]
        yield pad(input, (*around[1], *around[0]), value=fill)


def _mean(placed: Iterator[Tensor], pool: Callable[[Tensor], Tensor]) -> Tensor:
    outputs = [pool(x) for x in placed]
    total = outputs[0]
    for output in outputs[1:]:
        total = total + output
    return total / len(outputs)
