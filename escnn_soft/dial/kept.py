"""What evaluation keeps: a value, until a tensor that it depends on changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

__all__ = ["Kept", "may_keep"]

Value = TypeVar("Value")

Trace = tuple[weakref.ref[Tensor], int, int, torch.dtype, torch.device]
"""A tensor, its version and address: the object tells a new one at the same address, the address a new storage."""


class Kept(Generic[Value]):
    """A value that is computed again when one of the tensors it depends on was written, replaced, moved or cast.

    A write that torch does not count, through ``tensor.data``, cannot be seen: :meth:`forget` begins anew.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Compute anew next time."""
        self._traces: list[Trace] | None = None
        self._value: Value | None = None

    def __call__(self, tensors: Iterable[Tensor], compute: Callable[[], Value]) -> Value:
        """The value, from ``compute`` if something changed since it was last called; no tensor an inference tensor."""
        current = list(tensors)
        if self._traces is None or not _same(self._traces, current):
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._traces = [(weakref.ref(t), *_state(t)) for t in current]
        return cast("Value", self._value)

    def __reduce__(self) -> tuple[type[Kept[Value]], tuple[()]]:
        """Copies and pickles keep nothing."""
        return Kept, ()


def _state(tensor: Tensor) -> tuple[int, int, torch.dtype, torch.device]:
    return tensor._version, tensor.data_ptr(), tensor.dtype, tensor.device


def _same(traces: list[Trace], tensors: list[Tensor]) -> bool:
    if len(traces) != len(tensors):
        return False
    return all(kept() is t and _state(t) == tuple(state) for (kept, *state), t in zip(traces, tensors, strict=True))


def may_keep(tensors: Iterable[Tensor]) -> bool:
    """Whether writes to some tensors can be seen.

    A graph that is being compiled cannot ask, torch.func and torch.export stand in tensors without memory, and
    inference tensors have no version.

    Args:
        tensors: parameters and buffers.

    Returns:
        Whether a value that depends on them may be kept.
    """
    if torch.compiler.is_compiling():
        return False
    return not any(t.is_inference() or is_functorch_wrapped_tensor(t) or hasattr(t, "fake_mode") for t in tensors)
