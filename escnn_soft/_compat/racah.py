"""The Clebsch-Gordan coefficients of SO(3) in escnn's real bases, in closed form."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["clebsch_gordan"]


def clebsch_gordan(left: int, right: int, degree: int) -> NDArray[np.float64]:
    r"""The intertwiner from psi_j into psi_l (x) psi_m, in the layout and with the signs of escnn's with py3nj.

    The complex coefficients <l a m b | j c>, turned into the real bases of the three irreps. They become real, or
    imaginary where l + m + j is odd.

    Args:
        left: l.
        right: m.
        degree: j.

    Returns:
        The coefficients, none where psi_j does not occur.  # shape: (2 l + 1, 2 m + 1, 1 or 0, 2 j + 1)

    Example:
        >>> bool(np.allclose(clebsch_gordan(1, 1, 0)[:, :, 0, 0], np.eye(3) / -(3**0.5)))
        True
        >>> clebsch_gordan(1, 1, 3).shape
        (3, 3, 0, 7)
    """
    from escnn.group.groups.so3group import _change_of_basis_real2complex  # not above: importing escnn imports us

    if not abs(left - right) <= degree <= left + right:
        return np.zeros((2 * left + 1, 2 * right + 1, 0, 2 * degree + 1))
    coefficients = np.zeros((2 * left + 1, 2 * right + 1, 2 * degree + 1))
    for a in range(-left, left + 1):
        for b in range(max(-right, -degree - a), min(right, degree - a) + 1):
            coefficients[left + a, right + b, degree + a + b] = _complex(left, a, right, b, degree)
    bases = (_change_of_basis_real2complex(d) for d in (left, right, degree))
    into_left, into_right, into_degree = bases
    turned = np.einsum("abc,ax,by,cz->xyz", coefficients, into_left, into_right, into_degree.conj())
    real = turned.real if (left + right + degree) % 2 == 0 else turned.imag
    return np.ascontiguousarray(real)[:, :, None, :]


@cache
def _complex(l: int, a: int, m: int, b: int, j: int) -> float:
    """<l a m b | j (a + b)>, exact up to the root: Racah, "Theory of Complex Spectra II", Phys. Rev. 62, eq. (16)."""
    f, c = math.factorial, a + b
    terms = (
        Fraction((-1) ** k, f(k) * f(l + m - j - k) * f(l - a - k) * f(m + b - k) * f(j - m + a + k) * f(j - l - b + k))
        for k in range(max(0, m - j - a, l - j + b), min(l + m - j, l - a, m + b) + 1)
    )
    total = sum(terms, Fraction(0))
    triangle = Fraction((2 * j + 1) * f(j + l - m) * f(j - l + m) * f(l + m - j), f(l + m + j + 1))
    square = total**2 * triangle * f(j + c) * f(j - c) * f(l - a) * f(l + a) * f(m - b) * f(m + b)
    return math.copysign(math.sqrt(square), total)
