"""What one irrep contributes to a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from escnn_soft._record import Record
from escnn_soft.bounds.symmetry import IrrepId

__all__ = ["Term"]


@dataclass(frozen=True)
class Term(Record):
    r"""The part of a certificate that one irrep contributes.

    Attributes:
        irrep: escnn's id of the irrep; None for a remainder on which the group has no law.
        sigma: violation of the irrep.
        energy: ||W_lambda||^2 = tr M_lambda.
        gram: M_lambda, the sum of w w^T over the coefficient vectors w of the irrep; empty without a law.
    """

    recorded: ClassVar[tuple[str, ...]] = ("name",)

    irrep: IrrepId | None
    sigma: float
    energy: float
    gram: tuple[tuple[float, ...], ...] = field(repr=False)

    @property
    def matrix(self) -> Tensor:
        """The Gram matrix, (d, d)."""
        return torch.tensor(self.gram, dtype=torch.float64)

    @property
    def name(self) -> str:
        """Readable name, e.g. ``irrep_1``."""
        return "lawless" if self.irrep is None else "irrep_" + ",".join(str(part) for part in self.irrep)
