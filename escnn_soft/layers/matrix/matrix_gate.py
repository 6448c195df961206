"""Scalar gates: a non-linearity for representations of any matrix group."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.errors import ShapeError
from escnn_soft.groups import MatrixRepresentation, scalar

__all__ = ["MatrixGate"]


class MatrixGate(Module):
    r"""x_i -> silu(x_i) for scalars, x_i -> sigmoid(s_i) x_i for every other summand, with a scalar s_i of its own.

    Exactly equivariant for every group, compact or not: the gates are invariant, and so are scalars.

    Source: Weiler et al., "3D Steerable CNNs" (arXiv 1807.02547), section 4.3.

    Args:
        representation: of the output.

    Attributes:
        in_representation: of the input: the output's, then one scalar for each summand that is not a scalar.
        out_representation: of the output.

    Example:
        >>> from escnn_soft.groups import orthogonal_group, scalar, vector
        >>> V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
        >>> gate = MatrixGate(4 * one + 2 * V)
        >>> gate.in_representation
        O(5): 4 1 + 2 V + 2 1
        >>> gate(torch.ones(3, 16)).shape
        torch.Size([3, 14])
    """

    _gate_of: Tensor

    def __init__(self, representation: MatrixRepresentation) -> None:
        super().__init__()
        instance("representation", representation, MatrixRepresentation, "Build one, e.g. with vector(group).")
        sizes = [field.size for field in representation.fields]
        gated = [bool(field.factors) for field in representation.fields]
        self.in_representation = representation + sum(gated) * scalar(representation.group)
        self.out_representation = representation
        # each channel reads its gate from behind the channels; scalars are their own gate: x sigmoid(x)
        channels = torch.arange(representation.size).split(sizes)
        behind, gate_of = iter(range(representation.size, self.in_representation.size)), []
        for own, is_gated in zip(channels, gated, strict=True):
            gate_of.append(own.new_full((len(own),), next(behind)) if is_gated else own)
        self.register_buffer("_gate_of", torch.cat(gate_of), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gates: (..., in) to (..., out); ``ShapeError`` for features of another size."""
        check_last("x", x, self.in_representation)
        return x[..., : self.out_representation.size] * x[..., self._gate_of].sigmoid()

    def extra_repr(self) -> str:
        """The representation."""
        return repr(self.out_representation)


def check_last(name: str, x: Tensor, representation: MatrixRepresentation) -> None:
    """Refuse features of another size."""
    if x.shape[-1] != representation.size:
        expected = f"features of size {representation.size} in the last dimension"
        raise ShapeError(f"{name}.shape", tuple(x.shape), expected, "Put the channels last.")
