"""What evaluation keeps: a value, until a tensor that it depends on changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass, _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import _pop_mode_temporarily
from torch.utils._python_dispatch import _disable_current_modes

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
    """A value that is computed again when something that it depends on is no longer what it was.

    What is in the CPU's memory is compared with a copy, bit by bit, at each use, so that no write goes unseen, whoever
    makes it: torch counts neither those through ``tensor.data`` or numpy nor those of fused optimisers. It takes about
    as long as reading the tensors twice. A comparison on another device would wait for it. There, and for tensors whose
    class computes in its own way (``__torch_dispatch__``), a tensor is unchanged while it is the same object in the
    same storage of the same version, and no optimiser has made a step: of what is written through ``tensor.data`` there
    only :meth:`forget` knows. The same holds for constants, and for the value itself, on any device.

    A mode may return anything for any function of torch's, such as a tensor without memory. What is kept is computed
    out of its sight.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Compute anew next time."""
        self._witnesses: list[_Copy | _Identity] | None = None
        self._settings: tuple[object, ...] = ()
        self._value: Value | None = None
        self._versions: tuple[int, ...] = ()

    def __call__(
        self,
        tensors: Iterable[Tensor],
        compute: Callable[[], Value],
        *,
        settings: tuple[object, ...] = (),
        constants: Iterable[Tensor] = (),
    ) -> Value:
        """The value, from ``compute`` if something changed since it was last called.

        Args:
            tensors: what it depends on; those of which :func:`may_keep` is true.
            compute: the value, no tensor an inference tensor.
            settings: what else it depends on, compared by ``==``.
            constants: what it depends on too, larger and not trained: never compared bit by bit.

        Returns:
            The value.
        """
        if _any_mode():
            with _without_modes():
                return self(tensors, compute, settings=settings, constants=constants)
        current, fixed = list(tensors), list(constants)
        with DisableTorchFunctionSubclass():
            valid = self._settings == settings and self._confirmed([*current, *fixed])
        if not valid:
            with DisableTorchFunctionSubclass():  # first: what is written meanwhile shows next time
                witnesses = [*map(_witness, current), *(_Identity(t, trained=False) for t in fixed)]
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._witnesses, self._settings, self._versions = witnesses, settings, _versions(self._value)
        return cast("Value", self._value)

    def _confirmed(self, tensors: list[Tensor]) -> bool:
        """Whether tensors are what they were, and nobody wrote into what was made of them."""
        witnesses = self._witnesses
        if witnesses is None or len(witnesses) != len(tensors) or _versions(self._value) != self._versions:
            return False
        return all(witness.confirms(tensor) for witness, tensor in zip(witnesses, tensors, strict=True))

    def __reduce__(self) -> tuple[type[Kept[Value]], tuple[()]]:
        """Copies and pickles keep nothing."""
        return Kept, ()


class _Copy:
    """What was in the CPU's memory."""

    def __init__(self, tensor: Tensor) -> None:
        self._look_at(tensor)
        self._bits = np.array(self._live, order="C")

    def _look_at(self, tensor: Tensor) -> None:
        self._kind, self._place, self._live = _kind(tensor), _place(tensor), _bits(tensor)

    def confirms(self, tensor: Tensor) -> bool:
        """Whether a tensor holds the same, bit by bit."""
        # the memory looked at is held, so a tensor that begins there and is laid out alike is what is looked at
        if _place(tensor) != self._place:
            if not _in_memory(tensor) or _kind(tensor) != self._kind:
                return False
            self._look_at(tensor)
            # in the order of the entries, as wide as the new place allows
            self._bits = self._bits.reshape(-1).view(self._live.dtype).reshape(self._live.shape)
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


def _versions(value: object) -> tuple[int, ...]:
    """How often the tensors of a value have been written."""
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(part._version for part in parts if isinstance(part, Tensor))


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.device, tensor.shape


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.stride(), *_kind(tensor)


def _ordinary(tensor: Tensor) -> bool:
    """Whether torch itself computes with a tensor, not its class."""
    return type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__


def _in_memory(tensor: Tensor) -> bool:
    """Whether its entries can be read without waiting for a device or calling code of a tensor class."""
    strided = tensor.device.type == "cpu" and tensor.layout is torch.strided
    return _ordinary(tensor) and strided and not tensor.is_complex()


def _bits(tensor: Tensor) -> Any:
    """The entries as whole numbers, in the memory of the tensor."""
    entries = tensor.detach().as_subclass(Tensor)
    width = entries.element_size()
    if entries.is_contiguous():
        even = entries.numel() * width % 8 == 0 == entries.storage_offset() * width % 8
        entries, width = entries.flatten(), 8 if even else width
    # Tensor.numpy() would forbid the storage to be resized, as FSDP does
    return np.from_dlpack(entries.view(_BITS[width]))


def may_keep(tensors: Collection[Tensor]) -> bool:
    """Whether changes of some tensors can be seen.

    A graph that is being compiled cannot ask, torch.func and torch.export stand in tensors without memory, and
    inference tensors have no version.

    Args:
        tensors: parameters and buffers.

    Returns:
        Whether a value that depends on them may be kept.
    """
    if torch.compiler.is_compiling() or (_any_mode() and not all(map(_ordinary, tensors))):
        return False
    return not any(t.is_inference() or is_functorch_wrapped_tensor(t) or hasattr(t, "fake_mode") for t in tensors)


def _any_mode() -> bool:
    """Whether a mode sees to what torch's functions return, be it that of a default device."""
    return bool(_len_torch_dispatch_stack() or _len_torch_function_stack())


@contextmanager
def _without_modes() -> Iterator[None]:
    """Out of the sight of every mode."""
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        for _ in range(_len_torch_function_stack()):
            stack.enter_context(_pop_mode_temporarily())
        yield
