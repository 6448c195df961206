"""Where an equivariance error sits, and what usually causes an error that sits there."""

from __future__ import annotations

import torch
from escnn.group import GroupElement
from escnn.nn import EquivariantModule, FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.layers import SoftLayer
from escnn_soft.testing.probes import Probe

__all__ = ["describe", "first_offender", "remedy"]

_ROUNDING = 1e-9
"""Share of a layer's energy that breaks the symmetry by rounding alone."""

_ALIKE = 1e-3
"""Relative spread below which an error counts as the same at every pixel."""


def describe(first: Tensor, second: Tensor, out_type: FieldType) -> str:
    """One sentence: channel, field and pixel of the largest deviation, and both values there."""
    difference = (first - second).abs().nan_to_num(nan=torch.inf)
    place = [int(i) for i in torch.unravel_index(difference.argmax(), difference.shape)]
    channel, pixel = place[0], tuple(place[1:])
    words = f"Largest deviation: channel {channel} ({_field(channel, out_type)})"
    if pixel:
        words += f", pixel {pixel} of {tuple(first.shape[1:])}, {_border_share(difference)}"
    return f"{words}: f(g x) = {first[tuple(place)]:.6g}, g f(x) = {second[tuple(place)]:.6g}."


def first_offender(probe: Probe, element: GroupElement, x: Tensor, tolerance: float) -> str:
    """A line on the first layer that is not equivariant by itself, on the features that reach it; empty if none."""
    seen: list[tuple[str, EquivariantModule, Tensor]] = []
    handles = [
        part.register_forward_hook(
            lambda layer, inputs, _, name=name: (
                seen.append((name, layer, inputs[0].tensor)) if isinstance(inputs[0], GeometricTensor) else None
            )
        )
        for name, part in probe.module.named_modules()
        if name
        and isinstance(part, EquivariantModule)
        and not any(isinstance(c, EquivariantModule) for c in part.children())
    ]
    try:
        probe(x)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer, features in seen:
        part = Probe(layer)
        moved, expected = part(part.transform_input(element, features)), part.transform_output(element, part(features))
        words = f"First layer that is not equivariant by itself: {name} ({type(layer).__name__})"
        shape = tuple(features.shape[2:])
        if moved.shape != expected.shape:
            return f"{words}, whose output on {shape} pixels has another shape after the transformation.\n"
        error, scale = float((moved - expected).norm()), float(expected.norm())
        if not error <= tolerance * scale:
            relative = error / scale if scale else float("inf")
            return f"{words}, relative error {relative:.3g}{f' on {shape} pixels' if shape else ''}.\n"
    return ""


def remedy(module: Module, difference: Tensor) -> str:
    """A sentence on what to look at first, from where the error sits and from which layers are soft."""
    soft = [
        f"{name or 'the layer'} ({type(part).__name__}, softness={part.softness})"
        for name, part in module.named_modules()
        if isinstance(part, SoftLayer) and _breaks(part)
    ]
    if not bool(difference.isfinite().all()):
        return "Remedy: the output is not finite; look for overflow before looking for symmetry."
    if soft:
        return (
            f"Remedy: these layers are soft and their weights break the symmetry: {', '.join(soft)}. Set softness to "
            "0, or bound the error instead: assert_error_within, assert_certificate_holds."
        )
    if difference.dim() == 1:
        return "Remedy: check that the weights commute with the representations, and that the bias is invariant."
    mean = difference.flatten(1).mean(dim=1)
    spread = difference.flatten(1) - mean[:, None]
    if float(spread.abs().max()) <= _ALIKE * float(mean.abs().max()):
        return "Remedy: the error is the same at every pixel, as that of a bias that is not invariant under the group."
    if _border_fraction(difference) > 0.9:
        return "Remedy: the error sits on the border; check the padding, which must be the same on all sides."
    return (
        "Remedy: check that every stride keeps the centre ((size + 2 padding - kernel) % stride == 0"
        " for the convolution and pooling layers), that pointwise non-linearities act on regular or trivial fields "
        "only, and that the weights commute with the representations."
    )


def _breaks(layer: SoftLayer) -> bool:
    spectrum = layer.spectrum()
    return spectrum.breaking > _ROUNDING * spectrum.energy


def _field(channel: int, out_type: FieldType) -> str:
    start = 0
    for i, rho in enumerate(out_type.representations):
        if channel < start + rho.size:
            return f"component {channel - start} of field {i}, {rho.name}"
        start += rho.size
    return "beyond the fields of out_type"


def _border_fraction(difference: Tensor) -> float:
    """Share of the squared error in the outermost ring of pixels."""
    squared = difference.square()
    total = float(squared.sum())
    inner = squared[..., 1:-1, 1:-1]
    return 1.0 - float(inner.sum()) / total if total > 0 and inner.numel() else 0.0


def _border_share(difference: Tensor) -> str:
    if difference.dim() != 3 or not bool(difference.isfinite().all()):
        return "not finite"
    return f"{100 * _border_fraction(difference):.0f} % of the squared error on the border"
