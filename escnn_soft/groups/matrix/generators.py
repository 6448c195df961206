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

__all__ = ["Generators", "MatrixElement", "generators_of"]

ORTHOGONAL_TOLERANCE = 1e-10
"""Entry of X + X^T, or of h^T h - I, that still counts as zero."""


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
        """Whether every element is represented by an orthogonal matrix."""
        defects = (self.algebra + self.algebra.mT, self.discrete.mT @ self.discrete - torch.eye(self.size))
        return all(bool((defect.abs() <= ORTHOGONAL_TOLERANCE).all()) for defect in defects)

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
        return Generators(basis.mT @ self.algebra @ basis, basis.mT @ self.discrete @ basis)

    def matrix(self, element: MatrixElement) -> Tensor:
        """rho(g), (n, n)."""
        theta = [step for step in element.steps if not isinstance(step, int)]
        rows = torch.tensor(theta, dtype=torch.float64).reshape(len(theta), len(self.algebra))
        # scipy's: up to torch 2.14 matrix_exp of a single matrix of norm 0.05 is wrong by 1e-10
        exponentials = (torch.from_numpy(expm(x.numpy())) for x in torch.einsum("sa,aij->sij", rows, self.algebra))
        result = torch.eye(self.size, dtype=torch.float64)
        for step, run in groupby(element.steps):
            count = len(list(run))
            if isinstance(step, int):
                result = result @ torch.linalg.matrix_power(self.discrete[step], count)
            else:
                for _ in range(count):
                    result = result @ next(exponentials)
        return result


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
    if len(result.discrete) and bool((torch.linalg.det(result.discrete).abs() < ORTHOGONAL_TOLERANCE).any()):
        raise RepresentationError("discrete", discrete, "invertible matrices", "Remove the singular ones.")
    return result


def _stack(matrices: Sequence[Tensor], size: int) -> Tensor:
    return torch.stack(list(matrices)) if matrices else torch.zeros(0, size, size, dtype=torch.float64)
