"""Levels: the isotypic components of a weight space, each with its irrep, violation, dimension and dial place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from escnn_soft._record import Record
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.groups import Irrep, IrrepTable

__all__ = ["Level", "LevelEnergy", "WeightSpectrum"]


@dataclass(frozen=True)
class Level(Record):
    r"""All directions of a weight space that transform under one irrep, in the band limit or in the remainder.

    A level is stable under the group, so no policy can split what the group mixes.

    Attributes:
        group: where irreps are looked up, escnn's group for a group of escnn; not compared.
        irrep_id: the group's id of the irrep, escnn's for a group of escnn; None for a remainder on which the group has
            no law, and for the breaking levels of matrix groups, which are told by their violation alone.
        sigma: violation of the irrep, sqrt(tr(L^T L) / d) over its stacked generators L; 0 for the trivial irrep only.
        remainder: whether the directions lie beyond the band limit of escnn's harmonics.
        dial: place on the dial, in units of sigma: ``sigma`` itself for harmonics; ``1 + top + sigma`` for a remainder
            level, with ``top`` the largest violation of a harmonic level, so that the remainder always comes last.
        dim: number of directions.
        start: where its stage begins on the dial.
        stage: which subgroup of the chain is the first to keep the directions, counted from 0; 0 without a chain.
            A stage begins on the dial 1 after the last level of the stage before.
        keeps: name of this subgroup, None without a chain.
    """

    recorded: ClassVar[tuple[str, ...]] = ("name",)

    group: IrrepTable = field(compare=False, repr=False)
    irrep_id: IrrepId | None
    sigma: float
    remainder: bool
    dial: float
    dim: int
    start: float = field(default=0.0, kw_only=True)
    stage: int = field(default=0, kw_only=True)
    keeps: str | None = field(default=None, kw_only=True)

    @property
    def irrep(self) -> Irrep | None:
        """The group's irrep, which is escnn's for a group of escnn; None where :attr:`irrep_id` is."""
        # Built on demand only: every irrep that exists slows down escnn's own search for Clebsch-Gordan coefficients.
        return None if self.irrep_id is None else self.group.irrep(*self.irrep_id)

    @property
    def name(self) -> str:
        """Readable name, e.g. ``irrep_1``, ``irrep_0 remainder``, ``C4: irrep_1`` of what C_4 keeps, ``sigma_2.4``."""
        if self.irrep_id is None and not self.remainder:
            return f"sigma_{self.sigma:.4g}"
        irrep = "lawless" if self.irrep_id is None else "irrep_" + ",".join(str(part) for part in self.irrep_id)
        subgroup = f"{self.keeps}: " if self.keeps is not None and self.sigma > 0 else ""
        return f"{subgroup}{irrep} remainder" if self.remainder else f"{subgroup}{irrep}"

    @property
    def symmetric(self) -> bool:
        """Whether its directions break nothing: the trivial irrep, within the band limit or beyond."""
        return self.irrep_id is not None and self.sigma == 0.0

    @property
    def exponent(self) -> float:
        """Power of a softness s that limits it, see :class:`escnn_soft.Graded`: 0 if it breaks nothing.

        Its own violation, counted from the beginning of its stage, also beyond the band limit; its place on the dial
        where the group has no law on it.
        """
        if self.symmetric:
            return 0.0
        return self.dial if self.irrep_id is None else self.start + self.sigma

    @property
    def equivariant(self) -> bool:
        """Whether this is the level of escnn's own basis: the trivial irrep within the band limit."""
        return self.sigma == 0.0 and not self.remainder


@dataclass(frozen=True)
class LevelEnergy(Level):
    """A level of a layer's weights.

    Attributes:
        energy: squared norm of the weights in this level, after the gain.
        gain: factor in [0, 1] that the layer's policy gives to the level.
    """

    energy: float
    gain: float


@dataclass(frozen=True)
class WeightSpectrum(Record):
    """The energy of a layer's weights, level by level, in the order of the dial.

    Attributes:
        levels: the levels of the kernel or matrix.
        bias: the levels of the bias; empty without a bias.
    """

    recorded: ClassVar[tuple[str, ...]] = ("energy", "breaking", "breaking_share")

    levels: tuple[LevelEnergy, ...]
    bias: tuple[LevelEnergy, ...] = ()

    @property
    def energy(self) -> float:
        """Squared norm of the weights."""
        return sum(level.energy for level in self.levels)

    @property
    def breaking(self) -> float:
        """Squared norm of the weights outside the equivariant subspace."""
        return sum(level.energy for level in self.levels if level.irrep_id is None or level.sigma > 0)

    @property
    def breaking_share(self) -> float:
        """Share of the weights' energy that breaks the symmetry, in [0, 1]; 0 of weights that are all 0."""
        return min(max(self.breaking / self.energy, 0.0), 1.0) if self.energy > 0 else 0.0

    def __repr__(self) -> str:
        """A table with a line per level."""
        rows = [
            (title + level.name, level) for title, some in (("", self.levels), ("bias ", self.bias)) for level in some
        ]
        width = max([24, *(len(name) + 1 for name, _ in rows)])
        lines = [f"{'level':<{width}}{'sigma':>8}{'dim':>9}{'gain':>8}{'energy':>12}"]
        lines += [
            f"{name:<{width}}{level.sigma:>8.3f}{level.dim:>9}{level.gain:>8.3f}{level.energy:>12.4g}"
            for name, level in rows
        ]
        return "\n".join(lines)
