"""The claims of the certificates that there are: of a layer, of a matrix between representations, of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.certification import NetworkCertificate
from escnn_soft.certification.network_certificate import EVERY
from escnn_soft.errors import ArgumentError
from escnn_soft.groups import fibre_group
from escnn_soft.testing.claims import Claim, norms, repeated
from escnn_soft.testing.probes import Probe, kernel_geometry
from escnn_soft.testing.samples import exact_elements

__all__ = ["layer_claim", "matrix_claim", "network_claim"]

_ELEMENTS = 12
_SIDES = {2: range(19, 23), 3: range(5, 8)}
"""Of images and volumes that are searched where none are given, beyond the reach of the kernel."""

_ABOVE_BIAS = 10.0
"""What a layer makes of inputs is to be so many times its bias: next to that any error would seem small."""

Types = tuple[FieldType | None, FieldType | None]


def layer_claim(
    layer: Module,
    certificate: Certificate,
    x: Tensor | GeometricTensor | None,
    types: Types,
    elements: Sequence[Any] | None,
) -> Claim:
    """That of a layer's certificate, for inputs of norm 1, or larger where its bias is."""
    probe = Probe(layer, *types)
    space = probe.in_type.gspace
    chosen = exact_elements(space, _ELEMENTS) if elements is None else list(elements)
    shape = _shape(probe, certificate, chosen) if x is None else tuple(_tensor(x).shape)
    reasons = {g: certificate.refusal(g, shape) for g in chosen}
    covered = tuple(g for g in chosen if reasons[g] is None)
    if not covered or (elements is not None and len(covered) < len(chosen)):
        reason = next(reason for reason in reasons.values() if reason is not None)
        expected = f"elements that the certificate covers on inputs of shape {shape}"
        raise ArgumentError("elements", [str(g) for g in chosen], expected, f"Pass others, or another x: {reason}.")
    centre = torch.zeros(1, *shape[1:], dtype=probe.dtype, device=probe.device)
    with torch.no_grad():
        still = probe(centre)
    pixels, height = still[0, 0].numel(), float(still.double().norm())
    actions = (probe.in_type.size + probe.out_type.size + 8) * torch.finfo(probe.dtype).eps

    def rounding(length: Tensor) -> Tensor:
        """Of two evaluations, of both actions and of the bias."""
        return (2 * certificate.rounding + actions * certificate.lipschitz) * length + 2 * actions * height

    @cache
    def parts(element: Any) -> tuple[float, float]:
        biased = 0.0 if certificate.bias is None else certificate.bias.at(element) * math.sqrt(pixels)
        return min(certificate.operator_at(element), certificate.operator), biased

    def limit(element: Any, y: Tensor) -> Tensor:
        operator, biased = parts(element)
        return operator * norms(y) + biased + rounding(norms(y))

    everywhere = elements is None and space.dimensionality == 0 and space.fibergroup.elements is None
    return Claim(
        run=probe,
        before=probe.transform_input,
        after=probe.transform_output,
        limit=limit,
        centre=centre,
        radius=_radius(height, certificate.lipschitz),
        elements=covered,
        group=fibre_group(space) if everywhere else None,
        lipschitz=certificate.lipschitz,
        allowance=lambda y, *_: rounding(norms(y)),
    )


def matrix_claim(layer: Module, certificate: MatrixCertificate, elements: Sequence[Any] | None) -> Claim:
    """That of the certificate of a map between representations of a matrix group, on inputs of likewise norms."""
    into: Any = certificate.in_representation
    out: Any = certificate.out_representation
    if elements is None:
        generator = torch.Generator().manual_seed(0)
        elements = [into.group.sample(generator) for _ in range(_ELEMENTS)]
    weight = next(layer.parameters())
    unit = 2 * (into.size + out.size + 8) * torch.finfo(weight.dtype).eps

    height = 0.0 if certificate.bias is None else certificate.bias.norm

    @cache
    def moves(element: Any) -> tuple[Tensor, Tensor]:
        return into.matrix(element), out.matrix(element)

    @cache
    def parts(element: Any) -> tuple[float, float, float]:
        biased = 0.0 if certificate.bias is None else certificate.bias.at(element)
        rounding = unit * (1 + sum(float(matrix.norm()) for matrix in moves(element)))
        return certificate.operator_at(element) + rounding * certificate.norm, biased, rounding * height

    def limit(element: Any, y: Tensor) -> Tensor:
        operator, biased, rounding = parts(element)
        return operator * norms(y) + biased + rounding

    return Claim(
        run=layer,
        before=lambda g, y: y @ moves(g)[0].to(y).mT,
        after=lambda g, y: y @ moves(g)[1].to(y).mT,
        limit=limit,
        centre=torch.zeros(1, into.size, dtype=weight.dtype, device=weight.device),
        radius=_radius(height, certificate.norm),
        elements=tuple(elements),
        group=None,
        lipschitz=None,
        allowance=lambda y, *_: torch.zeros_like(norms(y)),
    )


