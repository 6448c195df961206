"""Tensors that depend on nothing but the network itself: parameters, buffers, and what is computed from them alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from escnn_soft.certification.nested import fields

__all__ = ["NetworkConstants"]


class NetworkConstants:
    """The constants of a network, by identity; each is kept, so that no other tensor gets its identity.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known = {id(t): t for module in model.modules() for t in _held(module)}

    def __contains__(self, tensor: object) -> bool:
        """Whether a tensor is known to be one."""
        return id(tensor) in self._known

    def keep(self, result: Any) -> None:
        """Add the tensors in a result."""
        self._known |= {id(t): t for t in fields(result) if isinstance(t, Tensor)}

    def keep_computed(self, result: Any, *arguments: Any) -> None:
        """Add the tensors in a result that was computed from constants alone."""
        sources = [t for t in fields(*arguments) if isinstance(t, Tensor)]
        if sources and all(source in self for source in sources):
            self.keep(result)


def _held(module: nn.Module) -> Iterator[Tensor]:
    """The tensors of a module itself: parameters, buffers and plain attributes."""
    own: Iterable[object] = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    return (t for t in own if isinstance(t, Tensor))
