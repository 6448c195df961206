"""The soft linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace0D
from escnn.nn import FieldType, Linear
from torch import Tensor
from torch.nn.functional import linear

from escnn_soft._checks import instance
from escnn_soft.bounds import Certificate
from escnn_soft.dial import Policy, as_policy
from escnn_soft.errors import FieldTypeError
from escnn_soft.escnn import empty_allowed, generalized_he_init
from escnn_soft.grading import Chain, WeightTransform, fibre_transform
from escnn_soft.layers.arguments import check_rank, check_types
from escnn_soft.layers.layer_certificate import matrix_certificate
from escnn_soft.layers.soft import SoftLayer, check_hard

__all__ = ["SoftLinear"]

_REMEDY = "SoftLinear acts on feature vectors: use gspaces.no_base_space(group)."


class SoftLinear(SoftLayer, Linear):
    r"""Linear map between feature vectors, from exactly equivariant to unconstrained.

    The matrix is escnn's plus everything it leaves out, level by level:

        W = W_escnn(weights) + sum over levels of gain(violation_level) * W_level(soft_weights)

    A level holds all matrices that transform under one irrep of g . W = rho_out(g) W rho_in(g)^-1. At softness 0 the
    layer *is* ``escnn.nn.Linear``; at softness 1 it reaches every ``torch.nn.Linear``. Every group of escnn is covered:
    planar ones in closed form, SO(3), O(3), the polyhedral groups and direct products by joint null spaces. The levels
    are orthogonal, so every statement about them is exact.

    Drop-in: the same arguments in the same order as ``escnn.nn.Linear``, whose checkpoints load. In evaluation mode the
    expanded matrix is kept and detached. See :class:`SoftR2Conv` for checkpoints and float64.

    Source: Rahman et al., "Tunable Soft Equivariance with Guarantees" (arXiv 2603.26657), for the dial.

    Args:
        Those of ``escnn.nn.Linear``, plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2Conv`; ``GSpaceError`` if the types have a base space.

    Example:
        >>> import torch
        >>> from escnn import gspaces, group
        >>> space = gspaces.no_base_space(group.dihedral_group(3))
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftLinear(field, field, softness=0.5)
        >>> layer(field(torch.zeros(2, 6))).shape
        torch.Size([2, 6])
        >>> sum(level.dim for level in layer.spectrum().levels)
        36
    """

    _kernel_name = "matrix"

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        bias: bool = True,
        basisexpansion: str = "blocks",
        recompute: bool = False,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        check_types(in_type, out_type, GSpace0D, _REMEDY)
        policy, rank = as_policy(softness), check_rank(rank)
        transform = fibre_transform(in_type.gspace, in_type.representations, out_type.representations, chain)
        with empty_allowed(self, empty=transform.equivariant.dim == 0):
            super().__init__(in_type, out_type, bias, basisexpansion, recompute, initialize=False)
        self._add_softness(transform, in_type.representations, policy, bias=bias, chain=chain, rank=rank)
        if initialize:
            generalized_he_init(self.weights, self.basisexpansion)

    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        return fibre_transform(self.space, in_representations, out_representations)

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x, kernel, bias)

    def _certify(self, kernel: Tensor, bias: Tensor | None) -> Certificate:
        fields = self._in_representations, self.out_type.representations
        return matrix_certificate(self._transform, *fields, kernel, bias, self.space)

    @classmethod
    def from_hard(
        cls,
        layer: Linear,
        softness: float | Policy = 0.0,
        *,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> SoftLinear:
        """As :meth:`SoftR2Conv.from_hard`, from ``escnn.nn.Linear``."""
        check_hard(layer, Linear, "Use from_dense for torch.nn.Linear.")
        bias = layer.bias is not None
        soft = cls(layer.in_type, layer.out_type, bias, initialize=False, softness=softness, chain=chain, rank=rank)
        soft._share_parameters(layer)
        return soft

    @classmethod
    def from_dense(
        cls,
        dense: torch.nn.Linear,
        in_type: FieldType,
        out_type: FieldType,
        softness: float | Policy = 1.0,
        *,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> SoftLinear:
        """As :meth:`SoftR2Conv.from_dense`, from ``torch.nn.Linear``."""
        instance("dense", dense, torch.nn.Linear, "Use from_hard for escnn layers.")
        check_types(in_type, out_type, GSpace0D, _REMEDY)
        if (in_type.size, out_type.size) != (dense.in_features, dense.out_features):
            expected = f"types with the layer's {dense.in_features} and {dense.out_features} channels"
            remedy = "Choose fields whose sizes add up to the channels."
            raise FieldTypeError("(in_type, out_type)", (in_type, out_type), expected, remedy)
        bias = dense.bias is not None
        soft = cls(in_type, out_type, bias, initialize=False, softness=softness, chain=chain, rank=rank)
        soft._become_dense(dense)
        return soft

    def _between(
        self, in_type: FieldType, out_type: FieldType, softness: float | Policy, chain: Chain | None
    ) -> SoftLinear:
        bias = self._bias_transform is not None
        return type(self)(in_type, out_type, bias, initialize=False, softness=softness, chain=chain)

    def export(self) -> torch.nn.Linear:
        """The plain layer that computes the same function, in evaluation mode, with this layer's device and dtype."""
        self.eval()
        bias = self._bias_transform is not None
        dense = torch.nn.Linear(
            self.in_type.size, self.out_type.size, bias, device=self.weights.device, dtype=self.weights.dtype
        )
        return self._fill(dense)
