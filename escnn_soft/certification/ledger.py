"""The account of a run of `certify`: what each layer adds, what is not covered, and in which elements."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Entry", "Ledger", "amplified"]


@dataclass(frozen=True, eq=False)
class Entry:
    """What one layer adds, by row and sample."""

    layer: str
    kind: str
    own: Tensor
    measured: Tensor  # whether the own error was measured


@dataclass(eq=False)
class Ledger:
    """Everything that is noted while the network runs.

    Attributes:
        names: of the elements, by row.
        samples: size of the batch.
        radius: how far from x the inputs may lie that the account is for.
        local: whether a Lipschitz constant holds on the orbit of x alone.
        entries: one for each layer that was passed.
        refused: reasons by (layer, reason), with the rows that they concern.
        outside: rows whose elements were left behind, with layer and reason.
        escapes: places where values of activations were read.
    """

    names: tuple[str, ...]
    samples: int
    radius: float = 0.0
    local: bool = False
    entries: list[Entry] = field(default_factory=list)
    refused: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    outside: dict[int, tuple[str, str]] = field(default_factory=dict)
    escapes: dict[tuple[str, str], None] = field(default_factory=dict)

    def table(self, value: float = 0.0) -> Tensor:
        """A number for each (row, sample)."""
        return torch.full((len(self.names), self.samples), value, dtype=torch.float64)

    def neighbourhood(self, lipschitz: Tensor) -> Tensor:
        """How far from that on x a tensor with these Lipschitz constants can lie, sample by sample."""
        return lipschitz * self.radius if self.radius else torch.zeros_like(lipschitz)

    def refuse(self, layer: str, reason: str, row: int) -> None:
        """Note that a layer is not covered under the element of a row."""
        rows = self.refused.setdefault((layer, reason), [])
        if row not in rows:
            rows.append(row)

    def dead(self, row: int) -> bool:
        """Whether a row is lost already."""
        return row in self.outside or any(row in rows for rows in self.refused.values())

    def enter(self, entry: Entry) -> int:
        """Add an entry and return its number; rows that are lost count as infinite."""
        for row in range(len(self.names)):
            if self.dead(row):
                entry.own[row] = torch.inf
        self.entries.append(entry)
        return len(self.entries) - 1

    def gaps(self) -> list[tuple[str, str]]:
        """Layers and reasons, with the elements concerned where these are not all."""
        gaps = [*self.escapes]
        for (layer, reason), rows in self.refused.items():
            everything = len(rows) == len([row for row in range(len(self.names)) if row not in self.outside])
            gaps.append((layer, reason if everything else f"{reason} ({', '.join(self.names[r] for r in rows)})"))
        left: dict[tuple[str, str], list[str]] = {}
        for row, pair in self.outside.items():
            left.setdefault(pair, []).append(self.names[row])
        return gaps + [(layer, f"{reason} ({', '.join(names)})") for (layer, reason), names in left.items()]


def amplified(terms: Tensor, factor: Tensor | float) -> Tensor:
    """terms * factor, where no error stays none and a lost row stays lost."""
    product = terms * factor
    return torch.where(terms == 0, 0.0, torch.where(torch.isinf(terms), torch.inf, product))
