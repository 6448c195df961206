"""What makes a map between two representations equivariant: L W = 0, generator by generator."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.groups.matrix.generators import Generators

__all__ = ["constraint_gram", "constraints", "intertwines", "maps_to_itself", "stable"]

STABLE_TOLERANCE = 1e-9
"""Commutator of L^T L with a generator, as a fraction of the product of their norms, that counts as zero."""

ROUNDING = 1e-13
"""Rounding of a generator's action, as a fraction of what it acts on."""

INVARIANT_TOLERANCE = 1e-12
"""Entry by which a generator may move an invariant subspace, or an intertwiner fail, as a fraction of its largest."""


def constraints(out: Generators, into: Generators, maps: Tensor) -> list[Tensor]:
    """L W, one stack (k, d_out, d_in) a generator."""
    parts = [x @ maps - maps @ y for x, y in zip(out.algebra, into.algebra, strict=True)]
    inverses = torch.linalg.inv(into.discrete)
    return parts + [h @ maps @ k - maps for h, k in zip(out.discrete, inverses, strict=True)]


def constraint_gram(out: Generators, into: Generators, maps: Tensor) -> Tensor:
    """L^T L W, (k, d_out, d_in)."""
    total, inverses = torch.zeros_like(maps), torch.linalg.inv(into.discrete)
    for x, y in zip(out.algebra, into.algebra, strict=True):
        part = x @ maps - maps @ y
        total += x.mT @ part - part @ y.mT
    for h, k in zip(out.discrete, inverses, strict=True):
        part = h @ maps @ k - maps
        total += h.mT @ part @ k.mT - part
    return total


def maps_to_itself(generators: Generators, basis: Tensor) -> bool:
    """Whether the span of orthonormal columns is stable under all generators, to rounding."""
    return intertwines(generators, basis, generators.restricted(basis))


def intertwines(left: Generators, a: Tensor, right: Generators) -> bool:
    """Whether rho(X) A = A psi(X) for all generators, to rounding."""
    defects = (left.algebra @ a - a @ right.algebra, left.discrete @ a - a @ right.discrete)
    sizes = (max(1.0, float(part.abs().max())) if part.numel() else 1.0 for part in (left.algebra, left.discrete))
    return all(
        bool((defect.abs() <= INVARIANT_TOLERANCE * size).all()) for defect, size in zip(defects, sizes, strict=True)
    )


def stable(gram: Tensor, out: Generators, into: Generators) -> bool:
    """Whether L^T L commutes with the group, tested on random maps rather than with matrices of its size."""
    source = torch.Generator().manual_seed(0)
    w = torch.randn(3, out.size, into.size, dtype=torch.float64, generator=source)

    def apply(maps: Tensor) -> Tensor:
        return (maps.flatten(1) @ gram).view(maps.shape)

    parts, moved = constraints(out, into, w), constraints(out, into, apply(w))
    floor = float(w.norm()) * ROUNDING  # where a generator moves nothing there is only rounding
    return all(
        float((apply(part) - other).norm()) <= float(gram.norm()) * (STABLE_TOLERANCE * float(part.norm()) + floor)
        for part, other in zip(parts, moved, strict=True)
    )
