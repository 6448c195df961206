"""Running a network on other values of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from escnn_soft.certification.fact import Fact
from escnn_soft.certification.nested import fields, tensor_of
from escnn_soft.certification.rules import Rule
from escnn_soft.certification.trace import Trace

__all__ = ["Rehearsal"]


class Rehearsal(Trace):
    """Follows which tensors come from the input, and nothing else, for the sake of its ``script``.

    A program can read an activation behind torch's back, through numpy, another thread or ``repr``, and use the number
    as if it were its own. A network whose numbers are its own makes the same calls on all values.
    """

    def _check_constants(self, name: str, module: nn.Module) -> None:
        pass

    def _leaf(
        self, name: str, module: nn.Module, rule: Rule, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        self._busy = True
        try:
            result = forward(*args, **kwargs)
        finally:
            self._busy = False
        for out in fields(result):
            self.learn(tensor_of(out), self.start)
        return result

    def _result(self, *_: Any) -> Fact:
        return self.start
