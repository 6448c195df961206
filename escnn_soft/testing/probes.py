"""What a module does, found by running it: its action on fields, its dense kernel, its worst input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.utils import _ntuple

from escnn_soft.errors import ArgumentError, FieldTypeError
from escnn_soft.functions import act, act_on_fibres

__all__ = ["Probe", "dense_kernel", "kernel_error", "kernel_geometry", "move_kernels", "worst_input"]


class Probe:
    """A module as a function of plain tensors, with the action of the group on both sides.

    Args:
        module: an escnn module, or a plain one that maps tensors to tensors.
        in_type: type of its input; the module's own if None.
        out_type: type of its output; the module's own if None.

    Raises:
        ArgumentError: if a type is neither given nor known, or the types have different groups.
    """

    def __init__(self, module: Module, in_type: FieldType | None = None, out_type: FieldType | None = None) -> None:
        if not isinstance(module, Module):
            raise ArgumentError("module", module, "a torch.nn.Module", "Wrap a function in a Module's forward.")
        self.module = module
        self.wrapped = isinstance(getattr(module, "in_type", None), FieldType)
        self.in_type, self.out_type = (
            _given_or_own(module, name, value) for name, value in (("in_type", in_type), ("out_type", out_type))
        )
        if self.in_type.fibergroup != self.out_type.fibergroup:
            remedy = "Restrict the input to the subgroup that the module ends with, and pass in_type."
            raise FieldTypeError("out_type", self.out_type, f"a type of the group {self.in_type.fibergroup}", remedy)
        tensor = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
        self.dtype = torch.get_default_dtype() if tensor is None else tensor.dtype
        self.device = torch.device("cpu") if tensor is None else tensor.device

    def __call__(self, x: Tensor) -> Tensor:
        """The module's output for a plain tensor, which a module that writes in place leaves alone."""
        x = x.clone()
        y = self.module(GeometricTensor(x, self.in_type) if self.wrapped else x)
        return y.tensor if isinstance(y, GeometricTensor) else y

    def transform_input(self, element: GroupElement, x: Tensor) -> Tensor:
        """T_in(g) x, exactly."""
        return _transform(element, x, self.in_type)

    def transform_output(self, element: GroupElement, y: Tensor) -> Tensor:
        """T_out(g) y, exactly; features without spatial axes are mixed by the representation alone."""
        return _transform(element, y, self.out_type)

    def deviation(self, element: GroupElement, x: Tensor) -> Tensor:
        """f(T_in(g) x) - T_out(g) f(x); both sides must have the same shape."""
        return self(self.transform_input(element, x)) - self.transform_output(element, self(x))


def _given_or_own(module: Module, name: str, value: FieldType | None) -> FieldType:
    field_type = getattr(module, name, None) if value is None else value
    if not isinstance(field_type, FieldType):
        remedy = f"Pass {name}=gspace.type(...); class scores are a type of trivial fields, one a class."
        raise ArgumentError(name, field_type, f"a FieldType, as {type(module).__name__} has none of its own", remedy)
    return field_type


def _transform(element: GroupElement, x: Tensor, field_type: FieldType) -> Tensor:
    if x.dim() == 2:
        return act_on_fibres(element, x, field_type)
    return act(element, GeometricTensor(x, field_type)).tensor


