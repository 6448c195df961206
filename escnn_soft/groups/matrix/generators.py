"""The generators of a matrix group in one representation, and group elements as products of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from scipy.linalg import expm
from torch import Tensor

from escnn_soft.errors import RepresentationError, ShapeError

__all__ = ["Generators", "MatrixElement", "generators_of", "without_rounding"]

ROUNDING = 1e-14
"""Entry of X + X^T, as a fraction of the largest of X and for each row, that is rounding; likewise of h^T h - I."""

_LARGE = 1e3
"""Entry of an exponent beyond which squaring loses digits."""

SINGULAR = 1e-10
"""Determinant of a matrix that counts as singular."""


@dataclass(frozen=True, eq=False)
class Generators:
    """The matrices of a group's generators in one representation; equal if the matrices are.

    Attributes:
        algebra: images of the Lie-algebra generators X_a; float64.  # shape: (a, n, n)
        discrete: images of the discrete generators h_b; float64.  # shape: (b, n, n)
    """

    algebra: Tensor
    discrete: Tensor

    @cached_property
    def _key(self) -> tuple[bytes, bytes, int]:
        return self.algebra.numpy().tobytes(), self.discrete.numpy().tobytes(), self.size

    def __eq__(self, other: object) -> bool:
        """Whether the matrices are equal, to the last bit."""
        return isinstance(other, Generators) and self._key == other._key

    def __hash__(self) -> int:
        """Of the matrices."""
        return hash(self._key)

    @property
    def size(self) -> int:
        """Dimension n."""
        return self.algebra.shape[-1]

    @cached_property
    def orthogonal(self) -> bool:
        """Whether every element is represented by an orthogonal matrix.

        The X_a have to be skew to the last bit: what exp(t X) grows by is a matter of t, however little X + X^T is.
        """
        skew = torch.equal(self.algebra, -self.algebra.mT)
        defect = self.discrete.mT @ self.discrete - torch.eye(self.size)
        return skew and bool((defect.abs() <= ROUNDING * self.size).all())

    @property
    def dual(self) -> Generators:
        """The contragredient matrices: -X^T and h^-T; the same object where all are orthogonal."""
        if self.orthogonal:
            return self
        return Generators(-self.algebra.mT.contiguous(), torch.linalg.inv(self.discrete).mT.contiguous())

    def tensor(self, other: Generators) -> Generators:
        """The tensor product: X (x) I + I (x) X and h (x) h."""
        left, right = (torch.eye(g.size, dtype=torch.float64) for g in (self, other))
        pairs = zip(self.algebra, other.algebra, strict=True)
        algebra = [torch.kron(x, right) + torch.kron(left, y) for x, y in pairs]
        discrete = [torch.kron(h, k) for h, k in zip(self.discrete, other.discrete, strict=True)]
        return Generators(_stack(algebra, self.size * other.size), _stack(discrete, self.size * other.size))

    def restricted(self, basis: Tensor) -> Generators:
        """The matrices on the span of orthonormal columns (n, d) that the group maps to itself."""
        return without_rounding(Generators(basis.mT @ self.algebra @ basis, basis.mT @ self.discrete @ basis))

    def matrix(self, element: MatrixElement) -> Tensor:
        """rho(g), (n, n)."""
        theta = [step for step in element.steps if not isinstance(step, int)]
        rows = torch.tensor(theta, dtype=torch.float64).reshape(len(theta), len(self.algebra))
        exponentials = (self._exponential(x) for x in torch.einsum("sa,aij->sij", rows, self.algebra))
        result = torch.eye(self.size, dtype=torch.float64)
        for step, run in groupby(element.steps):
            count = len(list(run))
            if isinstance(step, int):
                result = result @ torch.linalg.matrix_power(self.discrete[step], count)
            else:
                for _ in range(count):
                    result = result @ next(exponentials)
        return result

    def _exponential(self, x: Tensor) -> Tensor:
        """exp(x), orthogonal however large a skew x is: repeated squaring would lose that."""
        if self.orthogonal and float(x.abs().max()) > _LARGE:
            values, vectors = torch.linalg.eigh(1j * x)
            return ((vectors * torch.exp(-1j * values)) @ vectors.mH).real
        # scipy's: up to torch 2.14 matrix_exp of a single matrix of norm 0.05 is wrong by 1e-10
        return torch.from_numpy(expm(x.numpy()))


@dataclass(frozen=True)
class MatrixElement:
    """A group element as a product, from left to right, of exponentials and discrete generators.

    It names the same element in every representation of the group.

    Attributes:
        steps: coordinates theta of exp(sum theta_a X_a), or the number b of a discrete generator.
    """

    steps: tuple[tuple[float, ...] | int, ...]


def generators_of(algebra: object, discrete: object) -> Generators:
    """Checked stacks of matrices of one size."""
    remedy = "Pass stacks of square matrices of one size: algebra (a, n, n), discrete (b, n, n)."
    stacks = []
    for name, value in (("algebra", algebra), ("discrete", discrete)):
        stack = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
        if stack.numel() and (stack.dim() != 3 or stack.shape[1] != stack.shape[2]):
            raise ShapeError(f"{name}.shape", tuple(stack.shape), "a stack of square matrices", remedy)
        stacks.append(stack)
    sizes = {stack.shape[-1] for stack in stacks if stack.numel()}
    if len(sizes) != 1:
        raise ShapeError("sizes of the generators", sorted(sizes), "one size", remedy)
    size = sizes.pop()
    result = Generators(*(s.contiguous() if s.numel() else s.new_zeros(0, size, size) for s in stacks))
    if len(result.discrete) and bool((torch.linalg.det(result.discrete).abs() < SINGULAR).any()):
        raise RepresentationError("discrete", discrete, "invertible matrices", "Remove the singular ones.")
    return without_rounding(result)


def without_rounding(generators: Generators, tolerance: float = ROUNDING) -> Generators:
    """The same matrices, those exactly skew or orthogonal that are so up to rounding, such as a turned J of SO(2).

    Args:
        generators: any.
        tolerance: for each row, what counts as rounding.

    Returns:
        The matrices of a compact group, where it is rounding alone that stands against it.
    """
    algebra, discrete = generators.algebra, generators.discrete
    if algebra.numel():
        defect, size = (algebra + algebra.mT).abs().amax((1, 2)), algebra.abs().amax((1, 2))
        skew = defect <= tolerance * generators.size * size
        algebra = torch.where(skew[:, None, None], (algebra - algebra.mT) / 2, algebra)
    if discrete.numel():
        eye = torch.eye(generators.size, dtype=torch.float64)
        square = discrete.mT @ discrete
        orthogonal = (square - eye).abs().amax((1, 2)) <= tolerance * generators.size
        # a step of Newton's method for the polar factor doubles the digits
        discrete = torch.where(orthogonal[:, None, None], discrete @ (3 * eye - square) / 2, discrete)
    return Generators(algebra, discrete)


def _stack(matrices: Sequence[Tensor], size: int) -> Tensor:
    return torch.stack(list(matrices)) if matrices else torch.zeros(0, size, size, dtype=torch.float64)
