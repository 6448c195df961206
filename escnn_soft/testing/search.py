"""An adversary for certificates: the input and the group element that come closest to what is claimed, or exceed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance, integer
from escnn_soft._record import Record
from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.certification import NetworkCertificate
from escnn_soft.certification.guarded import preserved
from escnn_soft.certification.network_certificate import check_elements
from escnn_soft.certification.network_constants import NetworkConstants
from escnn_soft.dial import evaluated
from escnn_soft.errors import ArgumentError
from escnn_soft.testing.adversary import Adversary
from escnn_soft.testing.claimed import layer_claim, matrix_claim, network_claim
from escnn_soft.testing.claims import Claim

__all__ = ["Search", "search_violation"]


@dataclass(frozen=True)
class Search(Record):
    """The worst that was found.

    Attributes:
        tightness: error / bound at the worst input and element; above 1 the certificate is wrong.
        error: ||f(g y) - g f(y)|| there.
        bound: what the certificate allows there, rounding included.
        element: the worst element.
        input: the worst input y.  # shape: (channels, ...)
        lipschitz_tightness: the largest ||f(y) - f(x)|| that was found, divided by what ``lipschitz`` allows; None if
            the certificate has no Lipschitz constant.
        evaluations: how many pairs of an input and an element were tried.
    """

    recorded: ClassVar[tuple[str, ...]] = ("violated",)

    tightness: float
    error: float
    bound: float
    element: Any
    input: Tensor = field(repr=False, compare=False)
    lipschitz_tightness: float | None
    evaluations: int

    @property
    def violated(self) -> bool:
        """Whether the certificate is wrong: something was found that it does not allow."""
        return self.tightness > 1 or (self.lipschitz_tightness is not None and self.lipschitz_tightness > 1)


def search_violation(
    model: Module,
    certificate: Certificate | MatrixCertificate | NetworkCertificate,
    x: Tensor | GeometricTensor | None = None,
    *,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    elements: Sequence[Any] | None = None,
    steps: int = 60,
    restarts: int = 8,
    seed: int = 0,
) -> Search:
    r"""Search for the input and the group element at which a certificate is closest to being wrong.

    A certificate says that an error is never larger than a bound; this looks for one that is, and says how close it
    came. With a layer's certificate it is the largest, over all inputs of norm 1, or so large that the bias is little
    beside what the layer makes of them, of

        ||f(g x) - g f(x)|| / (operator_at(g) ||x|| + bias.at(g) sqrt(pixels) + rounding),

    with a network's, over all y with ||y - x|| <= radius (x alone if the radius is 0), of ||f(g y) - g f(y)|| / bound.
    Several points climb at once, x itself and random ones, by their gradients, and where these lead no further by the
    signs of their entries. Of every element of an infinite group the worst is sought as well, from random ones by a
    simplex. Then the Lipschitz constant is put to the test in the same way; a network's, which leaves rounding aside,
    is allowed the square root of the dtype's eps, relative to the outputs.

    Where it finds no violation a search proves nothing: it bounds the true error from below, as the certificate does
    from above.

    The model runs in its own dtype and in evaluation mode; outputs are compared in double precision. The model, its
    mode and gradients and the generators of random numbers are left as they were.

    Args:
        model: the layer or network that the certificate is about.
        certificate: of :func:`escnn_soft.certificate` or :func:`escnn_soft.certify`.
        x: for a network the input that was certified; for a layer one of the shape to search, by default an image of
            about 20 pixels a side.  # shape: (samples, channels, ...)
        in_type: type of the input of a plain layer, or of a plain tensor ``x``.
        out_type: type of the output where the model has none of its own; not needed where it is invariant.
        elements: the elements to search, all of them covered. By default all that are, for layers on Lie groups and
            certificates of "every element" the whole group, and for groups of matrices twelve random ones.
        steps: how often each point moves, for each element.
        restarts: how many points climb at once, for each sample.
        seed: of the random points.

    Returns:
        The worst that was found.

    Raises:
        ArgumentError: if an argument has the wrong type, the certificate covers nothing or not such an element, or x is
            not what a network's certificate was made for.
        FieldTypeError: if the types of input and output have different groups.
        ShapeError: if f(g x) and g f(x) have different shapes.

    Example:
        >>> from dataclasses import replace
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> from escnn_soft.testing import randomize
        >>> space = gspaces.rot2dOnR2(4)
        >>> layer = SoftR2Conv(space.type(space.trivial_repr), space.type(space.regular_repr), 3, softness=0.5)
        >>> randomize(layer)
        >>> certificate = layer.certificate()
        >>> found = search_violation(layer, certificate)
        >>> found.violated, found.tightness > 0.8
        (False, True)
        >>> search_violation(layer, replace(certificate, scale=0.5)).violated
        True
    """
    instance("model", model, Module, "Pass the layer or network that the certificate is about.")
    steps, restarts = integer("steps", steps, minimum=0), integer("restarts", restarts, minimum=1)
    seed = integer("seed", seed, minimum=0)
    tensor = _checked(certificate, x)
    if elements is not None and not isinstance(certificate, MatrixCertificate):
        elements = check_elements(elements)
    with torch.inference_mode(False), torch.enable_grad(), evaluated(model):
        given = next(model.parameters(), torch.zeros(())) if tensor is None else tensor
        with preserved(NetworkConstants(model), given):
            claim = _claim(model, certificate, x, (in_type, out_type), elements)
            adversary = Adversary(claim, steps, restarts, seed)
            worst = adversary.worst()
            point, error, bound = adversary.measured(worst)
            lipschitz = adversary.lipschitz()
    return Search(worst.tightness, error, bound, worst.element, point, lipschitz, adversary.evaluations)


def _checked(certificate: object, x: object) -> Tensor | None:
    """The input as a tensor, where it fits the certificate."""
    if not isinstance(certificate, Certificate | MatrixCertificate | NetworkCertificate):
        expected = "a Certificate, MatrixCertificate or NetworkCertificate"
        remedy = "Pass what escnn_soft.certificate(layer) or escnn_soft.certify(model, x) returns."
        raise ArgumentError("certificate", certificate, expected, remedy)
    if isinstance(certificate, NetworkCertificate):
        if not certificate.covered:
            remedy = "Its not_covered says why it bounds nothing."
            raise ArgumentError("certificate", certificate, "a certificate that covers something", remedy)
        if x is None:
            raise ArgumentError("x", x, "the input that was certified", "Pass the x that certify was given.")
    if x is not None and not isinstance(x, Tensor | GeometricTensor):
        raise ArgumentError("x", x, "a tensor or GeometricTensor", "Pass inputs of the model.")
    return x.tensor if isinstance(x, GeometricTensor) else x


def _claim(
    model: Module,
    certificate: Certificate | MatrixCertificate | NetworkCertificate,
    x: Tensor | GeometricTensor | None,
    types: tuple[FieldType | None, FieldType | None],
    elements: Sequence[Any] | None,
) -> Claim:
    if isinstance(certificate, NetworkCertificate):
        assert x is not None
        return network_claim(model, certificate, x, types, elements)
    if isinstance(certificate, MatrixCertificate):
        return matrix_claim(model, certificate, elements)
    return layer_claim(model, certificate, x, types, elements)
