"""Functions on the group, sampled: Fourier non-linearities; and the tensor product of a field with itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from escnn_soft.certification.rules.gated import field_norms, largest, sizes_of
from escnn_soft.certification.rules.pointwise import constant_of, function_name
from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, unit_roundoff

__all__ = ["Fourier", "TensorProduct"]


class Fourier(Rule):
    """x -> A^+ phi(A x) for each field: ||A^+|| sup phi' ||A||.

    Exact only for elements that permute the samples, A rho(g) = P A; how far it is off for others is left to a
    measurement.
    """

    kind = "measured"

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the two matrices."""
        known = constant_of(function_name(call.module))
        if known is None:
            return (math.inf,)
        there, back = (matrix.detach().double() for matrix in (call.module.A, call.module.Ainv))
        norms = [float(torch.linalg.matrix_norm(matrix, 2)) for matrix in (there, back)]
        return (norms[0] * norms[1] * known[0] * (1 + 1e-9),)

    def no_constant(self, call: Call) -> str:
        """Unknown functions."""
        return "its function is not known, so neither is its largest slope"

    def own(self, call: Call, row: int) -> Deviation | None:
        """Left to a measurement."""
        return None

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """gamma_n || |A^+| || (2 || |A| || |x| + what phi adds), for the two sums and phi between them."""
        there, back = (matrix.detach().double().abs() for matrix in (call.module.A, call.module.Ainv))
        samples = there.shape[0] * len(call.type) * call.points
        inner = 2 * float(torch.linalg.matrix_norm(there, 2)) * norms + math.sqrt(samples)
        terms = sum(there.shape) + 16
        return terms * unit_roundoff(call) * float(torch.linalg.matrix_norm(back, 2)) * inner


class TensorProduct(Rule):
    """x -> W (x (x) x): ||W|| (|x| + |y|) |y - x| <= ||W|| (2 M + reach) |y - x|, M the largest field of this input."""

    kind = "measured"
    single = True
    local = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the matrix that runs."""
        norms = field_norms(call.x, sizes_of(call.type))
        return (self._norm(call) * (2 * largest(norms) + reach),)

    def no_constant(self, call: Call) -> str:
        """Inputs far away."""
        return "a quadratic map has no Lipschitz constant on the whole space, and the error of its input is not bounded"

    def own(self, call: Call, row: int) -> Deviation | None:
        """Left to a measurement: escnn keeps the matrix in single precision."""
        return None

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """gamma_n of the sums, with |W| for W."""
        size = call.type.representations[0].size
        strongest = largest(field_norms(call.x, sizes_of(call.type))) + reach[:-1]
        factor = self._norm(call, absolute=True) * (size**2 + 4) * unit_roundoff(call)
        return factor * strongest * norms

    def _norm(self, call: Call, *, absolute: bool = False) -> float:
        module = call.module
        matrix = module.expand_parameters() if module.training else module.matrix
        matrix = (matrix[0] if isinstance(matrix, tuple) else matrix).detach().double()  # a soft layer's has no bias
        blocks = matrix.view(len(call.type), -1, matrix.shape[1])
        return float(torch.linalg.matrix_norm(blocks.abs() if absolute else blocks, 2).max()) * (1 + 1e-9)
