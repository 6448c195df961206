"""The soft linear layer of any matrix group, on plain tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import linear

from escnn_soft._checks import instance
from escnn_soft.bounds import MatrixCertificate
from escnn_soft.bounds.matrix_certificate import ROUNDING, stretching, times
from escnn_soft.dial import Dial, Graded, Held, Policy, SoftModule
from escnn_soft.errors import RepresentationError, SoftnessError
from escnn_soft.escnn.initialization import variance_preserving
from escnn_soft.grading import GradedWeight, WeightSpectrum, matrix_transform
from escnn_soft.groups import MatrixRepresentation, scalar
from escnn_soft.layers.expansion import Expanded, filled
from escnn_soft.layers.matrix.matrix_gate import check_last

__all__ = ["SoftMatrixLinear"]


class SoftMatrixLinear(Expanded, SoftModule):
    r"""Linear map between representations of any matrix group, from exactly equivariant to unconstrained.

        y = F(weight) x + F(bias),     F(W) = sum over levels of gain_level * W_level,     of a float s:
        gain = t s^violation

    The parameters are those of a ``torch.nn.Linear``; the filter F weighs their levels, the singular spaces of the
    stacked generators, and t holds the bound of :class:`escnn_soft.Graded`. At softness 0 it is the orthogonal
    projection onto the equivariant maps, at softness 1 the identity. Parameters and checkpoints do not depend on any
    choice of basis.

    Between orthogonal representations (of compact groups) levels are stable under the group and the certificate has
    a supremum. For others, as of the Lorentz group, softness 0 is exactly equivariant all the same, and the other
    levels are a dial of first order: ||drho_out(X) W - W drho_in(X)|| <= sigma ||W||. :meth:`bound` has what a softness
    guarantees in either case.

    Source: Rahman et al., "Tunable Soft Equivariance with Guarantees" (arXiv 2603.26657), for the dial; Finzi et al.,
    arXiv 2104.09459, for the constraint of any matrix group.

    Args:
        in_representation: of the input.
        out_representation: of the output.
        bias: whether to add a bias.
        softness: a float in [0, 1] or a policy; ``Budget`` for orthogonal representations only.

    Raises:
        RepresentationError: if the representations belong to different groups.
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy, or a budget of what has no supremum.

    Attributes:
        weight: the unfiltered matrix.  # shape: (out, in)
        bias: the unfiltered bias, or None.  # shape: (out,)
        level_logits: parameters of a ``Learned`` softness, the matrix's levels and then the bias's; else None.

    Example:
        >>> from escnn_soft.groups import orthogonal_group, scalar, vector
        >>> V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
        >>> layer = SoftMatrixLinear(2 * V, 3 * V + 4 * one, softness=0.1)
        >>> layer(torch.zeros(7, 10)).shape
        torch.Size([7, 19])
    """

    _kernel_name = "expanded_matrix"
    plain = True
    bias: Parameter | None

    def __init__(
        self,
        in_representation: MatrixRepresentation,
        out_representation: MatrixRepresentation,
        bias: bool = True,
        *,
        softness: float | Policy = 0.0,
    ) -> None:
        super().__init__()
        transforms = [matrix_transform(in_representation, out_representation)]
        if bias:
            transforms.append(matrix_transform(scalar(in_representation.group), out_representation))
        self.in_representation, self.out_representation = in_representation, out_representation
        self.weight = Parameter(torch.empty(out_representation.size, in_representation.size))
        self.register_parameter("bias", Parameter(torch.zeros(out_representation.size)) if bias else None)
        like = Dial.place(self.weight)
        dials = [Dial(GradedWeight(transforms[0]), Graded(0.0), *like, held=Held.TRAINED)]
        dials += [
            Dial(GradedWeight(graded), Graded(0.0), *like, held=Held.TRAINED, anchored=dials[0].anchored)
            for graded in transforms[1:]
        ]
        self._hold(*dials)
        self.softness = softness
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight so that the layer keeps the variance of its input at its softness; the bias is 0.

        Directions that break the symmetry start as those of a plain layer, 1 / sqrt(in), times their gain: a layer
        of small softness starts almost equivariant.
        """
        dial = self._dials[0]
        if self.weight.is_meta:
            return
        transform = cast("GradedWeight", dial.here).transform
        with torch.no_grad():
            normal = torch.randn_like(self.weight).to(dial.dtype)
            self.weight.copy_(variance_preserving(transform, dial.static, normal))
            if self.bias is not None:
                self.bias.zero_()

    # ------------------------------------------------------------------ the dial

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy that a softness stands for; ``SoftnessError`` also for a budget of what has no supremum."""
        policy = super().accepted(softness)
        if policy.bounded and not (self.in_representation.orthogonal and self.out_representation.orthogonal):
            group = self.in_representation.group.name
            remedy = f"The error of {group} has no supremum: use a float, Exponential, Cutoff or Learned."
            raise SoftnessError("softness", policy, "a policy that needs no supremum", remedy)
        return policy

    def expand_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Matrix (out, in) and bias (out,) or None, which the parameters stand for, differentiably."""
        if self._dials[0].device != self.weight.device:
            self._follow()
        with torch.autocast(self.weight.device.type, enabled=False):
            logits = self._logits()
            matrix = self._dials[0].filtered(self.weight, logits[0])
            if self.bias is None:
                return matrix, None
            return matrix, self._dials[1].filtered(self.bias, logits[1], self._beside())

    def _beside(self) -> Tensor | None:
        """Norm of what breaks nothing in the matrix, by which a ``Graded`` measures the bias."""
        return self._dials[1].beside(self._dials[0], self.weight)

    def spectrum(self) -> WeightSpectrum:
        """How the layer's weights, as they are used, spread over the levels, in the order of the dial."""
        tensors = (self.weight,) if self.bias is None else (self.weight, self.bias)
        with torch.no_grad():
            besides = None, None if self.bias is None else self._beside()
            levels = [
                dial.spectrum(dial.filtered(w, logits, beside), dial.gains(dial.weight_factor(w, beside), logits))
                for dial, w, beside, logits in zip(self._dials, tensors, besides, self._logits(), strict=False)
            ]
        return WeightSpectrum(*levels)

    def certificate(self) -> MatrixCertificate:
        """The equivariance error of the layer's weights, as they are used.

        Returns:
            A frozen value: exact errors of elements, and certified bounds where the representations are orthogonal.
        """
        with torch.no_grad():
            matrix, bias = (None if p is None else p.detach().double().cpu() for p in self.expand_parameters())
        assert matrix is not None
        rho_in, rho_out = self.in_representation, self.out_representation
        bias_certificate = None
        if bias is not None:
            column, one = bias[:, None], scalar(rho_in.group)
            bias_certificate = MatrixCertificate.of(column, self._breaking(1, column), one, rho_out, None, "bias")
        return MatrixCertificate.of(matrix, self._breaking(0, matrix), rho_in, rho_out, bias_certificate)

    def _in_use(self) -> list[Tensor]:
        self._check_own("weight", "bias")
        with torch.no_grad():
            return [tensor for tensor in self.expand_parameters() if tensor is not None]

    def _stand_for(self, used: list[Tensor]) -> None:
        for dial, tensor, value, logits in zip(
            self._dials, (self.weight, self.bias), used, self._logits(), strict=False
        ):
            assert tensor is not None
            tensor.copy_(dial.weight_for(value, tensor, logits))

    def bound(self, element: float | None = None) -> float:
        r"""Largest relative error e(g) / ||W|| that the softness allows, whatever the weights are.

        The levels of a matrix group are a dial of first order: the error under all generators is at most
        max sigma s^sigma ||W|| for a float s, and :meth:`escnn_soft.bounds.MatrixCertificate.within` follows from that.

        Args:
            element: a length, for all g = exp(sum theta_a X_a) with ||theta|| at most that; None for all elements.

        Returns:
            The bound; infinite for all elements where the representations are not orthogonal.

        Raises:
            ArgumentError: if the length is negative or not a number.
        """
        representations = self.in_representation, self.out_representation
        orthogonal = all(rho.orthogonal for rho in representations)
        # twice: a certificate counts it once, and then what breaks the symmetry has been computed with rounding
        supremum = super().bound() + 2 * ROUNDING if orthogonal else math.inf
        if element is None:
            return supremum
        stretch = stretching(element, *representations)
        return min(times(times(self._slope(), element) + 2 * ROUNDING, stretch), supremum)

    def _slope(self) -> float:
        """Largest error under all generators, relative to the norm of the weights, as they are stored."""
        slopes = [self._slope_of(dial) for dial in self._dials]
        steepest = max((level.sigma for dial in self._dials for level in dial.graded.levels), default=0.0)
        # what is added there is for elements, which move a weight by twice its norm at most
        stored = zip(slopes, self._as_stored(slopes), strict=True)
        return max(slope + max(1.0, steepest / 2) * (found - slope) for slope, found in stored)

    @staticmethod
    def _slope_of(dial: Dial) -> float:
        if not dial.policy.bounded:
            return dial.bound(lambda level: level.sigma)
        # a budget bounds e(g), whose mean square over the group is 2 ||W_breaking||^2
        steepest = max((level.sigma for level in dial.graded.levels if level.dim), default=0.0)
        return dial.bound(lambda _: 2.0) * steepest / math.sqrt(2)

    @property
    def closed(self) -> bool:
        """Whether a softness above 0 lets nothing pass, because the weight has no part that breaks nothing."""
        if super().closed or not self._dials[0].limited or self._dials[0].policy.bounded:
            return super().closed
        with torch.no_grad():
            return not bool(self.expand_parameters()[0].any()) and bool(self.weight.any())

    def _as_stored(self, bounds: Sequence[float]) -> Sequence[float]:
        with torch.no_grad():
            matrix, bias = self.expand_parameters()
        found = [self._dials[0].with_excess(bounds[0], matrix)]
        if bias is not None:
            beside = float(matrix.norm()) if self._dials[1].policy.balanced else 0.0
            found.append(self._dials[1].with_excess(bounds[1], bias, beside=beside))
        return found

    def _breaking(self, dial: int, weight: Tensor) -> Tensor:
        """The part of a weight, in float64, that breaks the symmetry."""
        return cast("GradedWeight", self._dials[dial].graded).transform.soft.project(weight)

    # ------------------------------------------------------------------ the layer as it runs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) to (..., out); ``ShapeError`` for features of another size."""
        check_last("x", x, self.in_representation)
        return linear(x, *self._current_parameters())

    def _follow(self) -> None:
        """Bring the levels to where the weight is."""
        for dial in self._dials:
            dial.follow(self.weight)
        self._forget()

    def _apply(self, fn: Any, recurse: bool = True) -> SoftMatrixLinear:
        self._forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._follow()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args)
        self._forget()

    @classmethod
    def from_dense(
        cls,
        dense: torch.nn.Linear,
        in_representation: MatrixRepresentation,
        out_representation: MatrixRepresentation,
        softness: float | Policy = 1.0,
    ) -> SoftMatrixLinear:
        """Give a plain linear layer representations; at softness 1 the result computes the same function, to rounding.

        Args:
            dense: the plain layer; its Parameter objects, mode, device and dtype are kept.
            in_representation: of its input; ``dense.in_features`` channels.
            out_representation: of its output; ``dense.out_features`` channels.
            softness: a float in [0, 1] or a policy.

        Returns:
            The soft layer.

        Raises:
            RepresentationError: if a representation has another number of channels.
        """
        instance("dense", dense, torch.nn.Linear, "Pass a torch.nn.Linear.")
        if (in_representation.size, out_representation.size) != (dense.in_features, dense.out_features):
            sizes = in_representation.size, out_representation.size
            expected = f"representations of the layer's {dense.in_features} and {dense.out_features} channels"
            raise RepresentationError("sizes", sizes, expected, "Choose summands whose sizes add up to the channels.")
        soft = cls(in_representation, out_representation, dense.bias is not None, softness=softness)
        soft.to(dense.weight.device, dense.weight.dtype)
        soft.weight, soft.bias = cast("Parameter", dense.weight), dense.bias
        return soft.train(dense.training)

    def export(self) -> torch.nn.Linear:
        """The ``torch.nn.Linear`` that computes the same function, in evaluation mode."""
        return self.baked().eval()

    def baked(self) -> torch.nn.Linear:
        """The ``torch.nn.Linear`` that computes the same function, in this layer's mode, with Parameters of its own."""
        with torch.no_grad():
            return self._linear(*self.expand_parameters())

    def hardened(self) -> torch.nn.Linear:
        """The ``torch.nn.Linear`` that computes what this layer does at softness 0, in its mode."""
        with torch.no_grad():
            bias = None if self.bias is None else self._dials[1].strict(self.bias)
            return self._linear(self._dials[0].strict(self.weight), bias)

    def _linear(self, matrix: Tensor, bias: Tensor | None) -> torch.nn.Linear:
        shape = self.in_representation.size, self.out_representation.size
        dense = torch.nn.Linear(*shape, bias is not None, device=matrix.device, dtype=matrix.dtype)
        filled(dense, matrix, bias)
        for mine, theirs in ((self.weight, dense.weight), (self.bias, dense.bias)):
            if mine is not None:
                theirs.requires_grad_(mine.requires_grad)
        return dense.train(self.training)

    @property
    def fields(self) -> str:
        """Its representations in words."""
        return f"{self.in_representation} -> {self.out_representation}"

    def extra_repr(self) -> str:
        """The representations and the softness."""
        return f"{self.fields}, softness={self.softness}{self._closed_words()}"
