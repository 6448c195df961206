"""Exact averages over a compact group: weighted elements that integrate every matrix coefficient up to a degree."""

from __future__ import annotations

import numpy as np
from escnn.group import O2, O3, SO2, SO3, DirectProductGroup, Group, GroupElement
from escnn.nn import FieldType
from scipy.special import roots_legendre

from escnn_soft.testing.samples import element_at

__all__ = ["degree", "haar_quadrature"]


def degree(field_type: FieldType) -> int:
    """Highest frequency, or degree, of a type's irreps; of products the highest of a factor."""
    return max(_largest(psi) for psi in field_type.irreps)


def haar_quadrature(group: Group, degree: int) -> list[tuple[GroupElement, float]]:
    """Elements and weights with E_g F(g) = sum of weight F(g) for matrix coefficients F of irreps up to a degree.

    Equidistant angles for SO(2) and for the first and last Euler angle of SO(3), Gauss-Legendre nodes for the cosine
    of the middle one (its matrix coefficients that survive the other two averages are Legendre polynomials).

    Args:
        group: a finite group, SO(2), O(2), SO(3), O(3) or a product.
        degree: highest frequency that is integrated exactly.

    Returns:
        Pairs of an element and its weight; the weights add up to 1.

    Example:
        >>> from escnn import group
        >>> so3 = group.so3_group(1)
        >>> rule = haar_quadrature(so3, 1)
        >>> bool(np.abs(sum(weight * so3.irrep(1)(g) for g, weight in rule)).max() < 1e-12)
        True
    """
    if group.elements is not None:
        return [(g, 1.0 / group.order()) for g in group.elements]
    if isinstance(group, DirectProductGroup):
        rules = haar_quadrature(group.G1, degree), haar_quadrature(group.G2, degree)
        return [(group.pair_elements(g, h), v * w) for g, v in rules[0] for h, w in rules[1]]
    turns = [k / (degree + 1) for k in range(degree + 1)]
    if isinstance(group, SO2 | SO3):
        bits = [0.0]
    else:
        assert isinstance(group, O2 | O3)
        bits = [0.0, 1.0]
    if isinstance(group, SO2 | O2):
        middle: list[tuple[float, float]] = [(0.0, 1.0)]
        last = [0.0]
    else:
        nodes, weights = roots_legendre(degree // 2 + 1)
        middle = [(float(np.arccos(z) / np.pi), float(w / 2)) for z, w in zip(nodes, weights, strict=True)]
        last = turns
    share = 1.0 / (len(bits) * len(turns) * len(last))
    return [
        (element_at(group, [bit, first, second, third]), share * weight)
        for bit in bits
        for first in turns
        for second, weight in middle
        for third in last
    ]


def _largest(irrep_id: object) -> int:
    return max(map(_largest, irrep_id)) if isinstance(irrep_id, tuple) else abs(int(str(irrep_id)))
