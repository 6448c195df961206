"""Certificates put to the test: against brute force, against the worst input found, and against themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product

import torch
from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft._record import Record
from escnn_soft.bounds import Certificate, PixelErrors
from escnn_soft.certification import certificate as certificate_of
from escnn_soft.dial import evaluated
from escnn_soft.testing.probes import Probe, dense_kernel, kernel_error, kernel_geometry, worst_input
from escnn_soft.testing.quadrature import degree, haar_quadrature
from escnn_soft.testing.samples import exact_elements, grid_elements, random_features, rotations

__all__ = ["CertificateReport", "assert_certificate_holds"]

WEIGHT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference, relative to the norm of the weights, between certified and measured errors of the weights."""

_EXCUSE = 100
"""The rounding of an evaluation is at most this many eps, times the terms of a sum, times the norm of |W|."""

_SHAPES = 3  # of images; of volumes, which are expensive, one less
_ELEMENTS = 12


@dataclass(frozen=True)
class CertificateReport(Record):
    """What was checked, and how tight the bounds are.

    Attributes:
        level: of the certificate, ``grid`` or ``continuous``.
        tightness: the largest measured ||f(g x) - g f(x)|| divided by its bound; 1 means attained. Layers whose error
            is rounding only count with 0.
        lipschitz_tightness: the largest measured ||f(x) - f(y)|| / ||x - y|| divided by ``lipschitz``.
        checked: pairs of an element and an input shape, whose bound was measured.
        not_covered: reasons for which the certificate bounds no error of the executed layer, each once.
    """

    level: str
    tightness: float
    lipschitz_tightness: float
    checked: tuple[tuple[GroupElement, tuple[int, ...]], ...]
    not_covered: tuple[str, ...]


