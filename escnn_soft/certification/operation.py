"""One call of a torch function between the modules of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from escnn_soft.certification.fact import Fact
from escnn_soft.certification.tensor_action import Action

__all__ = ["Operation", "Outcome"]


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a torch function on activations.

    Attributes:
        name: of the function, without in-place underscores.
        args: as it was called.
        kwargs: likewise.
        tracked: the activations among the arguments, as they were before.
        facts: what is known of them.
        result: what came out.
        constants: whether a tensor is a parameter or buffer of the network.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tracked: Sequence[Tensor]
    facts: Sequence[Fact]
    result: Tensor
    constants: Callable[[object], bool]

    @property
    def action(self) -> Action:
        """The action on the first activation."""
        return self.facts[0].action

    @property
    def rows(self) -> range:
        """The rows of the certificate."""
        return range(len(self.action.elements))

    @property
    def still(self) -> bool:
        """Whether no element of the group, asked for or not, moves anything in the first activation."""
        return self.action.fixes_channels() and not self.action.pixels

    @property
    def invariant(self) -> bool:
        """Whether the elements asked for act trivially on the first activation."""
        return all(self.action.is_identity(row) for row in self.rows)

    @property
    def beside(self) -> Any:
        """The other of two arguments, the first or the second."""
        first, second = self.argument(0, "input"), self.argument(1, "other")
        return second if first is self.tracked[0] else first

    def apart(self) -> str | None:
        """Why two activations cannot be added number by number; None if the group acts alike on both."""
        first, second = self.facts[:2]
        if self.tracked[0].shape != self.tracked[1].shape:
            return f"torch.{self.name} of tensors of different shapes"
        same_type = first.action.type == second.action.type and first.action.pixels == second.action.pixels
        if not same_type or first.action.elements != second.action.elements:
            return f"torch.{self.name} of tensors on which the group acts differently"
        return None

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an operation does to errors.

    Attributes:
        factors: Lipschitz constant for each activation.
        action: on the result.
        ulps: rounding, in units of u times the magnitudes.
        aside: whether the activations lie side by side in the result, so that their errors are orthogonal.
    """

    factors: tuple[float, ...]
    action: Action
    ulps: float = 0.0
    aside: bool = False
