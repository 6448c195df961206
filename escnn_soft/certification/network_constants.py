"""Tensors that depend on nothing but the network itself: parameters, buffers, and what is computed from them alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from escnn_soft.certification.nested import fields

__all__ = ["NetworkConstants"]


class NetworkConstants:
    """The constants of a network, by identity and version, so that one that is written to is none any more.

    Each is kept, so that no other tensor gets its identity.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known: dict[int, tuple[Tensor, int | None]] = {}
        for module in model.modules():
            self.keep(list(_held(module)))

    def __contains__(self, tensor: object) -> bool:
        """Whether a tensor is known to be one, as it is now."""
        known = self._known.get(id(tensor))
        return known is not None and known[1] == _version(known[0])

    def keep(self, result: Any) -> None:
        """Add the tensors in a result."""
        self._known |= {id(t): (t, _version(t)) for t in fields(result) if isinstance(t, Tensor)}

    def all(self, *arguments: Any) -> bool:
        """Whether there are tensors among the arguments of a function, and all of them are constants."""
        sources = [t for t in fields(*arguments) if isinstance(t, Tensor)]
        return bool(sources) and all(source in self for source in sources)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _held(module: nn.Module) -> Iterator[Tensor]:
    """The tensors of a module itself: parameters, buffers and plain attributes."""
    own: Iterable[object] = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    return (t for t in own if isinstance(t, Tensor))
