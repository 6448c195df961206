"""Linear layers between representations of matrix groups, where these are representations of an escnn group."""

from __future__ import annotations

from typing import Any

import torch
from escnn.group import Group, Representation
from torch import Tensor

from escnn_soft.bounds import Certificate
from escnn_soft.certification.layer import certificate
from escnn_soft.certification.rules.head import HeadLinear
from escnn_soft.certification.rules.plain_layers import PlainLinear, Types
from escnn_soft.certification.rules.rule import Call, Kernel
from escnn_soft.errors import RepresentationError
from escnn_soft.groups import MatrixField, MatrixRepresentation, escnn_matrix_representation

__all__ = ["MatrixLayer"]

_TOLERANCE = 1e-9
"""Entry by which the generators of two equal representations may differ."""


class MatrixHead(HeadLinear):
    """The matrix that the parameters stand for, after an invariant map."""

    def weight(self, call: Call) -> Tensor:
        """As it runs."""
        return matrix_of(call)


class MatrixLayer(PlainLinear):
    """x -> F(W) x + F(b) with F the filter: a linear map between the fields that its representations are of."""

    def __init__(self) -> None:
        self.head = MatrixHead()
        self._found: dict[int, Types | None] = {}

    def types(self, call: Call) -> Types | None:
        """The fields of its two representations, looked up once."""
        if id(call.module) not in self._found:
            self._found[id(call.module)] = self._between(call)
        return self._found[id(call.module)]

    def _between(self, call: Call) -> Types | None:
        space, module = call.type_of_action.gspace, call.module
        into = _fields(module.in_representation, space.fibergroup)
        out = _fields(module.out_representation, space.fibergroup)
        return None if into is None or out is None else (space.type(*into), space.type(*out))

    def certificate(self, call: Call) -> Certificate:
        """Of the linear map of torch's that computes the same."""
        if id(call.module) not in self._certificates:
            self._certificates[id(call.module)] = certificate(call.module.baked(), *self.types(call) or (None, None))
        return self._certificates[id(call.module)]

    def refusal(self, call: Call, row: int) -> str | None:
        """Matrix groups that are none of escnn's are not followed."""
        if self.types(call) is None:
            module = call.module
            return (
                f"it maps {module.in_representation} to {module.out_representation}, and representations are followed "
                "that escnn_matrix_representation makes: use the layer's own certificate()"
            )
        return super().refusal(call, row)

    def kernel(self, call: Call) -> Kernel | None:
        """The matrix, of feature vectors."""
        return Kernel(matrix_of(call)[:, :, None, None], (1, 1)) if call.x.ndim == 2 else None


def matrix_of(call: Call) -> Tensor:
    """What a layer multiplies with."""
    with torch.no_grad():
        matrix: Tensor = call.module.expand_parameters()[0]
    return matrix.double().cpu()


def _fields(representation: MatrixRepresentation, group: Group) -> list[Representation] | None:
    """escnn's representation of each summand; None if one is of another group, or of none that escnn has built."""
    found = {field: _field(field, group) for field in representation.multiplicities}
    fields = [found[field] for field in representation.fields]
    return None if None in fields else [rho for rho in fields if rho is not None]


def _field(field: MatrixField, group: Group) -> Representation | None:
    known: Any = group.representations
    for rho in known.values():
        if rho.size == field.size and _agree(field, rho):
            representation: Representation = rho
            return representation
    return None


def _agree(field: MatrixField, rho: Representation) -> bool:
    try:
        theirs = escnn_matrix_representation(rho).fields[0].generators
    except RepresentationError:
        return False
    mine = field.generators
    pairs = ((mine.algebra, theirs.algebra), (mine.discrete, theirs.discrete))
    return all(a.shape == b.shape and bool(((a - b).abs() <= _TOLERANCE).all()) for a, b in pairs)
