"""timm's ``set_input_size`` of a model with filters: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.nn import Module

from escnn_soft.errors import ArgumentError
from escnn_soft.layers import filtered_tensors

__all__ = ["guard_resizing"]

_METHOD = "set_input_size"


def guard_resizing(model: Module) -> None:
    """Let every module that can be resized refuse what would take a filter off, and undo what a filter cannot follow.

    Tables of positions are graded for their new grid when they are replaced. A patch embedding for another patch size
    is a new convolution, of which no filter knows.

    Args:
        model: a model; modules without filters get their own method back.
    """
    for module in model.modules():
        if isinstance(vars(module).get(_METHOD), _Resizing):
            del vars(module)[_METHOD]
        if callable(getattr(type(module), _METHOD, None)) and any(_filtered(module)):
            vars(module).setdefault(_METHOD, _Resizing(module))


class _Resizing:
    """``module.set_input_size``, which changes everything or nothing."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        module, before = self.module, set(_filtered(self.module))
        undo = [(vars(part), _copied(vars(part))) for part in module.modules()]
        try:
            getattr(type(module), _METHOD)(module, *args, **kwargs)
            lost = before - set(_filtered(module))
            if lost:
                expected = f"a size for which {', '.join(sorted(lost))} can stay"
                remedy = "Bake or harden the model, resize it, and soften it again."
                raise ArgumentError(_METHOD, args or kwargs, expected, remedy)
        except Exception:
            for content, kept in undo:
                _restore(content, kept)
            raise


def _filtered(module: Module) -> Iterator[str]:
    """Names of the filtered tensors."""
    for name, part in module.named_modules():
        yield from (f"{name}.{each.tensor}".lstrip(".") for each in filtered_tensors(part))


def _copied(content: dict[str, Any]) -> dict[str, Any]:
    """A module's content, its parameters, buffers and parts one level deep."""
    return {name: value.copy() if type(value) in (dict, set) else value for name, value in content.items()}


def _restore(content: dict[str, Any], kept: dict[str, Any]) -> None:
    """Put a module's content back, into the same dictionaries: others refer to them."""
    for name in content.keys() - kept.keys():
        del content[name]
    for name, value in kept.items():
        own: Any = content.get(name)
        if type(value) in (dict, set) and type(own) is type(value):
            own.clear()
            own.update(value)
        else:
            content[name] = value