def assert_certificate_holds(
    layer: Module,
    x: Tensor | GeometricTensor | None = None,
    elements: list[GroupElement] | None = None,
    *,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    certificate: Certificate | None = None,
) -> CertificateReport:
    r"""Assert that a layer's certificate tells the truth about the layer as it runs.

    The matrix or kernel W is read off from the layer's outputs, not from its parameters. Then

    * weights: norm = ||W||, at(g) = ||rho_out(g) W - W rho_in(g)|| by definition, rms = its quadratic mean over the
      group (exact quadrature for Lie groups), sup >= at(g), and the same for the bias;
    * execution: ||f(g x_i) - g f(x_i)|| <= operator_at(g) ||x_i|| + bias.at(g) sqrt(pixels) + rounding for random
      inputs and for the worst one that power iteration finds, on several image sizes, wherever ``refusal`` is None;
    * ||f(x) - f(y)|| <= lipschitz ||x - y||, likewise;
    * itself: the energies add up to norm^2, at(identity) = 0, ``within`` does not decrease and bounds the error of
      rotations by its angle, rms <= sup, and ``rounding`` is not an excuse.

    Of a ``continuous`` certificate the weights are checked through its ``grid`` part, the elements that move pixels
    onto pixels; what it says of the continuous kernel under other elements is not measurable on pixels.

    Args:
        layer: anything that :func:`escnn_soft.certificate` understands, or that brings its ``certificate``.
        x: inputs to use instead of random ones; they fix the image size.
        elements: elements to measure at; by default up to twelve (six in space) that map pixels to pixels.
        in_type: type of the input of a plain torch layer.
        out_type: likewise of the output.
        certificate: the certificate to test; the layer's own if None.

    Returns:
        What was checked, and how tight the bounds are.

    Raises:
        AssertionError: if one of the statements is wrong; names it, the element, and both numbers.

    Example:
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> image = space.type(space.trivial_repr)
        >>> conv = torch.nn.Conv2d(1, 1, 3, dtype=torch.float64)
        >>> report = assert_certificate_holds(conv, in_type=image, out_type=image)
        >>> report.level, 0.5 < report.tightness <= 1.0
        ('grid', True)
    """
    probe = Probe(layer, in_type, out_type)
    if certificate is None:
        certificate = certificate_of(layer, in_type, out_type)
    space = probe.in_type.gspace
    volumes = space.dimensionality == 3
    chosen = exact_elements(space, _ELEMENTS // (2 if volumes else 1)) if elements is None else elements
    with evaluated(layer), torch.no_grad():
        kernel, bias = dense_kernel(probe), _bias(probe)
        for part, weight, name in ((certificate, kernel, "weights"), (certificate.bias, bias, "bias")):
            if part is not None:
                _check_itself(part, chosen, rotations(space), name)
                _check_weights(probe, part, weight, chosen, name)
        return _check_execution(probe, certificate, kernel, chosen, x)


def _check_itself(
    certificate: Certificate, elements: list[GroupElement], turns: list[tuple[float, GroupElement]], name: str
) -> None:
    slack = 1e-9 * certificate.norm + 1e-300
    sup, rms = certificate.sup, certificate.rms
    _claim(rms <= sup + slack, f"{name}: rms <= sup", rms, sup)
    for element in elements:
        error = certificate.at(element)
        _claim(error <= sup + slack, f"{name}: at({element}) <= sup", error, sup)
    angles = [math.pi * k / 8 for k in range(9)]
    for first, second in pairwise(certificate.within(angle) for angle in angles):
        _claim(first <= second + slack, f"{name}: within does not decrease with the angle", first, second)
    for angle, element in turns:
        error, bound = certificate.at(element), certificate.within(angle)
        _claim(error <= bound + slack, f"{name}: at({element}) <= within({angle:.3g})", error, bound)
    relative = certificate.relative.sup * certificate.norm
    _claim(abs(relative - sup) <= slack, f"{name}: relative.sup norm = sup", relative, sup)


def _check_weights(
    probe: Probe, certificate: Certificate, weight: Tensor, elements: list[GroupElement], name: str
) -> None:
    space = probe.in_type.gspace
    on_fibres = weight.dim() == 2  # matrices and biases: all elements, no pixels
    exact = certificate if certificate.level == "grid" or on_fibres else certificate.grid
    if exact is None:
        return
    in_type = probe.in_type if name == "weights" else space.type(space.trivial_repr)
    norm = float(weight.double().norm())
    slack = WEIGHT_TOLERANCE.get(probe.dtype, 1e-1) * max(norm, certificate.norm) + 1e-300
    _claim(abs(exact.norm - norm) <= slack, f"{name}: norm = ||W||", exact.norm, norm)
    if isinstance(exact, Certificate):
        energy = exact.scale * math.sqrt(sum(term.energy for term in exact.terms))
        _claim(abs(energy - norm) <= slack, f"{name}: the energies add up to ||W||^2", energy, norm)
    if isinstance(exact, PixelErrors):  # unequal strides leave out the quarter turns
        elements = [element for element in elements if element in exact.elements]
    for element in elements:
        measured = kernel_error(element, weight, in_type, probe.out_type)
        certified = exact.at(element)
        claim = f"{name}: at({element}) = ||rho_out(g) W - W rho_in(g)||"
        _claim(abs(certified - measured) <= slack, claim, certified, measured)
    if on_fibres:
        rule = haar_quadrature(space.fibergroup, degree(in_type) + degree(probe.out_type))
    else:
        grid = exact.elements if isinstance(exact, PixelErrors) else grid_elements(space)
        rule = [(element, 1.0 / len(grid)) for element in grid]
    mean = sum(w * kernel_error(element, weight, in_type, probe.out_type) ** 2 for element, w in rule)
    _claim(abs(exact.rms - math.sqrt(mean)) <= slack, f"{name}: rms over the group", exact.rms, math.sqrt(mean))


def _check_execution(
    probe: Probe,
    certificate: Certificate,
    kernel: Tensor,
    elements: list[GroupElement],
    x: Tensor | GeometricTensor | None,
) -> CertificateReport:
    tightness, lipschitz, checked, reasons = 0.0, 0.0, [], dict[str, None]()
    excuse = _EXCUSE * torch.finfo(probe.dtype).eps * kernel.numel() ** 1.5 * float(kernel.double().norm())
    single = certificate.rounding
    _claim(single <= excuse + 1e-300, "execution: rounding is of the order of eps", single, excuse)
    for inputs in _inputs(probe, certificate, elements, x):
        zero = probe(torch.zeros_like(inputs[:1]))
        pixels, still = zero[0, 0].numel(), float(zero.double().norm())
        eps = torch.finfo(probe.dtype).eps

        def rounding(norm: Tensor, still: float = still, eps: float = eps) -> Tensor:
            """Of two evaluations, of both actions and of the bias."""
            actions = (probe.in_type.size + probe.out_type.size + 8) * eps
            return (2 * certificate.rounding + actions * certificate.lipschitz) * norm + 2 * actions * still

        stretched = _with_worst(probe, inputs)
        gain = _norms(probe(stretched) - zero)
        limit = certificate.lipschitz * _norms(stretched)
        _claim_all(gain, limit + rounding(_norms(stretched)), "execution: ||f(x) - f(y)|| <= lipschitz ||x - y||")
        lipschitz = max(lipschitz, float((gain / limit.clamp_min(1e-300)).max())) if float(limit.max()) else lipschitz
        for element in elements:
            reason = certificate.refusal(element, tuple(inputs.shape))
            if reason is not None:
                reasons[reason] = None
                continue
            tried = _with_worst(partial(probe.deviation, element), inputs)
            error, norm = _norms(probe.deviation(element, tried)), _norms(tried)
            operator = certificate.operator_at(element)
            biased = certificate.bias.at(element) * math.sqrt(pixels) if certificate.bias is not None else 0.0
            limit = operator * norm + biased
            claim = f"execution: ||f(g x) - g f(x)|| <= operator_at(g) ||x|| + bias at g = {element}"
            _claim_all(error, limit + rounding(norm), f"{claim}, inputs of shape {tuple(inputs.shape)}")
            _claim(
                operator <= certificate.operator + 1e-9 * certificate.lipschitz + 1e-300,
                f"execution: operator_at({element}) <= operator", operator, certificate.operator,
            )  # fmt: skip
            significant = error > 10 * rounding(norm)
            if bool(significant.any()):
                tightness = max(tightness, float((error / limit.clamp_min(1e-300))[significant].max()))
            checked.append((element, tuple(inputs.shape)))
    _claim(bool(checked), "execution: it covers no element on any image, not even the identity", 0, 0)
    return CertificateReport(certificate.level, tightness, lipschitz, tuple(checked), tuple(reasons))


def _inputs(
    probe: Probe, certificate: Certificate, elements: list[GroupElement], x: Tensor | GeometricTensor | None
) -> list[Tensor]:
    if x is not None:
        return [x.tensor if isinstance(x, GeometricTensor) else x]
    if probe.in_type.gspace.dimensionality == 0:
        return [random_features(probe.in_type, dtype=probe.dtype).to(probe.device)]
    dims = probe.in_type.gspace.dimensionality
    geometry = kernel_geometry(probe.module, dims)
    reach = max(geometry.dilation * (geometry.size - 1) + 1, *geometry.padding)
    steps = (1, 2, 3, 4) if dims == 2 else (0, 1, 2)  # volumes are expensive
    shapes = [tuple(reach + step for step in each) for each in product(steps, repeat=dims)]
    # sizes on which most elements are covered first, and among those squares last: they hide swapped axes
    order = sorted(shapes, key=lambda s: (-_covered(probe, certificate, elements, s), len(set(s)) == 1))
    squares = [shape for shape in order if len(set(shape)) == 1]
    return [
        random_features(probe.in_type, shape, dtype=probe.dtype, seed=i).to(probe.device)
        for i, shape in enumerate([*order[: _SHAPES - dims + 1], squares[0]])
    ]


def _covered(probe: Probe, certificate: Certificate, elements: list[GroupElement], shape: tuple[int, ...]) -> int:
    return sum(certificate.refusal(g, (1, probe.in_type.size, *shape)) is None for g in elements)


def _with_worst(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    return torch.cat([inputs, worst_input(function, inputs[:1]) * inputs[:1].norm()])


def _bias(probe: Probe) -> Tensor:
    """What the layer adds at each pixel, read off from its output for zeros: a column."""
    sides = (33, 33, 9)[: probe.in_type.gspace.dimensionality]
    zero = probe(torch.zeros(1, probe.in_type.size, *sides, dtype=probe.dtype, device=probe.device))
    return zero.reshape(probe.out_type.size, -1)[:, :1]


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).double().norm(dim=1).cpu()


def _claim(holds: bool, claim: str, certified: float, measured: float) -> None:
    if not holds:
        raise AssertionError(
            f"The certificate is wrong about {claim}: {certified:.9g} and {measured:.9g}.\n"
            "Remedy: check that forward applies the weights that the certificate is computed from, with the geometry, "
            "in_type and out_type that it was given, and that no weight changed in between."
        )


def _claim_all(measured: Tensor, limit: Tensor, claim: str) -> None:
    if not bool((measured <= limit).all()):
        worst = int((measured - limit).nan_to_num(nan=math.inf).argmax())
        _claim(False, f"{claim} (measured, then the bound)", float(measured[worst]), float(limit[worst]))
