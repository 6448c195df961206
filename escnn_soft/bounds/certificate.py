"""Certificates: the equivariance error of a layer's weights, exact, bounded and explained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch

from escnn_soft._checks import number
from escnn_soft._record import Record
from escnn_soft.bounds.execution import Execution
from escnn_soft.bounds.orbit import largest_squared_error
from escnn_soft.bounds.pixels import PixelErrors
from escnn_soft.bounds.symmetry import Symmetry
from escnn_soft.bounds.term import Term
from escnn_soft.errors import ArgumentError

__all__ = ["Certificate"]


@dataclass(frozen=True)
class Certificate(Record):
    r"""The equivariance error of a layer's weights, for every group element, from the weights alone.

    With M_lambda the Gram matrix of the coefficients in irrep lambda,

        e(g)^2 = ||rho_out(g) W - W rho_in(g)||_F^2 = sum over lambda of tr[(psi(g) - I) M (psi(g) - I)^T]
        rms    = sqrt(E_g e(g)^2) = sqrt(2) ||W_breaking||_F                              Haar average, exact
        sup   >= max_g e(g)                                                               equal for finite groups

    For a convolution W is the kernel K and the group acts by (g . K)(x) = rho_out(g) K(g^-1 x) rho_in(g)^-1. e(g) is
    also the root mean square error of the output on white noise of unit variance.

    Source: the orthogonality relations of a compact group; the first-order form of ``within`` goes back to Rahman et
    al., arXiv 2603.26657, section 4.

    Attributes:
        terms: one an irrep that occurs, the trivial one first.
        level: ``grid`` if the statements are exact for the layer as it runs; ``continuous`` if they are those of the
            continuous kernel that is sampled; ``points`` if they are those of a continuous kernel that is evaluated at
            points, which move with the group: exact too.
        reason: why the level is not ``grid``; empty otherwise.
        assumptions: what the numbers rest on.
        bias: certificate of the bias, None without one.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=0.5)
        >>> layer.certificate().relative.sup < 1e-6
        True
    """

    recorded: ClassVar[tuple[str, ...]] = ("norm", "rms", "sup", "relative.rms", "relative.sup", "grid")
    # and not operator and lipschitz, which take a factorisation at each frequency

    terms: tuple[Term, ...]
    level: str
    reason: str
    assumptions: tuple[str, ...]
    bias: Certificate | None = None
    symmetry: Symmetry = field(repr=False, compare=False, kw_only=True)
    execution: Execution = field(repr=False, compare=False, kw_only=True)
    scale: float = field(default=1.0, kw_only=True)
    """Factor of the weights: 1 / ||W|| in a relative certificate."""

    # ------------------------------------------------------------------ errors of the weights

    @cached_property
    def norm(self) -> float:
        """||W||_F."""
        return self.scale * math.sqrt(sum(term.energy for term in self.terms))

    @cached_property
    def _breaking(self) -> tuple[Term, ...]:
        return tuple(term for term in self.terms if term.irrep is not None and term.sigma > 0)

    @cached_property
    def _lawless(self) -> float:
        """(2 ||R||)^2, the worst that a remainder R without a law can do."""
        return 4 * sum(term.energy for term in self.terms if term.irrep is None)

    def at(self, element: Any) -> float:
        """e(g), exact; a remainder without a law counts with its worst, 2 ||R||.

        Args:
            element: any element of the fibre group.

        Returns:
            ||rho_out(g) W - W rho_in(g)||_F.

        Raises:
            ArgumentError: if it is not an element of the fibre group.
        """
        self.symmetry.check(element)
        if self.symmetry.is_identity(element):
            return 0.0
        squared = self._lawless
        for term in self._breaking:
            assert term.irrep is not None
            psi = self.symmetry.matrix(term.irrep, element)
            # not 2 tr(M - psi M): near the identity that would cancel
            moved = psi - torch.eye(len(psi), dtype=psi.dtype)
            squared += float(torch.trace(moved @ term.matrix @ moved.T))
        return self.scale * math.sqrt(max(squared, 0.0))

    def profile(self, elements: Iterable[Any] | None = None) -> tuple[tuple[Any, float], ...]:
        """The curve g -> e(g).

        Args:
            elements: where to evaluate; by default all of a finite group, a fine grid of SO(2) and O(2), and escnn's
                testing elements of larger groups.

        Returns:
            Pairs of an element and its error.
        """
        return tuple((g, self.at(g)) for g in (self.symmetry.curve if elements is None else elements))

    @cached_property
    def rms(self) -> float:
        """sqrt of the Haar average of e(g)^2: sqrt(2) times the norm of the weights outside the trivial irrep."""
        return self.scale * math.sqrt(2 * sum(term.energy for term in self._breaking) + self._lawless)

    @cached_property
    def sup(self) -> float:
        """Upper bound on e(g) over the whole group: its maximum if finite, at most 3 % above the supremum if not.

        (0.3 % for SO(2) and O(2), 3 % for SO(3) and O(3); 1 % more for each further circle of a product.)
        """
        if not self._breaking:
            return self.scale * math.sqrt(self._lawless)
        orbit = self.symmetry.orbit([term.irrep for term in self._breaking if term.irrep is not None])
        squared = float(largest_squared_error([term.matrix for term in self._breaking], orbit))
        return self.scale * math.sqrt(squared + self._lawless)

    def within(self, angle: float) -> float:
        r"""Upper bound on e(g) over all rotations by at most an angle: the first-order bound, made global.

            e(g) <= min( angle * sqrt( sum over lambda of rate_lambda^2 ||W_lambda||^2 ), sup )

        The rate of an irrep is at most its violation sigma: the frequency for SO(2), the degree l for SO(3).

        Args:
            angle: in radians, in [0, pi].

        Returns:
            The bound.

        Raises:
            ArgumentError: if the angle is not in [0, pi].
        """
        remedy = "Pass an angle in radians."
        theta = number("angle", angle, minimum=0.0, maximum=math.pi, error=ArgumentError, remedy=remedy)
        if theta == 0.0:
            return 0.0
        squared = sum(self.symmetry.rate(t.irrep) ** 2 * t.energy for t in self._breaking if t.irrep is not None)
        return min(self.scale * math.sqrt(theta**2 * squared + self._lawless), self.sup)

    @cached_property
    def relative(self) -> Certificate:
        """The certificate of W / ||W||: every error as a fraction of the norm of the weights."""
        scale = self.scale / self.norm if self.norm > 0 else 0.0
        return replace(self, scale=scale, bias=None if self.bias is None else self.bias.relative)

    # ------------------------------------------------------------------ errors of the layer as it runs

    @cached_property
    def operator(self) -> float:
        """Upper bound on ||f(g x) - g f(x)|| / ||x|| over every covered g and every x, without the bias.

        Computed when asked for: it takes a factorisation of the error at each frequency. For planar convolutions the
        elements that move pixels onto pixels are covered, for inputs that :meth:`refusal` accepts.
        """
        return self._of_worst(self.execution.worst_error_norm)

    @cached_property
    def operator_by_unfoldings(self) -> float:
        """A bound on what :attr:`operator` bounds, two to three times as large, and many times faster for convolutions.

        From two matrices into which the kernel of the error is unfolded, and no frequencies. For anything but
        convolutions it is :attr:`operator` itself.
        """
        return self._of_worst(self.execution.worst_unfolded_norm)

    def _of_worst(self, norm: float) -> float:
        worst = self.scale * norm
        return min(worst, self.execution.frobenius_factor * self.sup) if self.level != "continuous" else worst

    def operator_at(self, element: Any) -> float:
        """As :attr:`operator`, for one element that is covered.

        Args:
            element: an element of the fibre group.

        Returns:
            The bound.

        Raises:
            ArgumentError: if it is not an element of the fibre group.
            GridActionError: if the layer runs on pixels and the element does not move pixels onto pixels.
        """
        self.symmetry.check(element)
        worst = self.scale * self.execution.error_norm(element)
        if self.level == "continuous":
            return worst
        return min(worst, self.execution.frobenius_factor * self.at(element))

    @cached_property
    def grid(self) -> PixelErrors | None:
        """For a ``continuous`` certificate, the exact errors where pixels move onto pixels; else None.

        Relative to the norm of the pixels in a relative certificate.
        """
        pixels = self.execution.pixel_errors() if self.level == "continuous" else None
        return pixels.relative if pixels is not None and self.scale != 1.0 else pixels

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound on ||f(x) - f(y)|| / ||x - y|| for the layer as it runs."""
        return self.scale * self.execution.lipschitz

    @cached_property
    def rounding(self) -> float:
        """Upper bound on the floating-point error of one evaluation, divided by ||x||, in the layer's dtype.

        Sums of products in any order are covered; reduced-precision modes such as TF32, convolution algorithms that
        transform their input (Winograd, FFT), underflow and overflow are not.
        """
        return self.scale * self.execution.rounding

    def refusal(self, element: Any, input_shape: Sequence[int]) -> str | None:
        """Why :meth:`operator_at` does not bound the executed layer's error on inputs of a shape.

        Args:
            element: an element of the fibre group.
            input_shape: shape of the input tensor, batch first.

        Returns:
            The reason, or None if the bound holds.

        Raises:
            ArgumentError: if it is not an element of the fibre group.
        """
        self.symmetry.check(element)
        return self.execution.refusal(element, input_shape)

    # ------------------------------------------------------------------ words

    def __repr__(self) -> str:
        """The main numbers, a line per irrep, and the assumptions."""
        share = 100.0 / self.norm if self.norm > 0 else 0.0
        why = f" ({self.reason})" if self.reason else ""
        lines = [
            f"Certificate, level {self.level}{why}",
            f"  norm {self.norm:.4g}   rms {self.rms:.4g} ({share * self.rms:.2f} %)   "
            f"sup {self.sup:.4g} ({share * self.sup:.2f} %)",
            f"  {'irrep':<16}{'sigma':>8}{'energy':>12}",
        ]
        lines += [f"  {term.name:<16}{term.sigma:>8.3f}{self.scale**2 * term.energy:>12.4g}" for term in self.terms]
        for title, part in (("bias", self.bias), ("pixels onto pixels", self.grid)):
            if part is not None:
                lines.append(f"  {title}: norm {part.norm:.4g}   rms {part.rms:.4g}   sup {part.sup:.4g}")
        return "\n".join([*lines, *(f"  assumes {assumption}" for assumption in self.assumptions)])
