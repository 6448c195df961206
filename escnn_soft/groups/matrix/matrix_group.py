"""Matrix groups: what generates them, and their elements as products of exponentials and discrete generators."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from escnn_soft.errors import ShapeError
from escnn_soft.groups.matrix.generators import Generators, MatrixElement, generators_of
from escnn_soft.groups.matrix.haar import Haar

__all__ = ["MatrixGroup"]

_COMPACT_STEPS = 2
"""Exponentials in a random walk on a compact group: long steps, close to Haar measure."""

_LETTERS = 4
"""Discrete generators in a random walk, for each one there is."""

_POWERS = 64
"""Their powers lie below: enough to spread over a large cyclic group, and to mix even and odd."""


@dataclass(frozen=True)
class MatrixGroup:
    r"""A group of matrices, given by generators of its Lie algebra and by discrete generators.

    Every element is a product of exponentials exp(sum theta_a X_a) and of matrices h_b. A representation needs only the
    images drho(X_a) and rho(h_b), and a map W is equivariant iff

        drho_out(X_a) W = W drho_in(X_a)  for all a,     rho_out(h_b) W = W rho_in(h_b)  for all b.

    Scale matters for violations: catalogue groups have X_a of unit frequency, so that SO(2) gives the frequency.

    Source: Finzi, Welling and Wilson, "A Practical Method for Constructing Equivariant Multilayer Perceptrons for
    Arbitrary Matrix Groups" (arXiv 2104.09459), theorem 1.

    Args:
        name: what messages call it.
        generators: the generators themselves, i.e. their images in the defining representation.
        haar: draws an element of exactly Haar measure, for the groups of the catalogue where that is known; not
            compared.

    Example:
        >>> group = MatrixGroup.of("SO(2)", algebra=[[[0.0, -1.0], [1.0, 0.0]]])
        >>> quarter = group.element([torch.pi / 2])
        >>> group.generators.matrix(quarter).round().tolist()
        [[0.0, -1.0], [1.0, 0.0]]
    """

    name: str
    generators: Generators
    haar: Haar | None = field(default=None, compare=False, repr=False)

    @staticmethod
    def of(name: str, algebra: object = (), discrete: object = ()) -> MatrixGroup:
        """A group of your own.

        Args:
            name: what messages call it.
            algebra: Lie-algebra generators.  # shape: (a, n, n)
            discrete: discrete generators, invertible.  # shape: (b, n, n)

        Returns:
            The group.

        Raises:
            ShapeError: if these are not stacks of square matrices of one size, or there are none.
            RepresentationError: if a discrete generator is singular.
        """
        return MatrixGroup(name, generators_of(algebra, discrete))

    @property
    def size(self) -> int:
        """Size of the defining matrices."""
        return self.generators.size

    @property
    def orthogonal(self) -> bool:
        """Whether all defining matrices are orthogonal; then the group is compact, or dense in a compact one."""
        return self.generators.orthogonal

    def element(self, *steps: object) -> MatrixElement:
        """An element from its steps.

        Args:
            *steps: coordinates in the Lie algebra, or numbers of discrete generators.

        Returns:
            The product of the steps.

        Raises:
            ShapeError: if coordinates are not one number a generator.
        """
        algebra, discrete = (len(g) for g in (self.generators.algebra, self.generators.discrete))
        checked: list[tuple[float, ...] | int] = []
        for step in steps:
            if isinstance(step, int):
                if not 0 <= step < discrete:
                    remedy = "Count discrete generators from 0."
                    raise ShapeError(
                        "step",
                        step,
                        f"the index of one of {discrete} discrete generators, or {algebra} coordinates",
                        remedy,
                    )
                checked.append(step)
            else:
                coordinates = tuple(torch.as_tensor(step, dtype=torch.float64).flatten().tolist())
                if len(coordinates) != algebra:
                    remedy = "Pass one coordinate for each generator of the Lie algebra."
                    raise ShapeError("step", step, f"{algebra} coordinates", remedy)
                checked.append(coordinates)
        return MatrixElement(tuple(checked))

    def sample(self, generator: torch.Generator | None = None, reach: float = 0.5) -> MatrixElement:
        """A random element: of Haar measure for compact groups, a short walk from the identity for others.

        Exactly so for SO(n), O(n) and SU(n); finite groups and compact ones of your own are walked by long steps, which
        comes close.

        Args:
            generator: torch's source of random numbers, and all that the element depends on; torch's own if None.
            reach: standard deviation of the coordinates of a group that is not compact.

        Returns:
            The element.
        """
        if self.haar is not None:
            seed = int(torch.randint(2**63 - 1, (), generator=generator))
            return self.haar(self.generators, np.random.default_rng(seed))
        return self._walk(generator, reach)

    def _walk(self, generator: torch.Generator | None, reach: float) -> MatrixElement:
        algebra, discrete = (len(g) for g in (self.generators.algebra, self.generators.discrete))
        count, lengths = 1, torch.full((algebra,), reach)
        if self.orthogonal:  # half turns or so, whatever the scale of the generators
            norms = self.generators.algebra.flatten(1).norm(dim=1)
            count, lengths = _COMPACT_STEPS, torch.where(norms > 0, torch.pi * 2**0.5 / norms, 0.0)
        steps: list[tuple[float, ...] | int] = []
        if algebra:
            steps += [tuple(row) for row in (lengths * torch.randn(count, algebra, generator=generator)).tolist()]
        if discrete:
            letters = torch.randint(discrete, (_LETTERS * discrete,), generator=generator).tolist()
            powers = torch.randint(_POWERS, (len(letters),), generator=generator).tolist()
            steps += [letter for letter, power in zip(letters, powers, strict=True) for _ in range(power)]
        return MatrixElement(tuple(steps))
