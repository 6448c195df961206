"""Point convolutions as they run: bounds of single messages, which are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from escnn.group import GroupElement
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.bounds import Certificate, Execution, check_finite
from escnn_soft.grading import GradedWeight, RingFunctions, WeightTransform
from escnn_soft.groups import FibreGroup, fibre_group
from escnn_soft.layers.layer_certificate import bias_certificate, irrep_terms
from escnn_soft.linalg import spectral_norm

__all__ = ["PointExecution", "point_certificate"]


class PointExecution(Execution):
    r"""The messages K(x) v = sum over s of phi_s(x) C_s v of edges x, averaged at each node.

    ||sum over s of phi_s C_s|| <= |phi(x)| ||C||, with C unfolded to a matrix in any of three ways. Messages are
    averaged, so a bound for one message bounds the largest feature vector of the output by that of the input:

        max over nodes |f(g x) - g f(x)| <= error_norm * max over nodes |x| + error of the bias

    Args:
        group: the fibre group.
        transform: the spectrum of the coefficients.
        coefficients: C, in double precision.  # shape: (out, in, S)
        supremum: upper bound on |phi(x)| over the edges.
        dtype: in which the layer computes.
    """

    def __init__(
        self,
        group: FibreGroup,
        transform: WeightTransform,
        coefficients: Tensor,
        supremum: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(dtype)
        self.group, self.transform, self.coefficients, self.supremum = group, transform, coefficients, supremum

    def error_norm(self, element: GroupElement) -> float:
        """Upper bound on ||rho_out(g) K(g^-1 x) rho_in(g)^-1 - K(x)|| over the edges x."""
        return self.supremum * unfolded_norm(self.error(element))

    def error(self, element: GroupElement) -> Tensor:
        """g . C - C, (out, in, S), each coefficient vector moved by its irrep."""
        transform = self.transform
        moves = [self.group.matrix(level.irrep_id, element) for level in transform.levels if level.irrep_id is not None]
        pieces = []
        for block, c in zip(transform.blocks, transform.block_coefficients(self.coefficients), strict=True):
            sizes = torch.bincount(block.level, minlength=len(moves)).tolist()  # rows are sorted by level
            parts = zip(c.split(sizes, dim=1), moves, strict=True)
            pieces.append(torch.cat([_difference(part, psi) for part, psi in parts], dim=1).reshape(-1))
        return transform.synthesis(torch.cat(pieces))

    @cached_property
    def worst_error_norm(self) -> float:
        """The maximum over a finite group; of any other group the Frobenius norm has to do."""
        return math.inf if self.group.circles else max(self.error_norm(g) for g in self.group.cosets)

    @property
    def frobenius_factor(self) -> float:
        """||K(x)|| <= |phi(x)| ||C||_F."""
        return self.supremum

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound on ||K(x)|| over the edges, and so of the largest feature vector's growth."""
        return self.supremum * unfolded_norm(self.coefficients)

    @cached_property
    def rounding(self) -> float:
        """n u || |C| ||, with n the number of products that are summed for one message."""
        products = self.coefficients[0].numel() + 1
        return self.accumulated(products) * self.supremum * unfolded_norm(self.coefficients.abs())

    def refusal(self, element: GroupElement, input_shape: Sequence[int]) -> str | None:
        """Norms over all nodes depend on the graph: where many edges leave one node, its features count many times."""
        return "the bound is of the largest feature vector of a graph, not of the norm of all"


def _difference(vectors: Tensor, psi: Tensor) -> Tensor:
    """psi w - w for the vectors w of an irrep that lie next to each other in the rows."""
    each = vectors.reshape(len(vectors), -1, len(psi))
    return (each @ (psi - torch.eye(len(psi), dtype=psi.dtype)).T).reshape(vectors.shape)


def unfolded_norm(coefficients: Tensor) -> float:
    """The least of the spectral norms of (out, in S), (out S, in) and (out in, S)."""
    m, n, s = coefficients.shape
    return min(
        float(spectral_norm(coefficients.reshape(m, n * s))),
        float(spectral_norm(coefficients.transpose(1, 2).reshape(m * s, n))),
        float(spectral_norm(coefficients.reshape(m * n, s))),
    )


def point_certificate(
    transform: WeightTransform,
    functions: RingFunctions,
    coefficients: Tensor,
    bias: Tensor | None,
    out_type: FieldType,
    radius: float,
) -> Certificate:
    """Certificate of a point convolution, for every element of the group and edges up to a radius."""
    group, exact = fibre_group(out_type.gspace), coefficients.detach().double().cpu()
    check_finite("coefficients", exact)
    execution = PointExecution(group, transform, exact, functions.supremum(radius), coefficients.dtype)
    edges = "all edges" if math.isinf(radius) else f"edges of length at most {radius:g}"
    assumptions = (
        "norms are those of the coefficients of rings times harmonics, K(x) = sum of C_s phi_s(x)",
        f"operator bounds hold for single messages and for the largest feature vector of a graph, over {edges}, whose "
        "points the group moves with the features",
        "rounding is that of the sums of a message, not of the rings and harmonics",
    )
    reason = "the kernel is continuous and is evaluated, not sampled"
    return Certificate(
        irrep_terms(GradedWeight(transform), exact), "points", reason, assumptions,
        bias_certificate(bias, out_type.representations, out_type.gspace),
        symmetry=group, execution=execution,
    )  # fmt: skip
