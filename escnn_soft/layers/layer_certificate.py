"""Certificates of matrices and kernels that run between given fields."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from torch import Tensor

from escnn_soft.bounds import Certificate, Term, check_finite
from escnn_soft.grading import GradedWeight, IrrepGrams, SpectralGrading, WeightTransform, fibre_transform
from escnn_soft.groups import fibre_group
from escnn_soft.layers.geometry import Movement
from escnn_soft.layers.layer_execution import ConvolutionExecution, MatrixExecution

__all__ = ["bias_certificate", "convolution_certificate", "irrep_terms", "matrix_certificate"]

Fields = Sequence[Representation]


def matrix_certificate(
    transform: WeightTransform,
    in_fields: Fields,
    out_fields: Fields,
    matrix: Tensor,  # W (out, in), in the dtype in which it runs
    bias: Tensor | None,
    gspace: GSpace,
    name: str = "matrix",
) -> Certificate:
    """Certificate of x -> W x + b between feature vectors, exact for every group."""
    exact = matrix.detach().double().cpu()
    check_finite(name, exact, alone=name != "bias")
    group = fibre_group(gspace)
    execution = MatrixExecution(group, in_fields, out_fields, exact, matrix.dtype)
    terms = irrep_terms(GradedWeight(transform), exact[:, :, None])
    return Certificate(
        terms, "grid", "", (), bias_certificate(bias, out_fields, gspace),
        symmetry=group, execution=execution,
    )  # fmt: skip


def convolution_certificate(
    graded: SpectralGrading,
    in_fields: Fields,
    out_fields: Fields,
    kernel: Tensor,
    bias: Tensor | None,
    gspace: GSpace,
    geometry: Movement,
    bias_fields: Fields | None = None,
) -> Certificate:
    """Certificate of a convolution, transposed or not, exact under the elements that move pixels onto pixels.

    Args:
        graded: the levels of the kernels: the very ones that a dial has, where there is one.
        in_fields: fields of the input (of one group, unless transposed).
        out_fields: fields of the output (of one group, if transposed).
        kernel: in the dtype in which it runs.  # shape: (out, in / groups, k, ...) or (out / groups, in, k, ...)
        bias: or None.  # shape: (out,)
        gspace: on the plane or in space.
        geometry: how the kernel moves.
        bias_fields: fields of the output, all groups; ``out_fields`` if None.

    Returns:
        The certificate.

    Raises:
        ArgumentError: if the kernel or the bias is not finite.
    """
    exact = kernel.detach().double().cpu()
    check_finite("kernel", exact)
    execution = ConvolutionExecution(gspace, in_fields, out_fields, exact, geometry, kernel.dtype)
    assumptions = [_geometry_in_words(geometry, execution)]
    reason = ""
    terms, transform = irrep_terms(graded, exact), graded.transform
    if not transform.exact:
        covered = ", ".join(str(g) for g in execution.elements)
        reason = f"only {covered} of {gspace.fibergroup} move pixels onto pixels"
        assumptions.append("norms are those of the coefficients of the continuous kernel, not of its pixels")
        if transform.dependent:
            assumptions.append(
                f"{transform.dependent} of the sampled harmonics are linearly dependent on these pixels, and count as "
                "what those of lower frequency and the remainder make of them"
            )
        lawless = sum(term.energy for term in terms if term.irrep is None)
        if lawless > 0:
            assumptions.append(
                f"a remainder of norm {math.sqrt(lawless):.3g} beyond the band limit counts with twice its norm"
            )
    return Certificate(
        terms, "grid" if transform.exact else "continuous", reason, tuple(assumptions),
        bias_certificate(bias, out_fields if bias_fields is None else bias_fields, gspace),
        symmetry=fibre_group(gspace), execution=execution,
    )  # fmt: skip


def irrep_terms(graded: SpectralGrading, weight: Tensor) -> tuple[Term, ...]:
    """What each irrep contributes to a weight (out, in, S), in float64."""
    graded = graded.whole  # whatever the weight may be
    grams = IrrepGrams(graded.transform)
    return tuple(
        Term(irrep, sigma, float(torch.trace(gram)), tuple(tuple(row) for row in gram.tolist()))
        for irrep, sigma, gram in zip(grams.irreps, grams.sigmas, grams(graded.block_coefficients(weight)), strict=True)
    )


def bias_certificate(bias: Tensor | None, out_fields: Fields, gspace: GSpace) -> Certificate | None:
    """Certificate of a bias, None without one."""
    if bias is None:
        return None
    trivial = [gspace.trivial_repr]
    transform = fibre_transform(gspace, trivial, out_fields)
    return matrix_certificate(transform, trivial, out_fields, bias[:, None], None, gspace, "bias")


def _geometry_in_words(geometry: Movement, execution: ConvolutionExecution) -> str:
    names = ", ".join(str(g) for g in execution.elements)
    words = f"operator bounds hold under {names}"
    return f"{words}, {geometry.conditions}" if geometry.conditions else words
