"""Tensors that depend on nothing but the network itself: parameters, buffers, and what is computed from them alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from escnn_soft.certification.nested import fields

__all__ = ["NetworkConstants"]


class NetworkConstants:
    """The constants of a network, by identity, and what they hold.

    A program may write into them while it runs, through a view, another thread or another library, so that they carry
    values of activations. So each is compared with a copy wherever it is used.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known: dict[int, tuple[Tensor, Tensor, str]] = {}
        for path, module in model.named_modules():
            for name, tensor in _held(module):
                self._add(tensor, ".".join(filter(None, (path, name))))
        self._own = tuple(self._known)

    def _add(self, tensor: Tensor, name: str) -> None:
        self._known[id(tensor)] = tensor, tensor.detach().clone(), name  # it is kept: no other gets its identity

    def __contains__(self, tensor: object) -> bool:
        """Whether a tensor is known to be one, and still holds what it held."""
        return id(tensor) in self._known and not self._written(id(tensor))

    def _written(self, key: int) -> bool:
        tensor, before, _ = self._known[key]
        return not _equal(tensor, before)

    def written(self, module: nn.Module | None = None) -> str | None:
        """Name of one of the network's tensors, or of those that a module uses, that was written; None if none was."""
        keys = self._own if module is None else {id(t) for part in module.modules() for _, t in _held(part)}
        return next((self._known[key][2] for key in keys if key in self._known and self._written(key)), None)

    def restore(self) -> None:
        """Write back what the network's tensors held."""
        for key in self._own:
            tensor, before, _ = self._known[key]
            if self._written(key):
                tensor.detach().copy_(before)

    def keep(self, result: Any) -> None:
        """Add the tensors in a result."""
        for tensor in fields(result):
            if isinstance(tensor, Tensor) and id(tensor) not in self._known:
                self._add(tensor, "a tensor computed from constants")

    def keep_computed(self, result: Any, *arguments: Any) -> None:
        """Add the tensors in a result that was computed from constants alone."""
        sources = [t for t in fields(*arguments) if isinstance(t, Tensor)]
        if sources and all(source in self for source in sources):
            self.keep(result)


def _equal(tensor: Tensor, before: Tensor) -> bool:
    if tensor.dtype != before.dtype or tensor.shape != before.shape:
        return False
    if tensor.is_floating_point() or tensor.is_complex():  # NaN is the same as before
        return torch.equal(tensor.detach().nan_to_num(), before.nan_to_num())
    return torch.equal(tensor, before)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module itself: parameters, buffers and plain attributes."""
    own = (*module._parameters.items(), *module._buffers.items(), *vars(module).items())
    return ((name, t) for name, t in own if isinstance(t, Tensor))
