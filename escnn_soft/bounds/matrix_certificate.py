"""The equivariance error of a matrix between representations of any matrix group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft._record import Record
from escnn_soft.bounds.finite import check_finite
from escnn_soft.errors import ArgumentError

__all__ = ["ROUNDING", "MatrixCertificate", "stretching", "times"]

ROUNDING = 1e-11
"""Part of ||W|| that bounds allow for rounding: of the levels, good to 1e-13, of rho(g), and of the products."""


_LARGEST_EXPONENT = 700.0
"""exp of more overflows."""


class Representation(Protocol):
    """What a certificate asks of a representation."""

    @property
    def orthogonal(self) -> bool:
        """Whether every element is represented by an orthogonal matrix."""

    def matrix(self, element: Any) -> Tensor:
        """rho(g), (n, n)."""

    def derivatives(self) -> Tensor:
        """drho(X_a), (a, n, n)."""


@dataclass(frozen=True)
class MatrixCertificate(Record):
    r"""The equivariance error of x -> W x + b for any matrix group, from the weights alone.

        e(g) = ||rho_out(g) W - W rho_in(g)||_F                        exact, for every element that is asked for
        rms  = sqrt(E_g e(g)^2) = sqrt(2) ||W_breaking||_F             Haar average, exact; orthogonal representations
        sup  = 2 ||W_breaking||_F >= sup_g e(g)                        orthogonal representations

    with a margin of 1e-11 ||W|| for rounding in the bounds. The last holds because the equivariant part of W cancels,
    and an orthogonal action moves the rest by at most twice its norm; it is at most sqrt(2) times too large. What a
    group is, its generators say to the eleventh digit: frequencies closer than that may count as equal, all others do
    not, so that exp(t X) runs through a torus in the end, and a generator that is not skew is of a group that is not
    compact, however long it takes to see it. A group
    that is not compact has neither average nor supremum: e(g) grows without bound, and :meth:`within` bounds it near
    the identity.

    Attributes:
        norm: ||W||_F.
        breaking: ||W_breaking||_F.
        slope: sqrt(sum_a ||drho_out(X_a) W - W drho_in(X_a)||_F^2), the first-order error.
        reason: why there is no average and no supremum; empty if there are.
        bias: certificate of the bias as a map from scalars, None without one.

    Example:
        >>> from escnn_soft import SoftMatrixLinear
        >>> from escnn_soft.groups import orthogonal_group, vector
        >>> V = vector(orthogonal_group(5))
        >>> SoftMatrixLinear(2 * V, V, softness=0.0).double().certificate().sup < 1e-9
        True
    """

    recorded: ClassVar[tuple[str, ...]] = ("rms", "sup", "relative.rms", "relative.sup")

    norm: float
    breaking: float
    slope: float
    reason: str
    bias: MatrixCertificate | None
    matrix: Tensor = field(repr=False, compare=False)
    in_representation: Representation = field(repr=False, compare=False)
    out_representation: Representation = field(repr=False, compare=False)

    @staticmethod
    def of(
        matrix: Tensor,
        breaking: Tensor,
        into: Representation,
        out: Representation,
        bias: MatrixCertificate | None,
        name: str = "matrix",
    ) -> MatrixCertificate:
        """The certificate of W (m, n), ``breaking`` its part outside the equivariant maps, and of a bias.

        Args:
            matrix: W, in float64.
            breaking: likewise.
            into: of the input.
            out: of the output.
            bias: its certificate, or None.
            name: what messages call W.

        Returns:
            The certificate.

        Raises:
            ArgumentError: if W is not finite, or its squares are not.
        """
        check_finite(name, matrix, alone=name != "bias")
        slope = out.derivatives() @ matrix - matrix @ into.derivatives()
        reason = "" if into.orthogonal and out.orthogonal else "the representations are not orthogonal"
        norms = float(matrix.norm()), float(breaking.norm()), float(slope.norm())
        return MatrixCertificate(*norms, reason, bias, matrix, into, out)

    def at(self, element: Any) -> float:
        """e(g) = ||rho_out(g) W - W rho_in(g)||_F, exact."""
        return float(self._error(element).norm())

    def operator_at(self, element: Any) -> float:
        """||f(g x) - g f(x)|| / ||x|| at its worst over x, without the bias: ||rho_out(g) W - W rho_in(g)||."""
        return float(torch.linalg.matrix_norm(self._error(element), 2))

    def _error(self, element: Any) -> Tensor:
        moved = self.out_representation.matrix(element) @ self.matrix
        return moved - self.matrix @ self.in_representation.matrix(element)

    @property
    def rms(self) -> float:
        """sqrt of the Haar average of e(g)^2; infinite where there is no average."""
        return math.inf if self.reason else math.sqrt(2) * self.breaking

    @property
    def sup(self) -> float:
        """Upper bound on e(g) over the whole group; infinite where there is none."""
        return math.inf if self.reason else 2 * self.breaking + ROUNDING * self.norm

    @property
    def relative(self) -> MatrixCertificate:
        """The certificate of W / ||W||: every error as a fraction of the norm of the weights."""
        scale = 1 / self.norm if self.norm > 0 else 0.0
        norms = {name: scale * getattr(self, name) for name in ("norm", "breaking", "slope")}
        bias = None if self.bias is None else self.bias.relative
        return replace(self, **norms, matrix=scale * self.matrix, bias=bias)

    def within(self, length: float) -> float:
        r"""Upper bound on e(g) over all g = exp(sum theta_a X_a) with ||theta|| <= length: the first-order bound.

            e(g) <= slope * length                                             orthogonal
            e(g) <= slope * length * (e^r - 1) / r * e^s                       r = s + s', s = length * growth

        with growth = ||sum_a S_a^2||^(1/2) over the symmetric parts S_a of drho(X_a), of the input for s and of the
        output for s': ||exp(A)|| <= exp(largest eigenvalue of (A + A^T) / 2).

        Args:
            length: of the coordinates, 0 or more.

        Returns:
            The bound.

        Raises:
            ArgumentError: if the length is negative or not a number.
        """
        stretch = stretching(length, self.in_representation, self.out_representation)
        return min(times(times(self.slope, length) + ROUNDING * self.norm, stretch), self.sup)


def stretching(length: float, into: Representation, out: Representation) -> float:
    """(e^r - 1) / r * e^s of :meth:`MatrixCertificate.within`; ``ArgumentError`` for a length below 0."""
    remedy = "Pass the largest norm of the coordinates."
    length = number("length", length, minimum=0.0, maximum=math.inf, error=ArgumentError, remedy=remedy)
    s, s_out = (times(length, _growth(rho)) for rho in (into, out))
    r = s + s_out
    if r + s > _LARGEST_EXPONENT:
        return math.inf
    return math.expm1(r) / r * math.exp(s) if r > 0 else 1.0


def times(a: float, b: float) -> float:
    """a * b, and 0 if either is, the other infinite or not."""
    return 0.0 if a == 0.0 or b == 0.0 else a * b


def _growth(rho: Representation) -> float:
    x = rho.derivatives()
    if rho.orthogonal or len(x) == 0:
        return 0.0
    symmetric = (x + x.mT) / 2
    return math.sqrt(float(torch.linalg.matrix_norm((symmetric @ symmetric).sum(0), 2)))