def dense_kernel(probe: Probe) -> Tensor:
    """The matrix or kernel that a layer applies, read off from its outputs for single ones; groups filled with zeros.

    Nothing is asked of the layer but its geometry (``kernel_size``, ``stride``, ``padding``, ``dilation``), so this
    is independent of how it expands its parameters.

    Args:
        probe: of a linear layer, or of a convolution, transposed or not, that is affine in its input.

    Returns:
        In the layer's dtype.  # shape: (out, in) or (out, in, kernel, ...)
    """
    channels = probe.in_type.size
    ones = torch.eye(channels, dtype=probe.dtype, device=probe.device)
    if probe.in_type.gspace.dimensionality == 0:
        return (probe(ones) - probe(torch.zeros_like(ones))).T.detach()
    geometry = kernel_geometry(probe.module, probe.in_type.gspace.dimensionality)
    size, stride, padding, dilation = geometry.size, geometry.stride, geometry.padding, geometry.dilation
    reach, dims = dilation * (size - 1) + 1, len(stride)
    if geometry.transposed:
        # One input pixel far enough from the border for all of its kernel to be seen: tap t lands on q s + d t - p.
        source = [-(-(p + reach) // s) for s, p in zip(stride, padding, strict=True)]
        sides = [2 * q + reach for q in source]
        target = [q * s - p for q, s, p in zip(source, stride, padding, strict=True)]
    else:
        # One output pixel far enough from the border to see no padding: q s + d t - p lies inside for every tap t.
        target = [-(-p // s) + reach for s, p in zip(stride, padding, strict=True)]
        sides = [q * s + reach + reach * s for q, s in zip(target, stride, strict=True)]
        source = [q * s - p for q, s, p in zip(target, stride, padding, strict=True)]
    zero = torch.zeros(1, channels, *sides, dtype=probe.dtype, device=probe.device)
    at_rest = probe(zero)
    kernel = torch.zeros(probe.out_type.size, channels, *[size] * dims, dtype=probe.dtype, device=probe.device)
    for tap in product(range(size), repeat=dims):
        shift = [dilation * t for t in tap]
        pixel = [q + (0 if geometry.transposed else d) for q, d in zip(source, shift, strict=True)]
        seen = [q + (d if geometry.transposed else 0) for q, d in zip(target, shift, strict=True)]
        x = zero.repeat(channels, *[1] * (dims + 1))
        _at(x, pixel).copy_(ones)
        _at(kernel, tap).copy_((_at(probe(x), seen) - _at(at_rest, seen)).T)
    return kernel.detach()


def _at(x: Tensor, place: Sequence[int]) -> Tensor:
    """The channels at one place, a view, (n, channels)."""
    for index in reversed(place):
        x = x[..., index]
    return x


@dataclass(frozen=True)
class KernelGeometry:
    """How the kernel of a convolution moves: its size along each axis, and per axis stride, padding, output padding."""

    size: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: int
    transposed: bool
    output_padding: tuple[int, ...]


def kernel_geometry(module: Any, dims: int) -> KernelGeometry:
    """The geometry of a convolution with equal sides."""
    transposed = module.transposed if isinstance(module, _ConvNd) else hasattr(module, "output_padding")
    each = _ntuple(dims)
    size, dilation = each(module.kernel_size)[0], each(module.dilation)[0]
    padding = {"valid": 0, "same": dilation * (size - 1) // 2}.get(module.padding, module.padding)
    extra = each(module.output_padding if transposed else 0)
    return KernelGeometry(size, each(module.stride), each(padding), dilation, transposed, extra)


def kernel_error(element: GroupElement, kernel: Tensor, in_type: FieldType, out_type: FieldType) -> float:
    """||rho_out(g) K(g^-1 x) - K(x) rho_in(g)||_F by definition, in double precision, one pixel after the other.

    Args:
        element: any element without a base space, else one that maps pixels to pixels.
        kernel: matrix or kernel.  # shape: (out, in) or (out, in, kernel, ...)
        in_type: type of the input.
        out_type: type of the output.

    Returns:
        The error.
    """
    K = kernel.double().cpu()
    rho_in, rho_out = in_type.representation(element), out_type.representation(element)
    if K.ndim == 2:
        return float(np.linalg.norm(rho_out @ K.numpy() - K.numpy() @ rho_in))
    inverse = in_type.gspace.basespace_action(~element)
    half, dims, squared = (K.shape[-1] - 1) / 2, K.ndim - 2, 0.0
    signs = np.array([1, -1, -1][:dims])  # x runs along the last axis, y and z against the others
    for place in product(range(K.shape[-1]), repeat=dims):
        point = signs * (np.array(place[::-1]) - half)
        image = np.rint(signs * (inverse @ point) + half).astype(int)[::-1]
        source, target = _at(K, image).numpy(), _at(K, place).numpy()
        squared += float(np.linalg.norm(rho_out @ source - target @ rho_in) ** 2)
    return squared**0.5


def move_kernels(element: GroupElement, kernels: Tensor, in_type: FieldType, out_type: FieldType) -> Tensor:
    """rho_out(g) K(g^-1 x) rho_in(g)^-1, both orthogonal, for many matrices or kernels (n, out, in, ...) at once."""
    rho_out, rho_in = (torch.from_numpy(t.representation(element)).to(kernels) for t in (out_type, in_type))
    moved = torch.einsum("ab,nbc...,dc->nad...", rho_out, kernels, rho_in)  # the transpose is the inverse
    if kernels.dim() == 3:
        return moved
    scalar = in_type.gspace.type(in_type.gspace.trivial_repr)
    pixels = GeometricTensor(moved.flatten(0, 2)[:, None], scalar)
    return act(element, pixels).tensor.reshape(kernels.shape)


def worst_input(function: Callable[[Tensor], Tensor], x: Tensor, steps: int = 20) -> Tensor:
    """An input on which a function that is affine is nearly as large as it gets, by power iteration on D^T D.

    Args:
        function: D, up to a constant, differentiable.
        x: where to start.  # shape: (1, ...)
        steps: number of iterations.

    Returns:
        The input, of norm 1; of any norm where the linear part vanishes.
    """
    for _ in range(steps):
        x = (x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)).detach().requires_grad_()
        with torch.enable_grad():
            # the gradient of ||D x||^2 / 2 of the linear part alone: D^T (D(x) - D(0))
            residual = function(x) - function(torch.zeros_like(x))
            (gradient,) = torch.autograd.grad(residual.square().sum() / 2, x, allow_unused=True)
        if gradient is None or not gradient.any():
            break
        x = gradient
    return (x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)).detach()
