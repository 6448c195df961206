"""A budget for a whole network, distributed over its soft layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor, nn

from escnn_soft._checks import number
from escnn_soft.certification.network import certify
from escnn_soft.certification.network_certificate import NetworkCertificate
from escnn_soft.dial import Budget, Policy
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.layers import Dialled, dials

__all__ = ["set_budget"]

_RANGE = 1e-6
"""Smallest factor that is tried, as a fraction of the largest; below it the layers are made strict."""

_HALVINGS = 12
"""Of that range, in logarithms: the factor is within 0.4 % of the largest that holds."""

_NOTHING = 1e-5
"""Relative error below which a layer breaks nothing: escnn keeps its bases in single precision."""

_LARGEST = 2.0
"""No weights have a larger relative error."""


def set_budget(
    model: nn.Module,
    eta_total: float,
    x: GeometricTensor | Tensor,
    elements: Sequence[GroupElement] | None = None,
    *,
    in_type: FieldType | None = None,
) -> dict[str, Budget]:
    r"""Give every soft layer a :class:`Budget`, so that the network's certified relative error on x is at most eta.

        bound / ||f(x)|| <= eta_total     for every sample of x and every element covered, by :func:`certify`

    Each layer gets eta_i = c / s_i with s_i what one unit of its relative error adds to the bound, so that all
    contribute alike, and c is the largest factor, up to bisection, for which the certificate holds. Layers whose
    weights break nothing yet add nothing: they get the mean of the others, and eta_total if there are none.

    Each layer's budget holds at every step from here on. That of the network is certified for the weights as they are
    and for this input. A trained network loses accuracy when it is drawn into its budgets: then fine-tune it, and call
    this again as training moves the weights, once an epoch for instance.

    Args:
        model: the network, in evaluation mode; the softness of its soft layers is replaced.
        eta_total: largest relative error of the network, positive.
        x: a batch of typical inputs.
        elements: as for :func:`certify`.
        in_type: likewise.

    Returns:
        The budget of each soft layer, by its name in the model.

    Raises:
        SoftnessError: if ``eta_total`` is not a positive number.
        ArgumentError: if the model has no soft layer, is not covered by :func:`certify`, or exceeds the budget even
            with all layers strict; the softness of its layers is then as before.

    Example:
        >>> import torch
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv, certify
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> model = nn.SequentialModule(SoftR2Conv(image, hidden, 3, softness=1.0), nn.ReLU(hidden)).eval()
        >>> _ = torch.nn.init.normal_(model[0].soft_weights)
        >>> x = image(torch.randn(1, 1, 7, 7))
        >>> budgets = set_budget(model, 0.1, x)
        >>> list(budgets), certify(model, x).relative <= 0.1
        (['0'], True)
    """
    remedy = "Pass the relative error that the whole network may make, e.g. 0.1."
    eta = number("eta_total", eta_total, minimum=0.0, maximum=math.inf, error=SoftnessError, remedy=remedy)
    if eta == 0.0:
        raise SoftnessError("eta_total", eta_total, "a positive number", "Set the softness to 0 for a strict network.")
    layers = dials(model)
    if not layers:
        raise ArgumentError("model", type(model).__name__, "a model with soft layers", "Soften a layer first.")
    for layer in layers.values():
        layer.accepted(Budget(eta if eta < _LARGEST else _LARGEST))
    before = {name: layer.softness for name, layer in layers.items()}
    try:
        return _distribute(lambda: certify(model, x, elements, in_type=in_type), eta, layers)
    except ArgumentError:
        _set(layers, before)
        raise


def _distribute(
    certified: Callable[[], NetworkCertificate], eta: float, layers: dict[str, Dialled]
) -> dict[str, Budget]:
    shares, high = _shares(layers, certified(), eta)

    def holds(factor: float) -> bool:
        _set(layers, {name: Budget(min(factor * share, _LARGEST)) for name, share in shares.items()})
        certificate = certified()
        if not certificate.certified:
            layer, reason = certificate.not_covered[0]
            raise ArgumentError("model", layer, "a model that certify covers", f"It does not, because: {reason}.")
        return certificate.relative <= eta

    if not holds(0.0):
        expected = f"a network whose certified error is below {eta:g} when all soft layers are strict"
        raise ArgumentError("eta_total", eta, expected, "Look at certify(model, x): its terms name the other layers.")
    low, best = high * _RANGE, 0.0
    if holds(high):
        best = high
    elif holds(low):
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if holds(middle) else (low, middle)
        best = low
    holds(best)
    return {name: Budget(min(best * share, _LARGEST)) for name, share in shares.items()}


def _shares(layers: dict[str, Dialled], certificate: NetworkCertificate, eta: float) -> tuple[dict[str, float], float]:
    """1 / s_i, scaled to a mean of 1, and the largest factor that makes sense."""
    added = {term.layer: term.contribution for term in certificate.terms if term.kind == "soft"}
    errors = {name: layer.certificate().relative.sup for name, layer in layers.items()}
    known = {n: errors[n] / added[n] for n in layers if added.get(n, 0.0) > 0 and errors[n] > _NOTHING}
    if not known:
        return dict.fromkeys(layers, eta), 1.0
    mean = sum(known.values()) / len(known)
    shares = {name: known.get(name, mean) / mean for name in layers}
    return shares, _LARGEST / min(shares.values())


def _set(layers: dict[str, Dialled], softness: dict[str, float | Policy] | dict[str, Budget]) -> None:
    for name, layer in layers.items():
        layer.softness = softness[name]
