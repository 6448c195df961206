"""The soft linear layer of any matrix group, on plain tensors."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import linear

from escnn_soft._checks import instance
from escnn_soft.bounds import MatrixCertificate
from escnn_soft.errors import RepresentationError, SoftnessError
from escnn_soft.nn.expansion import Expanded
from escnn_soft.nn.matrix_filter import MatrixFilter
from escnn_soft.nn.matrix_gate import check_last
from escnn_soft.policies import Budget, Exponential, Learned, Policy, as_policy
from escnn_soft.spectrum import MatrixRepresentation, WeightSpectrum, matrix_transform, scalar

__all__ = ["SoftMatrixLinear"]


class SoftMatrixLinear(Expanded):
    r"""Linear map between representations of any matrix group, from exactly equivariant to unconstrained.

        y = F(weight) x + F(bias),     F(W) = sum over levels of gain(sigma_level) * W_level

    The parameters are those of a ``torch.nn.Linear``; the filter F weighs their levels, the singular spaces of the
    stacked generators. At softness 0 it is the orthogonal projection onto the equivariant maps, at softness 1 the
    identity. Parameters and checkpoints do not depend on any choice of basis.

    Between orthogonal representations (of compact groups) levels are stable under the group and the certificate has
    a supremum. For others, as of the Lorentz group, softness 0 is exactly equivariant all the same, and the other
    levels are a dial of first order: ||drho_out(X) W - W drho_in(X)|| <= sigma ||W||.

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
        >>> from escnn_soft import orthogonal_group, scalar, vector
        >>> V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
        >>> layer = SoftMatrixLinear(2 * V, 3 * V + 4 * one, softness=0.1)
        >>> layer(torch.zeros(7, 10)).shape
        torch.Size([7, 19])
    """

    _kernel_name = "expanded_matrix"
    bias: Parameter | None
    level_logits: Parameter | None

    def __init__(
        self,
        in_representation: MatrixRepresentation,
        out_representation: MatrixRepresentation,
        bias: bool = True,
        *,
        softness: float | Policy = 0.0,
    ) -> None:
        super().__init__()
        policy = as_policy(softness)
        self._transform = matrix_transform(in_representation, out_representation)
        self._bias_transform = matrix_transform(scalar(in_representation.group), out_representation) if bias else None
        self.in_representation, self.out_representation = in_representation, out_representation
        self._check(policy)
        self.weight = Parameter(torch.empty(out_representation.size, in_representation.size))
        self.register_parameter("bias", Parameter(torch.zeros(out_representation.size)) if bias else None)
        self.register_parameter("level_logits", None)
        self._policy = policy
        self._set_filters()
        self.reset_parameters()

    def _check(self, policy: Policy) -> None:
        if isinstance(policy, Budget) and not (
            self.in_representation.orthogonal and self.out_representation.orthogonal
        ):
            group = self.in_representation.group.name
            remedy = f"The error of {group} has no supremum: use Exponential, Cutoff or Learned."
            raise SoftnessError("softness", policy, "a policy that needs no supremum", remedy)

    def _set_filters(self) -> None:
        self._filter = MatrixFilter(self._policy, self._transform, self.weight)
        bias = self._bias_transform
        self._bias_filter = None if bias is None else MatrixFilter(self._policy, bias, self.weight)
        if isinstance(self._policy, Learned) and self.level_logits is None:
            gains = [f.static for f in (self._filter, self._bias_filter) if f is not None]
            self.level_logits = Parameter(torch.cat(gains).logit())
        self._forget()

    def reset_parameters(self) -> None:
        """Draw the weight so that the layer keeps the variance of its input at its softness; the bias is 0.

        Directions that break the symmetry start as those of a plain layer, 1 / sqrt(in), times their gain: a layer
        of small softness starts almost equivariant.
        """
        with torch.no_grad():
            self.weight.copy_(self._filter.variance_preserving(torch.randn_like(self.weight)))
            if self.bias is not None:
                self.bias.zero_()

    # ------------------------------------------------------------------ the dial

    @property
    def softness(self) -> float | Policy:
        """The dial: a float s for ``Exponential(s)``, else the policy. Settable at any time, also between steps."""
        return self._policy.softness if isinstance(self._policy, Exponential) else self._policy

    @softness.setter
    def softness(self, softness: float | Policy) -> None:
        policy = as_policy(softness)
        self._check(policy)
        if policy != self._policy:
            self.register_parameter("level_logits", None)  # another learned policy starts anew
        self._policy = policy
        self._set_filters()

    def expand_parameters(self) -> tuple[Tensor, Tensor | None]:
        """The matrix and bias that the parameters stand for, differentiably.

        Returns:
            Matrix (out, in) and bias (out,), or None without a bias.
        """
        with torch.autocast(self.weight.device.type, enabled=False):
            logits, bias_logits = self._logits()
            matrix = self._filter(self.weight, logits)
            if self.bias is None or self._bias_filter is None:
                return matrix, None
            return matrix, self._bias_filter(self.bias[:, None], bias_logits)[:, 0]

    def _logits(self) -> tuple[Tensor | None, Tensor | None]:
        """A learned policy's parameters of the matrix and of the bias."""
        if self.level_logits is None:
            return None, None
        count = len(self._filter.static)
        matrix, bias = self.level_logits.split([count, len(self.level_logits) - count])
        return matrix, bias

    def spectrum(self) -> WeightSpectrum:
        """How the layer's weights, as they are used, spread over the levels.

        Returns:
            A frozen value with one entry a level, in the order of the dial.
        """
        logits, bias_logits = self._logits()
        with torch.no_grad():
            levels = self._filter.energies(self.weight, logits)
            if self.bias is None or self._bias_filter is None:
                return WeightSpectrum(levels)
            return WeightSpectrum(levels, self._bias_filter.energies(self.bias[:, None], bias_logits))

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
        if bias is not None and self._bias_transform is not None:
            column, one = bias[:, None], scalar(rho_in.group)
            breaking = self._bias_transform.breaking.project(column)
            bias_certificate = MatrixCertificate.of(column, breaking, one, rho_out, None)
        return MatrixCertificate.of(matrix, self._transform.breaking.project(matrix), rho_in, rho_out, bias_certificate)

    # ------------------------------------------------------------------ the layer as it runs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: features.  # shape: (..., in)

        Returns:
            The features.  # shape: (..., out)

        Raises:
            ShapeError: if the last dimension is not the size of the input representation.
        """
        check_last("x", x, self.in_representation)
        return linear(x, *self._current_parameters())

    def _apply(self, fn: Any, recurse: bool = True) -> SoftMatrixLinear:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_filters()
        return self

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
        """The plain layer that computes the same function, in evaluation mode.

        Returns:
            A ``torch.nn.Linear`` with this layer's device and dtype.
        """
        with torch.no_grad():
            matrix, bias = self.expand_parameters()
        shape = self.in_representation.size, self.out_representation.size
        dense = torch.nn.Linear(*shape, bias is not None, device=matrix.device, dtype=matrix.dtype)
        with torch.no_grad():
            dense.weight.copy_(matrix)
            if bias is not None:
                dense.bias.copy_(bias)
        return dense.eval()

    def extra_repr(self) -> str:
        """The representations and the softness."""
        return f"{self.in_representation} -> {self.out_representation}, softness={self.softness}"
