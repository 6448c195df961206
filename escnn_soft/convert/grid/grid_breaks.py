"""What may break the action of a group on the pixels in a plain model, from its modules alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch.jit import ScriptModule
from torch.nn import AvgPool2d, Conv2d, ConvTranspose2d, Flatten, MaxPool2d, Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._record import Record
from escnn_soft.convert.plain.plain_convolutions import plain_layers
from escnn_soft.convert.selection import names_of
from escnn_soft.layers.geometry import per_axis
from escnn_soft.layers.grid.centred import CentredLayer

__all__ = ["GridBreak", "class_name", "possible_breaks", "unfiltered"]


@dataclass(frozen=True)
class GridBreak(Record):
    """An operation that treats the two ends of an axis, or the two axes, of an image differently.

    Attributes:
        name: qualified name of the module that does it; of a shared module, the first.
        kind: name of the module's class.
        reason: what it does, and on which sizes.
    """

    name: str
    kind: str
    reason: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The break in words."""
        return self.name or "(root)", self.kind, self.reason


def possible_breaks(model: Module) -> tuple[GridBreak, ...]:
    """What may break the action on some sizes, from the arguments of torch's own modules alone."""
    layers = names_of(model, lambda module: _possible(module) is not None, None)
    return tuple(GridBreak(names[0], class_name(module), str(_possible(module))) for module, names in layers.items())


def unfiltered(model: Module) -> tuple[GridBreak, ...]:
    """The plain convolutions of more than one pixel that go through no filter."""
    return tuple(
        GridBreak(names[0], class_name(layer), "its kernel has no filter")
        for layer, names in plain_layers(model, None).items()
    )


def _possible(module: Module) -> str | None:
    if isinstance(module, Flatten) and module.start_dim == 1:
        return "tells positions apart, unless it flattens single pixels"
    if isinstance(module, CentredLayer):
        return None
    if isinstance(module, ConvTranspose2d):
        extra = max(per_axis(module.output_padding, 2))
        return f"output_padding {module.output_padding} is added at one end" if extra else None
    if not isinstance(module, Conv2d | MaxPool2d | AvgPool2d):
        return None
    stride = per_axis(module.stride, 2)
    if max(stride) > 1 and _plain_class(module) not in (Conv2d, MaxPool2d, AvgPool2d):
        return f"stride {stride[0]} may be off-centre: pass input_shape to see"
    dilation = per_axis(getattr(module, "dilation", 1), 2)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, per_axis(module.kernel_size, 2), strict=True)]
    if module.padding == "same":
        uneven = any((span - 1) % 2 for span in spans)
        return f"padding 'same' of a kernel of {max(spans)} pixels is uneven" if uneven else None
    padding = (0, 0) if module.padding == "valid" else per_axis(module.padding, 2)  # type: ignore[arg-type]
    if max(stride) == 1:
        return None
    ((span, s, p), *others) = zip(spans, stride, padding, strict=True)
    if any(other != (span, s, p) for other in others):
        return f"stride {stride}, padding {padding} and kernel differ between the axes"
    rest = (span - 2 * p) % s
    sizes = f"sizes that leave {rest} when divided by {s}" if rest else f"multiples of {s}"
    return f"stride {s} is off-centre, except on {sizes}"


def _plain_class(module: Module) -> type:
    """A module's class before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def class_name(module: Module) -> str:
    """Name of a module's class, before it was parametrized or scripted."""
    return str(module.original_name) if isinstance(module, ScriptModule) else _plain_class(module).__name__
