"""The maps that commute with a matrix group, whatever their number: no splitting and no size limit."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.errors import RepresentationError
from escnn_soft.groups.matrix.constraints import constraint_gram
from escnn_soft.groups.matrix.matrix_representation import MatrixField, MatrixRepresentation
from escnn_soft.linalg import null_space

__all__ = ["check_groups_agree", "equivariant_maps"]


def equivariant_maps(in_representation: MatrixRepresentation, out_representation: MatrixRepresentation) -> Tensor:
    r"""An orthonormal basis of the equivariant maps, matrix-free: no size limit, no splitting, any group.

    Conjugate gradients with L^T L, which is applied generator by generator, give the joint null space.

    Args:
        in_representation: of the input, n channels.
        out_representation: of the output, m channels.

    Returns:
        Orthonormal maps W with rho_out(g) W = W rho_in(g); float64.  # shape: (dim, m, n)

    Raises:
        RepresentationError: if the representations belong to different groups.

    Example:
        >>> from escnn_soft.groups import orthogonal_group
        >>> from escnn_soft.groups import vector
        >>> V = vector(orthogonal_group(3))
        >>> equivariant_maps(V**2, V**2).shape  # traces, identity and transposition
        torch.Size([3, 9, 9])
    """
    check_groups_agree(in_representation, out_representation)
    bands, n = [], in_representation.size
    for out_field in out_representation.multiplicities:
        for in_field in in_representation.multiplicities:
            shape = out_field.size, in_field.size

            def gram(columns: Tensor, out: MatrixField = out_field, into: MatrixField = in_field) -> Tensor:
                maps = columns.mT.reshape(-1, out.size, into.size)
                return constraint_gram(out.generators, into.generators, maps).flatten(1).mT

            maps = null_space(gram, shape[0] * shape[1]).mT.reshape(-1, *shape)
            bands += [
                torch.nn.functional.pad(maps, (j, n - j - shape[1], i, out_representation.size - i - shape[0]))
                for i in _offsets(out_representation, out_field)
                for j in _offsets(in_representation, in_field)
            ]
    return torch.cat(bands)


def check_groups_agree(in_representation: MatrixRepresentation, out_representation: MatrixRepresentation) -> None:
    """Refuse what are not two representations of one group."""
    for name, rho in (("in_representation", in_representation), ("out_representation", out_representation)):
        if not isinstance(rho, MatrixRepresentation):
            raise RepresentationError(name, rho, "a MatrixRepresentation", "Build one, e.g. with vector(group).")
    if in_representation.group != out_representation.group:
        names = in_representation.group.name, out_representation.group.name
        raise RepresentationError("groups", names, "one group", "Build both representations from the same group.")


def _offsets(rho: MatrixRepresentation, wanted: MatrixField) -> list[int]:
    """Where each copy of a field starts."""
    offsets, position = [], 0
    for field in rho.fields:
        if field == wanted:
            offsets.append(position)
        position += field.size
    return offsets
