"""The soft tensor product: escnn's learnable quadratic layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.nn import EquivariantModule, FieldType, GeometricTensor, TensorProductModule
from torch import Tensor

from escnn_soft.bounds import Certificate
from escnn_soft.dial import Policy, as_policy
from escnn_soft.errors import FieldTypeError
from escnn_soft.escnn import empty_allowed, generalized_he_init
from escnn_soft.grading import Chain, WeightTransform, fibre_transform
from escnn_soft.layers.arguments import check_rank, check_types
from escnn_soft.layers.quadratic import PlainTensorProduct, quadratic_certificate, square_fields
from escnn_soft.layers.soft import SoftLayer, check_hard

__all__ = ["SoftTensorProduct"]


class SoftTensorProduct(SoftLayer, TensorProductModule):
    r"""The product of each field with itself, projected: from exactly equivariant to any quadratic map of a field.

    Field by field, and at each point,

        f(x)_c = W_c (x_c (x) x_c),
        W = W_escnn(weights) + sum over levels of gain(violation_level) * W_level(soft_weights)

    Drop-in: the arguments of ``escnn.nn.TensorProductModule``, whose checkpoints load. ``expand_parameters`` returns
    the matrix and None, as that of every soft layer. The certificate is that of W: the layer's error is at most
    e(g) ||x||^2 at each point, so there is no operator norm and no Lipschitz constant.

    Args:
        Those of ``escnn.nn.TensorProductModule``, plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2Conv`; ``GSpaceError`` if the types have different gspaces, ``FieldTypeError`` if
        they are not uniform, or not of the same number of fields.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(*[space.regular_repr] * 2)
        >>> layer = SoftTensorProduct(field, field, softness=0.5)
        >>> layer(field(torch.zeros(1, 8, 5, 5))).shape
        torch.Size([1, 8, 5, 5])
        >>> sum(level.dim for level in layer.spectrum().levels)
        128
    """

    _kernel_name = "matrix"
    bias: None = None

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        check_types(in_type, out_type, GSpace, "Build both types from a gspace.")
        policy, rank = as_policy(softness), check_rank(rank)
        for name, field_type in (("in_type", in_type), ("out_type", out_type)):
            if not field_type.uniform or len(field_type) != len(in_type):
                expected = "copies of one representation, as many in the output as in the input"
                raise FieldTypeError(name, field_type, expected, "Build the types with gspace.type(*[rho] * fields).")
        hidden = in_type.representations[0].tensor(in_type.representations[0])
        transform = fibre_transform(in_type.gspace, [hidden], out_type.representations, chain)
        with empty_allowed(self, empty=transform.equivariant.dim == 0):
            super().__init__(in_type, out_type, initialize=False)
        self._add_softness(transform, [hidden], policy, bias=False, chain=chain, rank=rank)
        if initialize:
            generalized_he_init(self.weights, self._basisexpansion)

    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        return fibre_transform(self.gspace, in_representations, out_representations)

    def _expand_strict(self) -> tuple[Tensor, Tensor | None]:
        return TensorProductModule.expand_parameters(self), None  # of escnn's layers, this one alone returns no pair

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return square_fields(x, kernel, len(self.in_type))

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Apply the layer, from ``in_type`` to ``out_type``, point by point; coordinates are kept."""
        output = super().forward(input)
        return GeometricTensor(output.tensor, output.type, input.coords)

    def _certify(self, kernel: Tensor, bias: Tensor | None) -> Certificate:
        fields = self._in_representations[0], self.out_type.representations
        return quadratic_certificate(self._transform, *fields, kernel, self.gspace)

    def certificate_of(self, hard: EquivariantModule) -> Certificate:
        """The certificate of the weights of one of escnn's layers, of which this layer is the twin."""
        with torch.no_grad():
            return self._certify(hard.expand_parameters(), None)

    @classmethod
    def from_hard(
        cls,
        layer: TensorProductModule,
        softness: float | Policy = 0.0,
        *,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> SoftTensorProduct:
        """As :meth:`SoftR2Conv.from_hard`, from ``escnn.nn.TensorProductModule``."""
        check_hard(layer, TensorProductModule, "There is no plain torch layer of this kind.")
        soft = cls(layer.in_type, layer.out_type, initialize=False, softness=softness, chain=chain, rank=rank)
        soft._share_parameters(layer)
        return soft

    def _between(
        self, in_type: FieldType, out_type: FieldType, softness: float | Policy, chain: Chain | None
    ) -> SoftTensorProduct:
        return type(self)(in_type, out_type, initialize=False, softness=softness, chain=chain)

    def export(self) -> PlainTensorProduct:
        """The plain module that computes the same function, in evaluation mode, with this layer's device and dtype."""
        self.eval()
        shape = self.out_type.size, self._transform.shape[1]
        plain = PlainTensorProduct(len(self.in_type), shape, self.weights.device, self.weights.dtype)
        return self._fill(plain)
