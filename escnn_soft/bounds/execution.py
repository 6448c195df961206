"""A linear layer as it runs: operator norms of its error, what they cover, and the rounding of the arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from escnn_soft.bounds.pixels import PixelErrors

__all__ = ["Execution"]


class Execution(ABC):
    """What is known of the linear map that a layer runs, pixels, strides and padding considered.

    Args:
        dtype: in which the layer computes.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    @abstractmethod
    def error_norm(self, element: Any) -> float:
        """Upper bound on ||f(g x) - g f(x)|| / ||x|| for an element that is covered."""

    @cached_property
    @abstractmethod
    def worst_error_norm(self) -> float:
        """Upper bound on ``error_norm`` over all elements that are covered."""

    @cached_property
    def worst_unfolded_norm(self) -> float:
        """As ``worst_error_norm``, of convolutions by the unfoldings of the kernel: much faster, and looser."""
        return self.worst_error_norm

    @property
    @abstractmethod
    def frobenius_factor(self) -> float:
        """``error_norm`` is at most this factor times the Frobenius norm of the weights' error."""

    @cached_property
    @abstractmethod
    def lipschitz(self) -> float:
        """Upper bound on ||f(x) - f(y)|| / ||x - y||."""

    @cached_property
    @abstractmethod
    def rounding(self) -> float:
        """Upper bound on the floating-point error of one evaluation, divided by ||x||."""

    def pixel_errors(self) -> PixelErrors | None:
        """The exact errors of the weights under the elements that move pixels onto pixels; None without pixels."""
        return None

    @abstractmethod
    def refusal(self, element: Any, input_shape: Sequence[int]) -> str | None:
        """Why the element is not covered on inputs of a shape; None if it is."""

    def accumulated(self, terms: int) -> float:
        """n u, the relative error of a sum of n products in any order, for every n; Jeannerod and Rump 2013.

        Higham's gamma_n = n u / (1 - n u) ends at n u = 1, which are 256 products in bfloat16.

        Returns:
            The bound, as a fraction of the sum of the absolute values.
        """
        return terms * torch.finfo(self.dtype).eps / 2
