"""What breaks the action of a group on the pixels in a plain model, on images of a size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Module
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._python_dispatch import TorchDispatchMode

from escnn_soft.convert.grid.grid_breaks import GridBreak, class_name
from escnn_soft.convert.grid.raw_parameters import RawWatch
from escnn_soft.convert.grid.resampling import RESAMPLING
from escnn_soft.convert.selection import names_of
from escnn_soft.dial import SoftFilter
from escnn_soft.layers.grid.centred import CentredLayer

__all__ = ["breaks_on"]


def breaks_on(model: Module, image: Tensor, known: Iterable[str], *, raw: bool) -> tuple[tuple[GridBreak, ...], object]:
    """What breaks the action on images of a size: operations are watched while the model runs.

    Convolutions, poolings, paddings, interpolation, pixel shuffles and flattening are, as modules and as functions.
    Everything else shows in what is measured alone.

    Args:
        model: a model that takes one tensor, as it is to run.
        image: the input.  # (batch, channels, height, width)
        known: full names of tensors that are told of elsewhere.
        raw: whether parameters that act on the image without a filter are meant too.

    Returns:
        One entry an operation, in the order of the run, no module named twice for the same reason; and what the model
        returned.
    """
    watch = _Watch(RawWatch(model if raw else None, image, known))
    with _named(model, watch.modules), watch:
        returned = model(image)
    return watch.breaks, returned


@contextmanager
def _named(model: Module, running: list[tuple[str, Module]]) -> Iterator[None]:
    """Keep a list of the modules that are running, the outermost first."""
    names = names_of(model, lambda _: True, None)
    running.append(("", model))  # who has no hooks, if it is scripted
    handles = []
    for module, aliases in names.items():
        if isinstance(module, ScriptModule):  # has no hooks: what it does is told of the module around it
            continue
        entry = aliases[0], module
        handles.append(module.register_forward_pre_hook(lambda *_, entry=entry: running.append(entry)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Uneven:
    """An image that was padded by more at one end than at the other, not used yet.

    Attributes:
        image: the padded image, kept alive as long as its id is used.
        before: pixels added before the first one.  # (height, width)
        after: pixels added after the last one.  # (height, width)
        found: what it is, if nothing makes up for it.
    """

    image: Tensor
    before: tuple[int, int]
    after: tuple[int, int]
    found: GridBreak


class _Watch(TorchDispatchMode):
    """Collects the operations that break the action on the pixels."""

    def __init__(self, raw: RawWatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._raw = raw
        self.modules: list[tuple[str, Module]] = []
        self._found: list[GridBreak] = []
        self._uneven: dict[int, _Uneven] = {}

    @property
    def breaks(self) -> tuple[GridBreak, ...]:
        """What was found."""
        return tuple(
            dict.fromkeys([*self._raw.found, *self._found, *(uneven.found for uneven in self._uneven.values())])
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        names = [argument.name for argument in func._schema.arguments]
        defaults = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        arguments = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        running = [module for _, module in self.modules]
        if not any(isinstance(module, _SKIPPED) for module in running):
            if (rule := _RULES.get(func.overloadpacket)) is not None:
                rule(self, arguments, result)
            if (resampling := RESAMPLING.get(func.overloadpacket)) and (reason := resampling(arguments, result)):
                self._add(reason)
        if not any(isinstance(module, SoftFilter) for module in running):
            self._raw.follow(func, arguments, result)
        return result

    def found(self, reason: str) -> GridBreak:
        """A break by the module that is running."""
        name, module = self.modules[-1]
        return GridBreak(name, class_name(module), reason)

    def convolution(self, arguments: dict[str, Any], result: Tensor) -> None:
        """Windows of a convolution; a transposed one is symmetric, unless its output is padded at one end."""
        image, weight = arguments["input"], arguments["weight"]
        if image.ndim != 4:
            return
        if arguments["transposed"]:
            if any(arguments["output_padding"]):
                self._add(f"output_padding {tuple(arguments['output_padding'])} is added at one end")
            return
        self._windows(image, result, weight.shape[2:], arguments)

    def pooling(self, arguments: dict[str, Any], result: Tensor | tuple[Tensor, ...]) -> None:
        """Windows of a pooling."""
        image = arguments["self"]
        if image.ndim == 4:
            self._windows(
                image, result if isinstance(result, Tensor) else result[0], arguments["kernel_size"], arguments
            )

    def _windows(self, image: Tensor, result: Tensor, kernel: Sequence[int], arguments: dict[str, Any]) -> None:
        kernel = _pair(kernel)
        stride, padding = _pair(arguments["stride"] or kernel), _pair(arguments["padding"])
        dilation = _pair(arguments.get("dilation", 1))
        uneven = self._uneven.pop(id(image), None)
        before, after = ((0, 0), (0, 0)) if uneven is None else (uneven.before, uneven.after)
        overhangs = []
        for a in range(2):
            first = before[a] + padding[a]
            size = image.shape[2 + a] - before[a] - after[a]
            last = (result.shape[2 + a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 - first - size
            overhangs.append((first, last))
            if first != last:
                what = f"stride {stride[a]}" if stride[a] > 1 else f"a kernel of {kernel[a]}"
                self._add(
                    f"{what} on {_size(image, before, after)}: the windows reach {first} pixels beyond the first pixel "
                    f"and {last} beyond the last"
                )
                return
        if kernel[0] != kernel[1] or stride[0] != stride[1] or dilation[0] != dilation[1]:
            self._add(f"a kernel of {kernel[0]} x {kernel[1]} pixels in steps of {stride} differs between the axes")
        elif overhangs[0] != overhangs[1] and image.shape[2] == image.shape[3]:
            self._add(f"padding {padding} differs between the axes")

    def padding(self, arguments: dict[str, Any], result: Tensor) -> None:
        """Pixels added at the ends; a strided layer that follows may need them, so that the sum is even."""
        around = list(arguments.get("pad") or arguments["padding"])
        if result.ndim != 4 or len(around) > 4:
            return
        left, right, top, bottom = (*around, 0, 0)[:4]
        earlier = self._uneven.pop(id(arguments["self"]), None)
        before, after = (top, left), (bottom, right)
        if earlier is not None:
            before = (before[0] + earlier.before[0], before[1] + earlier.before[1])
            after = (after[0] + earlier.after[0], after[1] + earlier.after[1])
        if before != after:
            reason = f"padding {before} before and {after} after the image (height, width)"
            self._uneven[id(result)] = _Uneven(result, before, after, self.found(reason))

    def flattening(self, arguments: dict[str, Any], result: Tensor) -> None:
        """Positions that become channels are told apart by what follows."""
        image = arguments["self"]
        rows = image.ndim == 4 and result.shape == (image.shape[0], image.shape[1:].numel())
        if rows and image.shape[2:].numel() > 1 and self._raw.is_image(image):
            self._add(f"flattens {_size(image)} positions into channels: what follows tells them apart")

    def shuffling(self, arguments: dict[str, Any], result: Tensor) -> None:
        """Channels that become positions, or the other way round."""
        self._add(f"exchanges channels and positions, {_size(arguments['self'])} to {_size(result)}")

    def _add(self, reason: str) -> None:
        self._found.append(self.found(reason))


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] * 2 if isinstance(value, int) else list(value) * (2 if len(value) == 1 else 1)
    return values[0], values[1]


def _size(image: Tensor, before: Sequence[int] = (0, 0), after: Sequence[int] = (0, 0)) -> str:
    return " x ".join(str(image.shape[2 + a] - before[a] - after[a]) for a in range(2))


_SKIPPED = (CentredLayer, ParametrizationList)
"""Modules whose operations are known to be symmetric, or act on no image."""

_aten = torch.ops.aten

_RULES: dict[Any, Callable[[_Watch, dict[str, Any], Any], None]] = {
    _aten.convolution: _Watch.convolution,
    _aten.max_pool2d_with_indices: _Watch.pooling,
    _aten.avg_pool2d: _Watch.pooling,
    _aten.constant_pad_nd: _Watch.padding,
    _aten.reflection_pad2d: _Watch.padding,
    _aten.replication_pad2d: _Watch.padding,
    _aten.pixel_shuffle: _Watch.shuffling,
    _aten.pixel_unshuffle: _Watch.shuffling,
    _aten.view: _Watch.flattening,
    _aten._unsafe_view: _Watch.flattening,
}
"""What is known of torch's operations, beside resampling. What nobody knows of shows in what is measured."""
