"""A computed tensor that passes what is written into it on to the tensor it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch.nn import Parameter
from torch.utils._pytree import tree_map_only

__all__ = ["WrittenThrough"]

_WRITES = frozenset({
    "__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__ifloordiv__", "__imod__", "__ipow__",
    "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__", "__setitem__", "__set__",
})  # fmt: skip
"""Names of what writes into its first argument, beside those that end in one underscore."""


class WrittenThrough(Tensor):
    """The value of a filtered tensor, for code that may write into it.

    The value is computed anew at each use, so that a write into it alone would be lost. Here an in-place operation
    (``init.zeros_(conv.weight)``, ``conv.weight.data += change``, ``conv.weight[0] = 0``) is carried out on the
    unfiltered tensor, and what passes the filter is computed again. Views and aliases pass writes on likewise. All else
    is done with the value, as a plain tensor, so that results, copies and pickles are plain tensors.
    """

    _original: Tensor
    """The unfiltered tensor, or the part of it that this is the value of."""
    _again: Callable[[], None]
    """Computes the value again."""

    @staticmethod
    def of(value: Tensor, original: Tensor, filtered: Callable[[], Tensor]) -> WrittenThrough:
        """The value of a tensor.

        Args:
            value: what it is.
            original: the tensor that it is computed from.
            filtered: computes it from there.

        Returns:
            The value, in the same memory and with the same graph.
        """

        def again() -> None:
            with torch.no_grad():
                new = filtered()
                if new.shape == value.shape and new.dtype == value.dtype and new is not value:
                    value.copy_(new)

        return _aliased(value, original, again)

    def stands_for(self, original: Tensor) -> bool:
        """Whether it is the value of just this tensor."""
        return self._original is original

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with DisableTorchFunctionSubclass():
            written = _written(func, args, kwargs)
            if not written and func.__name__ == "requires_grad_":
                return func(*args, **kwargs)
            if not written:
                return _read(func, args, kwargs)
            # what ``weight.data += change`` assigns in the end has been written already
            written += [each for each in args[1:] if func.__name__ == "__set__" and _of_one(each, written[0])]
            originals = {id(each): each._original for each in written}
            values = [tree_map_only(cls, lambda t: originals.get(id(t), _plain(t)), part) for part in (args, kwargs)]
            result = func(*values[0], **values[1])
            for each in written:
                each._again()
            return written[0] if result is written[0]._original else result

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_is_param" and value:  # the last thing that nn.Parameter(weight) does: a tensor of its own
            with DisableTorchFunctionSubclass():
                self.data = self.detach().clone().as_subclass(Tensor)
            vars(self).clear()
            self.__class__ = Parameter  # type: ignore[assignment]
        else:
            super().__setattr__(name, value)


def _aliased(value: Tensor, original: Tensor, again: Callable[[], None]) -> WrittenThrough:
    alias = value.as_subclass(WrittenThrough)
    vars(alias).update(_original=original, _again=again)
    return alias


def _of_one(value: object, other: WrittenThrough) -> bool:
    return isinstance(value, WrittenThrough) and value._again is other._again


def _plain(value: WrittenThrough) -> Tensor:
    return value.as_subclass(Tensor)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[WrittenThrough]:
    """The arguments that a function writes into."""
    name = func.__name__
    targets: list[Any] = [kwargs.get("out")]
    if name in _WRITES or (name.endswith("_") and not name.endswith("__")):
        targets.append(args[0] if args else next(iter(kwargs.values())))
    flat = [each for target in targets for each in (target if isinstance(target, list | tuple) else [target])]
    found = [each for each in flat if isinstance(each, WrittenThrough)]
    if name == "requires_grad_":  # of an alias it says nothing about the Parameter
        found = [each for each in found if isinstance(each._original, Parameter)]
    return found


def _read(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function makes of the values; a view of one is a view of the tensor behind it."""
    result = func(*tree_map_only(WrittenThrough, _plain, args), **tree_map_only(WrittenThrough, _plain, kwargs))
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
    source = args[0] if args else None
    if not isinstance(source, WrittenThrough):
        return result
    several = isinstance(result, tuple | list)
    results = result if several else [result]
    if not any(_shares(each, source) for each in results):
        return result
    behind = func(*[getattr(each, "_original", each) for each in args], **kwargs)
    pairs = zip(results, behind if several else [behind], strict=True)
    aliases = [_aliased(new, old, source._again) if _shares(new, source) else new for new, old in pairs]
    return type(result)(aliases) if several else aliases[0]


def _shares(result: object, source: Tensor) -> bool:
    """Whether a result lies in the memory of a tensor."""
    if type(result) is not Tensor or result.layout is not torch.strided or result.numel() == 0:
        return False
    return result.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
