"""What evaluation keeps: a value, until a tensor that it depends on changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

__all__ = ["Kept", "may_keep"]

Value = TypeVar("Value")

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers as wide as an entry: they are equal where the bits are, NaN and the two zeros included."""


class _Steps:
    """Counts the steps that optimisers have made: fused ones write parameters without raising their versions."""

    def __init__(self) -> None:
        self.count = 0
        register_optimizer_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.count += 1


_STEPS = _Steps()


class Kept(Generic[Value]):
    """A value that is computed again when a tensor that it depends on is no longer what it was.

    What is in the CPU's memory is compared with a copy, bit by bit, at each use, so that no write goes unseen, whoever
    makes it: torch counts neither those through ``tensor.data`` or numpy nor those of fused optimisers. It takes about
    as long as reading the tensors twice. A comparison on another device would wait for it. There a tensor is unchanged
    while it is the same object in the same storage of the same version, and no optimiser has made a step: of what is
    written through ``tensor.data`` there only :meth:`forget` knows.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Compute anew next time."""
        self._witnesses: list[_Copy | _Identity] | None = None
        self._value: Value | None = None

    def __call__(
        self, tensors: Iterable[Tensor], compute: Callable[[], Value], *, constants: Iterable[Tensor] = ()
    ) -> Value:
        """The value, from ``compute`` if something changed since it was last called.

        Args:
            tensors: what it depends on; those of which :func:`may_keep` is true.
            compute: the value, no tensor an inference tensor.
            constants: what it depends on too, larger and not trained: never compared bit by bit.

        Returns:
            The value.
        """
        current, fixed = list(tensors), list(constants)
        if self._witnesses is None or not _same(self._witnesses, current, fixed):
            # first: what is written meanwhile shows next time
            witnesses = [*map(_witness, current), *(_Identity(t, trained=False) for t in fixed)]
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._witnesses = witnesses
        return cast("Value", self._value)

    def __reduce__(self) -> tuple[type[Kept[Value]], tuple[()]]:
        """Copies and pickles keep nothing."""
        return Kept, ()


class _Copy:
    """What was in the CPU's memory."""

    def __init__(self, tensor: Tensor) -> None:
        self._kind = _kind(tensor)
        self._look_at(tensor)
        self._bits = np.copy(self._live)

    def _look_at(self, tensor: Tensor) -> None:
        self._place, self._live = _place(tensor), _bits(tensor)

    def confirms(self, tensor: Tensor) -> bool:
        """Whether a tensor holds the same, bit by bit."""
        # the memory looked at is held, so a tensor that begins there and is laid out alike is what is looked at
        if _place(tensor) != self._place or not tensor.is_contiguous():
            if not _in_memory(tensor) or _kind(tensor) != self._kind:
                return False
            self._look_at(tensor)
            self._bits = self._bits.view(self._live.dtype)  # as wide as the new place allows
        return bool((self._live == self._bits).all())


class _Identity:
    """Which tensor it was, in which storage and version."""

    def __init__(self, tensor: Tensor, *, trained: bool) -> None:
        self._tensor, self._trained = tensor, trained
        self._state = self._current(tensor)
        self._storage = tensor.detach()  # while this refers to it, no other is given the same address

    def confirms(self, tensor: Tensor) -> bool:
        """Whether a tensor is the same, and was not written in a way that torch counts."""
        return tensor is self._tensor and self._current(tensor) == self._state

    def _current(self, tensor: Tensor) -> tuple[object, ...]:
        steps = _STEPS.count if self._trained else 0
        return tensor._version, steps, *_place(tensor)


def _witness(tensor: Tensor) -> _Copy | _Identity:
    return _Copy(tensor) if _in_memory(tensor) else _Identity(tensor, trained=True)


def _same(witnesses: list[_Copy | _Identity], tensors: list[Tensor], constants: list[Tensor]) -> bool:
    current = [*tensors, *constants]
    return len(witnesses) == len(current) and all(w.confirms(t) for w, t in zip(witnesses, current, strict=True))


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.device, tensor.shape


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), *_kind(tensor)


def _in_memory(tensor: Tensor) -> bool:
    """Whether its entries can be read without waiting for a device or calling code of a tensor class."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter)
    return plain and tensor.device.type == "cpu" and tensor.layout is torch.strided


def _bits(tensor: Tensor) -> Any:
    """The entries as whole numbers, in the memory of the tensor where it is contiguous."""
    entries = tensor.detach().contiguous().flatten()
    width = entries.element_size()
    even = entries.numel() * width % 8 == 0 == entries.storage_offset() * width % 8
    # Tensor.numpy() would forbid the storage to be resized, as FSDP does
    return np.from_dlpack(entries.view(_BITS[8 if even else width]))


def may_keep(tensors: Iterable[Tensor]) -> bool:
    """Whether changes of some tensors can be seen.

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
