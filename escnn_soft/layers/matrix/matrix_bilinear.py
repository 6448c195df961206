"""The soft quadratic layer of any matrix group: what makes invariants out of vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import Policy
from escnn_soft.groups import MatrixRepresentation
from escnn_soft.layers.matrix.matrix_gate import check_last
from escnn_soft.layers.matrix.matrix_linear import SoftMatrixLinear

__all__ = ["SoftMatrixBilinear"]


class SoftMatrixBilinear(Module):
    r"""Quadratic map between representations of any matrix group, from exactly equivariant to any product of factors.

        y = C [(A x)_1 (x) (B x)_1, (A x)_2 (x) (B x)_2, ...]

    with three soft linear layers A, B to the factors and C from their products, summand by summand. For vectors, strict
    C contains all dot products, so strict networks are not the linear, often constant, functions that linear layers
    and gates alone would make them. With r summands of size d it costs r d^2 more channels, not all products.

    Args:
        in_representation: of the input.
        out_representation: of the output.
        factors: what is multiplied; each summand of it with itself.
        softness: a float in [0, 1] or a policy, for the three layers.

    Raises:
        RepresentationError: if the representations belong to different groups.
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy.

    Example:
        >>> from escnn_soft.groups import orthogonal_group, scalar, vector
        >>> V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
        >>> layer = SoftMatrixBilinear(2 * V, 3 * one, factors=4 * V)
        >>> layer(torch.randn(7, 10)).shape
        torch.Size([7, 3])
    """

    def __init__(
        self,
        in_representation: MatrixRepresentation,
        out_representation: MatrixRepresentation,
        factors: MatrixRepresentation,
        *,
        softness: float | Policy = 0.0,
    ) -> None:
        super().__init__()
        self.in_representation, self.out_representation, self.factors = in_representation, out_representation, factors
        self._sizes = [field.size for field in factors.fields]
        parts = [MatrixRepresentation(factors.group, (field,)) for field in factors.fields]
        products = MatrixRepresentation(factors.group, tuple(f for part in parts for f in (part @ part).fields))
        self.left = SoftMatrixLinear(in_representation, factors, bias=False, softness=softness)
        self.right = SoftMatrixLinear(in_representation, factors, bias=False, softness=softness)
        self.mix = SoftMatrixLinear(products, out_representation, bias=False, softness=softness)

    @property
    def softness(self) -> float | Policy:
        """The dial of the three layers. Settable at any time, also between steps."""
        return self.mix.softness

    @softness.setter
    def softness(self, softness: float | Policy) -> None:
        layers = self.left, self.right, self.mix
        for layer in layers:
            layer.accepted(softness)
        for layer in layers:
            layer.softness = softness

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) to (..., out); ``ShapeError`` for features of another size."""
        check_last("x", x, self.in_representation)
        lefts, rights = self.left(x).split(self._sizes, -1), self.right(x).split(self._sizes, -1)
        if len(set(self._sizes)) == 1:  # one product for all summands
            squares = torch.stack(lefts, -2)[..., :, None] * torch.stack(rights, -2)[..., None, :]
            return self.mix(squares.flatten(-3))
        products = [(a[..., :, None] * b[..., None, :]).flatten(-2) for a, b in zip(lefts, rights, strict=True)]
        return self.mix(torch.cat(products, -1))
