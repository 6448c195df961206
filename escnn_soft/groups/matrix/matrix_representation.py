"""Representations of matrix groups: sums, tensor products and duals of what the generators give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from escnn_soft._checks import instance, integer
from escnn_soft.errors import RepresentationError
from escnn_soft.groups.matrix.generators import Generators, MatrixElement, generators_of
from escnn_soft.groups.matrix.matrix_group import MatrixGroup

__all__ = ["MatrixFactor", "MatrixField", "MatrixRepresentation", "scalar", "vector"]

RELATION_TOLERANCE = 1e-8
"""Defect of a relation between generators that counts as rounding."""


@dataclass(frozen=True)
class MatrixFactor:
    """A representation that is given, not composed.

    Attributes:
        name: e.g. ``V``, with a star for a dual.
        generators: images of the group's generators.
    """

    name: str
    generators: Generators

    @property
    def dual(self) -> MatrixFactor:
        """The contragredient; the factor itself where it is orthogonal."""
        if self.generators.orthogonal:
            return self
        name = self.name[:-1] if self.name.endswith("*") else f"{self.name}*"
        return MatrixFactor(name, self.generators.dual)


@dataclass(frozen=True)
class MatrixField:
    """One summand of a representation: a tensor product of factors, a scalar if there are none.

    Attributes:
        group: whose representation it is.
        factors: from the slowest index to the fastest.
    """

    group: MatrixGroup
    factors: tuple[MatrixFactor, ...]

    @property
    def name(self) -> str:
        """E.g. ``V^2*V*``; ``1`` for scalars."""
        powers = [(name, len(list(run))) for name, run in groupby(factor.name for factor in self.factors)]
        return "*".join(name if count == 1 else f"{name}^{count}" for name, count in powers) or "1"

    @property
    def size(self) -> int:
        """Number of channels."""
        size = 1
        for factor in self.factors:
            size *= factor.generators.size
        return size

    @cached_property
    def generators(self) -> Generators:
        """The images of the group's generators."""
        given = self.group.generators
        result = Generators(
            torch.zeros(len(given.algebra), 1, 1, dtype=torch.float64),
            torch.ones(len(given.discrete), 1, 1, dtype=torch.float64),
        )
        for factor in self.factors:
            result = result.tensor(factor.generators)
        return result

    def matrix(self, element: MatrixElement) -> Tensor:
        """rho(g), (size, size)."""
        result = torch.ones(1, 1, dtype=torch.float64)
        for factor in self.factors:
            result = torch.kron(result, factor.generators.matrix(element))
        return result


