"""Bases of large kernels as two factors: functions on the points, and couplings of irreps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

__all__ = ["Factors", "PointFunctions", "dense", "narrowed", "times"]


@dataclass(frozen=True, eq=False)
class PointFunctions:
    """All functions on a kernel's points, and those dual to them, shared by all pairs of irreps.

    Attributes:
        matrix: a function a column.  # shape: (S, S)
        dual: the transpose of its inverse.  # shape: (S, S)
    """

    matrix: Tensor
    dual: Tensor

    def __post_init__(self) -> None:
        """Give the functions their own memo of casts."""
        object.__setattr__(self, "cast", cache(self.cast))

    def __reduce__(self) -> tuple[type[PointFunctions], tuple[Tensor, Tensor]]:
        """What is remembered stays behind."""
        return PointFunctions, (self.matrix, self.dual)

    @torch.inference_mode(False)
    def cast(self, device: torch.device, dtype: torch.dtype) -> PointFunctions:
        """The functions on a device in a dtype, cast once and remembered."""
        matrix = self.matrix.to(device=device, dtype=dtype)
        return PointFunctions(matrix, matrix if self.dual is self.matrix else self.dual.to(device=device, dtype=dtype))


@dataclass(frozen=True, eq=False)
class Factors:
    r"""A matrix, rows = P (Q (x) 1) (1 (x) F^T): D basis kernels (d_out, S, d_in), never formed.

    F has the functions on the points, Q couples their irreps with those of the channels, and P sorts and selects. A
    product costs d_out d_in S^2, where that with the matrix would cost (d_out S d_in)^2.

    Attributes:
        functions: F, kind by kind: an irrep, or functions on which the group has no law; copy by copy.
        couplings: Q of each kind.  # each: (d_out * d_in * d, d_out * d_in * d), directions in the columns
        copies: number of copies of each kind.
        order: which direction of which copy each row is, counted through.  # shape: (D,)
        sizes: d_out and d_in.
        dual: whether the functions are those of the dual basis.
        transposed: whether the matrix is the transpose, (d_out * S * d_in, D).
    """

    functions: PointFunctions
    couplings: tuple[Tensor, ...]
    copies: tuple[int, ...]
    order: Tensor
    sizes: tuple[int, int]
    dual: bool = False
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        shape = len(self.order), math.prod(self.sizes) * len(self.functions.matrix)
        return shape[::-1] if self.transposed else shape

    @property
    def mT(self) -> Factors:
        """The transpose."""
        return replace(self, transposed=not self.transposed)

    @property
    def inverse(self) -> Factors:
        """The matrix whose columns tell coefficients, (d_out * S * d_in, D)."""
        return replace(self, dual=not self.dual, transposed=not self.transposed)

    @property
    def device(self) -> torch.device:
        """Where the factors are."""
        return self.functions.matrix.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the factors."""
        return self.functions.matrix.dtype

    def numel(self) -> int:
        """Numbers that the matrix would have."""
        return math.prod(self.shape)

    def narrow(self, span: slice) -> Factors:
        """Some of the rows; of the transpose some of the columns."""
        return replace(self, order=self.order[span])

    def to(self, device: torch.device, dtype: torch.dtype) -> Factors:
        """The matrix on a device in a dtype."""
        return replace(
            self,
            functions=self.functions.cast(device, dtype),
            couplings=tuple(coupling.to(device, dtype) for coupling in self.couplings),
            order=self.order.to(device),
        )

    def after(self, x: Tensor) -> Tensor:
        """x @ matrix.

        Args:
            x: rows.  # shape: (n, shape[0])

        Returns:
            The product.  # shape: (n, shape[1])
        """
        return self._told(x) if self.transposed else self._made(x)

    @property
    def _matrix(self) -> Tensor:
        return self.functions.dual if self.dual else self.functions.matrix

    @property
    def _widths(self) -> list[int]:
        """Directions of each kind."""
        return [count * len(q) for count, q in zip(self.copies, self.couplings, strict=True)]

    def _made(self, coefficients: Tensor) -> Tensor:
        """Kernels from coefficients."""
        n, (d_out, d_in) = len(coefficients), self.sizes
        entries = d_out * d_in
        every = coefficients.new_zeros(n, sum(self._widths)).index_copy(1, self.order, coefficients)
        parts = [
            (part.reshape(-1, len(q)) @ q.mT).view(n, count, entries, -1).transpose(1, 2).reshape(n * entries, -1)
            for part, q, count in zip(every.split(self._widths, dim=1), self.couplings, self.copies, strict=True)
        ]
        kernels = torch.cat(parts, dim=1) @ self._matrix.mT
        return kernels.view(n, d_out, d_in, -1).transpose(2, 3).reshape(n, -1)

    def _told(self, kernels: Tensor) -> Tensor:
        """The adjoint of :meth:`_made`."""
        n, (d_out, d_in) = len(kernels), self.sizes
        entries = d_out * d_in
        by_entry = kernels.view(n, d_out, -1, d_in).transpose(2, 3).reshape(n * entries, -1)
        found = (by_entry @ self._matrix).view(n, entries, -1)
        widths = [width // entries for width in self._widths]
        parts = [
            (part.view(n, entries, count, -1).transpose(1, 2).reshape(-1, len(q)) @ q).view(n, -1)
            for part, q, count in zip(found.split(widths, dim=2), self.couplings, self.copies, strict=True)
        ]
        return torch.cat(parts, dim=1).index_select(1, self.order)


def times(x: Tensor, matrix: Tensor | Factors) -> Tensor:
    """x @ matrix."""
    return matrix.after(x) if isinstance(matrix, Factors) else x @ matrix


def narrowed(matrix: Tensor | Factors, span: slice, dim: int = 0) -> Tensor | Factors:
    """Some of the rows of a matrix; columns for ``dim`` 1."""
    if isinstance(matrix, Factors):
        return matrix.narrow(span)
    return matrix[span] if dim == 0 else matrix[:, span]


def dense(matrix: Tensor | Factors) -> Tensor:
    """The matrix itself."""
    if not isinstance(matrix, Factors):
        return matrix
    return matrix.after(torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device))
