"""Assertions about a module's equivariance, measured on inputs, and exact: no image is ever resampled."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import evaluated
from escnn_soft.errors import ArgumentError, ShapeError
from escnn_soft.testing.diagnosis import describe, first_offender, remedy
from escnn_soft.testing.probes import Probe
from escnn_soft.testing.samples import exact_elements, random_features

__all__ = ["TOLERANCE", "assert_equivariant", "assert_error_within"]

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 1e-1, torch.float16: 1e-2}
"""Largest relative error that is put down to rounding; in double precision escnn's basis keeps that of float32."""

_SIDES = (17, 21)
"""Odd, not square, and one above a multiple of four: strided layers with the usual padding stay centred."""


def assert_equivariant(
    module: Module,
    x: Tensor | GeometricTensor | None = None,
    elements: Iterable[GroupElement] | None = None,
    *,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> float:
    r"""Assert that f(g x) = g f(x) for every element and every sample.

        ||f(T_in(g) x_i) - T_out(g) f(x_i)|| <= atol + rtol ||f(x_i)||        for each sample i, Euclidean norms

    The module is run in evaluation mode, without gradients, and gets its modes back. Images are moved pixel by pixel,
    so only elements that map the pixel grid to itself can be checked; escnn's ``check_equivariance`` interpolates.

    Args:
        module: an escnn module, or a plain one from tensors to tensors, then with both types.
        x: the inputs; two random samples if None, of 17 x 21 pixels on the plane.
        elements: elements to check; by default all that map pixels to pixels, and without a base space all elements
            of a finite group or a few dozen of a Lie group.
        in_type: type of the input, if the module does not know it.
        out_type: type of the output, likewise; class scores are trivial fields.
        rtol: relative tolerance; by default ``TOLERANCE`` of the input's dtype.
        atol: absolute tolerance, for outputs that cancel; by default 64 eps times what they cancel from: the largest
            root mean square of any submodule's output, at each output, plus ||x_i|| times the gain for white noise.

    Returns:
        The largest relative error ||f(g x_i) - g f(x_i)|| / ||f(x_i)||, counting as 0 what is below ``atol``.

    Raises:
        AssertionError: if the module is not equivariant; names the element, the error, where it sits and a remedy.
        ArgumentError: if a type is missing.
        GridActionError: if an element does not map the pixel grid to itself.

    Example:
        >>> from escnn import gspaces, nn
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> assert_equivariant(nn.R2Conv(image, hidden, kernel_size=3)) < 1e-5
        True
        >>> plain = torch.nn.Conv2d(1, 4, kernel_size=3)
        >>> assert_equivariant(plain, in_type=image, out_type=hidden)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        AssertionError: Conv2d is not equivariant ...
    """
    probe = Probe(module, in_type, out_type)
    worst = 0.0
    with evaluated(module), torch.no_grad():
        inputs = _inputs(probe, x)
        tolerance = _tolerance(inputs.dtype) if rtol is None else rtol
        floor = _rounding(probe, inputs) if atol is None else torch.full((len(inputs),), atol, dtype=torch.float64)
        for element in _elements(probe, elements):
            first, second = _both_sides(probe, element, inputs)
            difference = first - second
            errors, scales = _norms(difference), _norms(second)
            holds = errors.isfinite() & (errors <= floor + tolerance * scales)  # NaN and overflow fail as well
            if not bool(holds.all()):
                sample = int((errors - tolerance * scales).nan_to_num(nan=torch.inf).argmax())
                error, scale = float(errors[sample]), float(scales[sample])
                raise AssertionError(
                    f"{type(module).__name__} is not equivariant under {element} of {probe.in_type.fibergroup}: "
                    f"||f(g x) - g f(x)|| = {error:.3g} on ||f(x)|| = {scale:.3g} (sample {sample}), relative error "
                    f"{error / scale if scale else torch.inf:.3g} > rtol={tolerance:g}.\n"
                    f"{describe(first[sample], second[sample], probe.out_type)}\n"
                    f"{first_offender(probe, element, inputs, tolerance)}"
                    f"{remedy(module, difference[sample])}"
                )
            relative = errors / scales.clamp_min(torch.finfo(scales.dtype).tiny)
            worst = max(worst, float(torch.where(errors > floor, relative, 0.0).max()))
    return worst


def assert_error_within(
    module: Module,
    x: Tensor | GeometricTensor,
    bound: float | Tensor,
    elements: Iterable[GroupElement] | None = None,
    *,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    rtol: float | None = None,
) -> float:
    r"""Assert an absolute bound on the equivariance error on given inputs: what the ``bound`` of ``certify`` promises.

        ||f(T_in(g) x_i) - T_out(g) f(x_i)||  <=  bound + rtol ||f(x_i)||        for each sample i

    The norm is Euclidean, over the channels and pixels of one sample, as in ``certify``; a number bounds every sample.
    rtol ||f(x_i)|| stands for rounding only.

    Args:
        module: as in :func:`assert_equivariant`.
        x: the inputs.
        bound: in the units of the output, not a relative error.  # shape: () or (batch,)
        elements: as in :func:`assert_equivariant`.
        in_type: type of the input, if the module does not know it.
        out_type: type of the output, likewise.
        rtol: allowance for rounding; by default ``TOLERANCE`` of the input's dtype.

    Returns:
        The largest error found, divided by the bound: 1 means that the bound is attained; 0 if both are 0.

    Raises:
        AssertionError: if the error exceeds the bound.
        ArgumentError: if the bound is negative or not a number.
        ShapeError: if the bound has neither no entry nor one a sample.

    Example:
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> image = space.type(space.trivial_repr)
        >>> mean = torch.nn.AvgPool2d(3)
        >>> assert_error_within(mean, torch.ones(1, 1, 9, 9), 0.0, in_type=image, out_type=image)
        0.0
    """
    probe = Probe(module, in_type, out_type)
    limit = torch.as_tensor(bound, dtype=torch.float64).detach().cpu()
    if not bool((limit >= 0).all()):
        raise ArgumentError("bound", bound, "a number >= 0 or a tensor of such", "Pass certify(model, x).bound.")
    worst = 0.0
    with evaluated(module), torch.no_grad():
        inputs = _inputs(probe, x)
        if limit.dim() and limit.shape != inputs.shape[:1]:
            remedy = "Pass one number for the whole batch, or one a sample."
            raise ShapeError("bound.shape", tuple(limit.shape), f"() or ({len(inputs)},)", remedy)
        tolerance = _tolerance(inputs.dtype) if rtol is None else rtol
        for element in _elements(probe, elements):
            first, second = _both_sides(probe, element, inputs)
            errors, scales = _norms(first - second), _norms(second)
            if not bool((errors.isfinite() & (errors <= limit + tolerance * scales)).all()):
                i = int((errors - limit).nan_to_num(nan=torch.inf).argmax())
                error, allowed = float(errors[i]), float(limit.expand(len(inputs))[i])
                raise AssertionError(
                    f"The error of {type(module).__name__} under {element} of {probe.in_type.fibergroup} exceeds its "
                    f"bound: ||f(g x) - g f(x)|| = {error:.6g} > {allowed:.6g} on sample {i} (inputs of shape "
                    f"{tuple(inputs.shape)}, ||f(x)|| = {float(scales[i]):.3g}).\n"
                    "Remedy: check that the bound is absolute (a relative one times the input's norm), and that it "
                    "is that of these inputs, of evaluation mode, and of the weights as they are now."
                )
            ratio = torch.where(errors > tolerance * scales, errors / limit.clamp_min(1e-300), errors.new_zeros(()))
            worst = max(worst, float(ratio.max()))
    return worst


def _inputs(probe: Probe, x: Tensor | GeometricTensor | None) -> Tensor:
    if x is None:
        sides = _SIDES[: probe.in_type.gspace.dimensionality]
        return random_features(probe.in_type, sides, dtype=probe.dtype).to(probe.device)
    tensor = x.tensor if isinstance(x, GeometricTensor) else x
    if not isinstance(tensor, Tensor) or tensor.dim() < 2 or tensor.shape[1] != probe.in_type.size:
        got = tuple(tensor.shape) if isinstance(tensor, Tensor) else tensor
        raise ShapeError("x", got, f"(batch, {probe.in_type.size}, ...)", "Pass inputs of the module's in_type.")
    return tensor


def _elements(probe: Probe, elements: Iterable[GroupElement] | None) -> list[GroupElement]:
    chosen = exact_elements(probe.in_type.gspace) if elements is None else list(elements)
    if not chosen:
        raise ArgumentError("elements", chosen, "at least one element", "Leave it out to check all that can be.")
    return chosen


def _rounding(probe: Probe, inputs: Tensor) -> Tensor:
    """What rounding leaves where outputs cancel, for each sample; 0 if something is not finite."""
    largest: list[float] = []

    def record(module: Module, args: object, output: object) -> None:
        tensor = output.tensor if isinstance(output, GeometricTensor) else output
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
            largest.append(float(tensor.double().square().mean().sqrt()))

    handles = [module.register_forward_hook(record) for module in probe.module.modules()]
    try:
        noise = torch.randn(inputs[:1].shape, generator=torch.Generator().manual_seed(0)).to(inputs)
        change = probe(noise).double() - probe(torch.zeros_like(noise)).double()
        largest.clear()
        outputs = probe(inputs)[0].numel()
    finally:
        for handle in handles:
            handle.remove()
    typical = max(largest, default=0.0) * outputs**0.5
    floor = (
        64
        * torch.finfo(inputs.dtype).eps
        * (typical + change.norm().cpu() / noise.double().norm().cpu() * _norms(inputs))
    )
    return floor if bool(floor.isfinite().all()) else torch.zeros_like(floor)


def _tolerance(dtype: torch.dtype) -> float:
    return TOLERANCE.get(dtype, TOLERANCE[torch.float32])


def _both_sides(probe: Probe, element: GroupElement, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(g x) and g f(x), in double precision."""
    first = probe(probe.transform_input(element, x))
    second = probe.transform_output(element, probe(x))
    if first.shape != second.shape:
        raise AssertionError(
            f"{type(probe.module).__name__} is not equivariant under {element}: f(g x) has shape {tuple(first.shape)}, "
            f"g f(x) has {tuple(second.shape)}, for an input of shape {tuple(x.shape)}.\n"
            "Remedy: use the same stride and padding on both axes, so that a quarter turn of a non-square image swaps "
            "height and width of the output."
        )
    return first.double(), second.double()


def _norms(x: Tensor) -> Tensor:
    return x.double().flatten(1).norm(dim=1).cpu()