@dataclass(frozen=True)
class MatrixRepresentation:
    """A direct sum of tensor products of given representations, as a frozen value.

    ``r + s`` is the direct sum, ``3 * r`` three copies, ``r @ s`` the tensor product, ``r**k`` its power and ``r.dual``
    the contragredient. Products distribute over sums, so that channels always run summand by summand; within a summand
    they are the flattened indices of the tensor, the last one fastest.

    Args:
        group: the group.
        fields: the summands in the order of the channels.

    Example:
        >>> from escnn_soft.groups import orthogonal_group
        >>> V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
        >>> 2 * V + one + V**2
        O(5): 2 V + 1 + V^2
        >>> (2 * V + one + V**2).size
        36
    """

    group: MatrixGroup
    fields: tuple[MatrixField, ...]

    @staticmethod
    def of(group: MatrixGroup, name: str, algebra: object = (), discrete: object = ()) -> MatrixRepresentation:
        """A representation of your own, from the images of the group's generators.

        Args:
            group: the group.
            name: what messages call it.
            algebra: drho(X_a).  # shape: (a, n, n)
            discrete: rho(h_b).  # shape: (b, n, n)

        Returns:
            The representation.

        Raises:
            ShapeError: if these are not stacks of square matrices of one size.
            RepresentationError: if there is not one image a generator, or the images break a relation among the group's
                generators: a bracket, or a conjugate by a discrete one, that lies in their span.
        """
        instance("group", group, MatrixGroup, "Build one, e.g. with orthogonal_group(5).")
        images = generators_of(algebra, discrete)
        given = group.generators
        counts = (len(images.algebra), len(images.discrete))
        if counts != (len(given.algebra), len(given.discrete)):
            expected = f"{len(given.algebra)} algebra and {len(given.discrete)} discrete images, one a generator,"
            raise RepresentationError("number of images", counts, expected, "Keep the order of the group's generators.")
        _check_brackets(given, images)
        return MatrixRepresentation(group, (MatrixField(group, (MatrixFactor(name, images),)),))

    @property
    def size(self) -> int:
        """Number of channels."""
        return sum(field.size for field in self.fields)

    @property
    def orthogonal(self) -> bool:
        """Whether every element is represented by an orthogonal matrix."""
        return all(factor.generators.orthogonal for field in self.fields for factor in field.factors)

    @property
    def dual(self) -> MatrixRepresentation:
        """The contragredient representation, rho(g)^-T."""
        fields = (MatrixField(f.group, tuple(factor.dual for factor in f.factors)) for f in self.fields)
        return MatrixRepresentation(self.group, tuple(fields))

    @property
    def multiplicities(self) -> dict[MatrixField, int]:
        """How often each summand occurs, in the order of first occurrence."""
        return dict(Counter(self.fields))

    def matrix(self, element: MatrixElement) -> Tensor:
        """rho(g) of an element, (size, size), in float64."""
        blocks = {field: field.matrix(element) for field in self.multiplicities}
        return torch.block_diag(*(blocks[field] for field in self.fields))

    def derivatives(self) -> Tensor:
        """drho(X_a) of every generator of the Lie algebra, (a, size, size), in float64."""
        count = len(self.group.generators.algebra)
        rows = [torch.block_diag(*(f.generators.algebra[a] for f in self.fields)) for a in range(count)]
        return torch.stack(rows) if rows else torch.zeros(0, self.size, self.size, dtype=torch.float64)

    def __add__(self, other: MatrixRepresentation) -> MatrixRepresentation:
        """The direct sum."""
        self._check(other)
        return MatrixRepresentation(self.group, self.fields + other.fields)

    def __rmul__(self, count: int) -> MatrixRepresentation:
        """Copies."""
        return MatrixRepresentation(self.group, self.fields * integer("count", count, minimum=0))

    def __matmul__(self, other: MatrixRepresentation) -> MatrixRepresentation:
        """The tensor product, summand by summand."""
        self._check(other)
        products = (MatrixField(self.group, a.factors + b.factors) for a in self.fields for b in other.fields)
        return MatrixRepresentation(self.group, tuple(products))

    def __pow__(self, power: int) -> MatrixRepresentation:
        """The tensor power; the 0th is the scalar."""
        result = scalar(self.group)
        for _ in range(integer("power", power, minimum=0)):
            result = result @ self
        return result

    def __repr__(self) -> str:
        """The group and the summands."""
        runs = [(name, len(list(run))) for name, run in groupby(field.name for field in self.fields)]
        return f"{self.group.name}: " + (" + ".join(n if k == 1 else f"{k} {n}" for n, k in runs) or "0")

    def _check(self, other: object) -> None:
        instance("other", other, MatrixRepresentation, "Combine representations of the same group.")
        if isinstance(other, MatrixRepresentation) and other.group != self.group:
            remedy = "Build both from the same group."
            raise RepresentationError("other.group", other.group.name, f"the group {self.group.name}", remedy)


def _check_brackets(given: Generators, images: Generators) -> None:
    """Refuse images that do not satisfy the relations among the generators of the Lie algebra."""
    moved, seen = (torch.cat([_brackets(g), _conjugates(g)]) for g in (given, images))
    if len(moved) == 0:
        return
    basis = given.algebra.flatten(1).mT  # shape: (n * n, a)
    coordinates = torch.linalg.lstsq(basis, moved.flatten(1).mT, driver="gelsd").solution
    closed = (basis @ coordinates - moved.flatten(1).mT).norm(dim=0) <= RELATION_TOLERANCE * (1 + moved.norm())
    defect = (images.algebra.flatten(1).mT @ coordinates - seen.flatten(1).mT)[:, closed]
    if bool((defect.abs() > RELATION_TOLERANCE * (1 + seen.norm())).any()):
        expected = "images whose brackets, and conjugates by discrete generators, are those of the generators"
        remedy = "Check the order and the signs: drho([X, Y]) = [drho(X), drho(Y)]."
        raise RepresentationError("largest deviation", float(defect.abs().max()), expected, remedy)


def _brackets(g: Generators) -> Tensor:
    products = g.algebra[:, None] @ g.algebra[None]
    return (products - products.transpose(0, 1)).flatten(0, 1)


def _conjugates(g: Generators) -> Tensor:
    inverses = torch.linalg.inv(g.discrete)
    return (g.discrete[:, None] @ g.algebra[None] @ inverses[:, None]).flatten(0, 1)


def scalar(group: MatrixGroup) -> MatrixRepresentation:
    """The trivial representation: one invariant channel."""
    instance("group", group, MatrixGroup, "Build one, e.g. with orthogonal_group(5).")
    return MatrixRepresentation(group, (MatrixField(group, ()),))


def vector(group: MatrixGroup) -> MatrixRepresentation:
    """The defining representation: the matrices themselves."""
    instance("group", group, MatrixGroup, "Build one, e.g. with orthogonal_group(5).")
    return MatrixRepresentation(group, (MatrixField(group, (MatrixFactor("V", group.generators),)),))
