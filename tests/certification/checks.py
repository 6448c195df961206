"""Measuring what a certificate claims, with the exact action on pixels."""

from __future__ import annotations

import torch
from escnn.nn import FieldType, GeometricTensor

from escnn_soft.certification import NetworkCertificate, certify
from escnn_soft.functions import act


def transform(element, x):
    if isinstance(x, GeometricTensor):
        return act(element, x)
    return x  # an invariant output


@torch.no_grad()
def measured(model, x: GeometricTensor, element, action=transform) -> torch.Tensor:
    """||f(g x) - g f(x)|| of each sample."""
    there, back = model(action(element, x)), action(element, model(x))
    there, back = (y.tensor if isinstance(y, GeometricTensor) else y for y in (there, back))
    apart = there.double() - back.double()
    return (apart.flatten(1) if apart.ndim > 1 else apart[:, None]).norm(dim=1)


def violations(model, x: GeometricTensor, cert: NetworkCertificate, elements=None, action=transform) -> list[str]:
    """The elements at which the measured error exceeds the certificate."""
    found = []
    for i, element in enumerate(cert.covered if elements is None else elements):
        errors = measured(model, x, element, action)
        bounds = torch.tensor(cert.samples[i if elements is None else 0], dtype=torch.float64)
        if bool((errors > bounds).any()):
            found.append(f"{element}: {errors.max():.3g} > {bounds.max():.3g}")
    return found


def check(model, x: GeometricTensor, **kwargs) -> NetworkCertificate:
    """A certificate of a network that is covered, compared with what is measured."""
    cert = certify(model, x, **kwargs)
    assert cert.certified, cert.not_covered
    assert violations(model, x, cert) == [], cert
    assert abs(sum(t.contribution for t in cert.terms) - cert.layerwise) <= 1e-12 * max(1.0, cert.layerwise)
    return cert


def random_field(field_type: FieldType, *shape: int, dtype=torch.float32, scale: float = 1.0) -> GeometricTensor:
    return field_type(scale * torch.randn(shape[0], field_type.size, *shape[1:], dtype=dtype))


@torch.no_grad()
def shake(model) -> None:
    """Random weights, soft ones too, and random statistics."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.add_(0.3 * torch.randn_like(parameter) * (0.3 if "bias" in name else 1.0))
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.3, 2.0)
        elif name.endswith("running_mean") and hasattr(model, "shake_means"):
            buffer.normal_()
    model.train()
    model.eval()
