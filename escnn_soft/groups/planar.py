"""C_N, D_N, SO(2), O(2) and the flips in closed form: irreps are frequencies with a parity.

All of them act on *pairs* (c, s) of frequency f: a rotation by theta maps [c s] to [c s] R(f theta), the reflection
maps (c, s) to (c, -s). Product-to-sum identities turn products of pairs into pairs of the sum and of the difference of
the frequencies; folding brings a pair's frequency back to the irreps of the group.
"""

from __future__ import annotations

import math

import numpy as np
from escnn.group import Group, GroupElement
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.groups.fibregroup import Circle, FibreGroup
from escnn_soft.groups.irreps import Splitting

__all__ = ["PlanarGroup"]

Matrix = NDArray[np.float64]

_DIFFERENCE = np.array([[1, 0], [0, -1], [0, 1], [1, 0]]) / math.sqrt(2)
"""Columns vec(I), vec(J): R(k) I R(l)^T = R(k - l), and J = [[0, -1], [1, 0]] is its sine."""
_SUM = np.array([[1, 0], [0, 1], [0, 1], [-1, 0]]) / math.sqrt(2)
"""Columns vec(diag(1, -1)), vec([[0, 1], [1, 0]]): they turn with R(k + l)."""
_CONJUGATE = np.diag([1.0, -1.0])
"""R(-f theta) = diag(1, -1) R(f theta) diag(1, -1): negates a frequency."""
_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
"""(c, s) -> (s, -c): swaps the parities of a pair and keeps its frequency."""


class PlanarGroup(FibreGroup):
    """A group of rotations and reflections of the plane.

    Args:
        group: escnn's cyclic, dihedral, SO(2) or O(2) group.
        rotations: number of rotations, or None for all of them.
        flips: whether the group has reflections.
    """

    def __init__(self, group: Group, rotations: int | None, flips: bool) -> None:
        super().__init__(group)
        self.rotations = rotations
        self.flips = flips
        # C_2 as a mirror: its ids carry the parity where those of rotations carry a frequency.
        self._ids_are_parities = flips and len(self.trivial) == 1

    def label(self, irrep: IrrepId) -> tuple[int, int]:
        """(parity, frequency) of an irrep; parity is 0 for pairs without reflections."""
        if self._ids_are_parities:
            return irrep[0], 0
        return (irrep[0], irrep[1]) if self.flips else (0, irrep[0])

    def _id(self, parity: int, frequency: int) -> IrrepId:
        if self._ids_are_parities:
            return (parity,)
        return (parity, frequency) if self.flips else (frequency,)

    @property
    def worst_violation(self) -> float:
        """Largest violation of any irrep, infinite for SO(2) and O(2)."""
        if self.rotations is None:
            return math.inf
        return max(self.violation(psi.id) for psi in self.group.irreps())

    def _violation(self, irrep: IrrepId) -> float:
        """sqrt(rate^2 + f^2): f^2 the mean of |psi(flip) - I|^2."""
        parity, _ = self.label(irrep)
        flip = 0.0 if not self.flips else 2.0 if self.is_pair(irrep) else 4.0 * parity
        return math.sqrt(self.rate(irrep) ** 2 + flip)

    def _rate(self, irrep: IrrepId) -> float:
        """|k|, or the chord (N / pi) |sin(pi k / N)| for C_N: j steps move a vector at most j times as far as one."""
        k, n = self.label(irrep)[1], self.rotations
        return float(k) if n is None else (n / math.pi) * math.sin(math.pi * k / n)

    @property
    def circles(self) -> tuple[Circle, ...]:
        """The rotations of SO(2) and O(2)."""
        if self.rotations is not None:
            return ()
        return (lambda t: self.group.element((0, t) if self.flips else t, "radians"),)

    @property
    def cosets(self) -> tuple[GroupElement, ...]:
        """The identity, and a reflection of O(2)."""
        if self.rotations is not None:
            return tuple(self.group.elements)
        return (self.group.identity, self.group.element((1, 0.0), "radians")) if self.flips else (self.group.identity,)

    def size(self, irrep: IrrepId) -> int:
        """Dimension of an irrep, without building it."""
        return 2 if self.is_pair(irrep) else 1

    def is_pair(self, irrep: IrrepId) -> bool:
        """Whether the irrep is two-dimensional."""
        frequency = self.label(irrep)[1]
        return frequency != 0 and 2 * frequency != self.rotations

    def fold(self, frequency: int) -> Splitting:
        """Split a pair of any integer frequency, rotating by R(frequency * theta), into irreps; rows are (c, s)."""
        n, basis = self.rotations, np.eye(2)
        if n is not None:
            frequency %= n
            if 2 * frequency > n:
                frequency -= n  # R(f theta) = R((f - n) theta) on the group's angles
        if frequency < 0:
            frequency, basis = -frequency, _CONJUGATE
        if frequency == 0 or 2 * frequency == n:
            odd = 1 if self.flips else 0
            return (self._id(0, frequency), basis[:, :1]), (self._id(odd, frequency), basis[:, 1:])
        return ((self._id(1 if self.flips else 0, frequency), basis),)

    def _product(self, left: IrrepId, right: IrrepId) -> Splitting:
        (p, k), (q, m) = self.label(left), self.label(right)
        if self.is_pair(left) and self.is_pair(right):
            pairs = [(_DIFFERENCE, k - m), (_SUM, k + m)]
            return tuple((irrep, pair @ a) for pair, f in pairs for irrep, a in self.fold(f))
        if self.is_pair(left) or self.is_pair(right):
            # A sign character shifts the frequency by N/2; an odd one turns the pair so that c is even again.
            odd = self.flips and (q if self.is_pair(left) else p) == 1
            return tuple((irrep, (_TURN if odd else np.eye(2)) @ a) for irrep, a in self.fold(k + m))
        frequency = 0 if k == m else k + m  # each is 0 or N/2
        return ((self._id(p ^ q, frequency), np.eye(1)),)
