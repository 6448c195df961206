"""Quadratic maps x -> W (x (x) x), field by field: as plain torch runs them, and what can be certified of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from torch import Tensor

from escnn_soft.bounds import Certificate, Execution
from escnn_soft.grading import WeightTransform
from escnn_soft.layers.layer_certificate import matrix_certificate

__all__ = ["PlainTensorProduct", "quadratic_certificate", "square_fields"]


def square_fields(x: Tensor, matrix: Tensor, fields: int) -> Tensor:
    """W_c (x_c (x) x_c) for each field c, at each point: x (n, fields * i, ...), W (fields * o, i * i)."""
    parts = x.unflatten(1, (fields, -1))
    squares = torch.einsum("bci...,bcj...->bcij...", parts, parts).flatten(2, 3)
    return torch.einsum("coi,bci...->bco...", matrix.view(fields, -1, matrix.shape[1]), squares).flatten(1, 2)


class PlainTensorProduct(torch.nn.Module):
    """The quadratic layer without escnn.

    Args:
        fields: number of fields.
        shape: of the matrix, (fields * m, n * n).
        device: of the matrix.
        dtype: of the matrix.
    """

    bias: None = None

    def __init__(self, fields: int, shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.fields = fields
        self.weight = torch.nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The product of each field with itself, projected."""
        return square_fields(x, self.weight, self.fields)


class _QuadraticExecution(Execution):
    """Errors grow with ||x||^2, so that no bound in proportion to ||x|| exists."""

    frobenius_factor = math.inf
    worst_error_norm = math.inf
    lipschitz = math.inf
    rounding = math.inf

    def error_norm(self, element: Any) -> float:
        """There is no bound."""
        return math.inf

    def refusal(self, element: Any, input_shape: Sequence[int]) -> str | None:
        """Every element but the identity."""
        quadratic = "the layer is quadratic: its error is at most e(g) ||x||^2 at each point, not proportional to ||x||"
        return None if element == element.group.identity else quadratic


def quadratic_certificate(
    transform: WeightTransform,
    hidden: Representation,
    out_fields: Sequence[Representation],
    matrix: Tensor,  # W (out, hidden), in the dtype in which it runs
    gspace: GSpace,
) -> Certificate:
    """Certificate of x -> W (x (x) x): exact errors of W for every element, no operator norms."""
    linear = matrix_certificate(transform, [hidden], out_fields, matrix, None, gspace)
    words = "errors are those of W in f(x) = W (x (x) x): ||f(g x) - g f(x)|| <= e(g) ||x||^2 at each point"
    return replace(linear, assumptions=(words,), execution=_QuadraticExecution(matrix.dtype))