def network_claim(
    model: Module,
    certificate: NetworkCertificate,
    x: Tensor | GeometricTensor,
    types: Types,
    elements: Sequence[Any] | None,
) -> Claim:
    """That of a network's certificate, for the inputs around the one that it was made for."""
    in_type = x.type if isinstance(x, GeometricTensor) else types[0] or getattr(model, "in_type", None)
    plain, centre = not isinstance(x, GeometricTensor), _tensor(x).detach().clone()

    def evaluated(y: Tensor) -> Any:
        return model(y.clone() if plain else GeometricTensor(y.clone(), in_type))

    with torch.no_grad():
        still = evaluated(centre)
    _check_norms(certificate, _tensor(still))
    out_type = types[1] or (still.type if isinstance(still, GeometricTensor) else getattr(model, "out_type", None))
    invariant = out_type is None and certificate.output == "invariant"
    probe = Probe(model, in_type, in_type if invariant else out_type)
    names = list(certificate.covered)
    chosen: tuple[Any, ...] = tuple(g for g in names if g != EVERY) if elements is None else tuple(elements)
    for element in chosen:
        if element.group != probe.in_type.fibergroup or not math.isfinite(certificate.at(element)):
            remedy = f"Covered are {', '.join(' '.join(str(g).split()) for g in names)}."
            raise ArgumentError("elements", str(element), "elements that the certificate covers", remedy)

    def limit(element: Any, y: Tensor) -> Tensor:
        row = names.index(EVERY if EVERY in names else element)
        bounds = torch.tensor(certificate.samples[row], dtype=torch.float64, device=y.device)
        return repeated(bounds.clamp_max(certificate.bound), len(y))

    unsure = math.sqrt(torch.finfo(centre.dtype).eps)
    return Claim(
        run=lambda y: _tensor(evaluated(y)),
        before=probe.transform_input,
        after=(lambda _, y: y) if invariant else probe.transform_output,
        limit=limit,
        centre=centre,
        radius=certificate.radius,
        elements=chosen,
        group=None if chosen else fibre_group(probe.in_type.gspace),
        lipschitz=certificate.lipschitz,
        allowance=lambda _, length, at_rest: unsure * (length + at_rest),
    )


def _radius(height: float, lipschitz: float) -> float:
    return max(1.0, _ABOVE_BIAS * height / lipschitz) if lipschitz > 0 else 1.0


def _check_norms(certificate: NetworkCertificate, out: Tensor) -> None:
    """It remembers how large the outputs were that it is about."""
    found = tuple(norms(out).tolist())
    tolerance = math.sqrt(torch.finfo(out.dtype).eps)
    same = len(found) == len(certificate.norms) and all(
        math.isclose(a, b, rel_tol=tolerance) for a, b in zip(found, certificate.norms, strict=True)
    )
    if not same:
        expected = f"the input that was certified, with outputs of norms {certificate.norms}"
        remedy = "Pass the x that certify was given, and the model as it was then."
        raise ArgumentError("x", f"an input with outputs of norms {found}", expected, remedy)


def _shape(probe: Probe, certificate: Certificate, elements: Sequence[Any]) -> tuple[int, ...]:
    """A size on which most elements are covered."""
    dims = probe.in_type.gspace.dimensionality
    if dims == 0:
        return (1, probe.in_type.size)
    geometry = kernel_geometry(probe.module, dims)
    reach = max(geometry.dilation * (geometry.size - 1), *geometry.padding)
    shapes = [(1, probe.in_type.size, *(reach + side for side in each)) for each in product(_SIDES[dims], repeat=dims)]
    return max(shapes, key=lambda shape: sum(certificate.refusal(g, shape) is None for g in elements))


def _tensor(x: Any) -> Any:
    return x.tensor if isinstance(x, GeometricTensor) else x
