"""Which layers of a model a call means, and what it wants of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, own_dials

__all__ = ["FilterFn", "dials_of", "names_of", "settings_of"]

FilterFn = Callable[[Module, str], bool]
"""From a module and its qualified name to whether it is meant."""

Key = TypeVar("Key")
Setting = TypeVar("Setting")


def names_of(model: Module, wanted: Callable[[Module], bool], filter_fn: FilterFn | None) -> dict[Module, list[str]]:
    """The modules that are meant, in order, each with all its names: a shared module has several.

    Args:
        model: the model.
        wanted: whether a module is of the right kind.
        filter_fn: whether it is meant under a name; None means all.

    Returns:
        Names by module.

    Raises:
        ArgumentError: if the model is no module or the filter no function.
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    if filter_fn is not None and not callable(filter_fn):
        raise ArgumentError("filter_fn", filter_fn, "a function of a module and its name", "Pass None for all layers.")
    names: dict[Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if wanted(module):
            names.setdefault(module, []).append(name)
    return {
        module: aliases
        for module, aliases in names.items()
        if filter_fn is None or any(filter_fn(module, name) for name in aliases)
    }


def dials_of(model: Module, filter_fn: FilterFn | None) -> dict[Dialled, list[str]]:
    """The dials of a model, in order, each with all its names; filters of weight and bias go by the layer's name."""
    holders = names_of(model, lambda module: any(True for _ in own_dials(module)), filter_fn)
    return {
        dial: [dial.named(name) for name in names] for holder, names in holders.items() for dial in own_dials(holder)
    }


def settings_of(
    layers: Mapping[Key, list[str]],
    per_layer: Mapping[str, Any] | None,
    default: Setting,
    argument: str = "per_layer",
) -> dict[Key, Setting]:
    """The setting of each layer: that of its name, else of the first pattern that its name matches, else the default.

    Args:
        layers: names by layer.
        per_layer: settings by name or shell pattern, such as ``encoder.*``.
        default: for all other layers.
        argument: what the caller calls ``per_layer``.

    Returns:
        One setting a layer.

    Raises:
        ArgumentError: if a key matches no layer, or two names of a shared layer want different things.
    """
    per_layer = {} if per_layer is None else per_layer
    remedy = {"per_layer": "softnesses", "field_types": "pairs of field types"}[argument]
    instance(argument, per_layer, Mapping, f"Pass a dictionary from layer names to {remedy}.")
    everything = [name for aliases in layers.values() for name in aliases]
    for key in per_layer:
        if not isinstance(key, str) or not any(_matches(name, key) for name in everything):
            expected = f"names or patterns of layers to change, of {_listed(everything)}"
            raise ArgumentError(f"{argument} key", key, expected, "Correct or remove this key.")
    return {layer: _setting(aliases, per_layer, default, argument) for layer, aliases in layers.items()}


def _setting(aliases: list[str], per_layer: Mapping[str, Any], default: Any, argument: str) -> Any:
    named = [per_layer[name] for name in aliases if name in per_layer]
    if any(setting != named[0] for setting in named):
        expected = f"one setting for the layer that is shared under the names {_listed(aliases)}"
        raise ArgumentError(argument, dict(per_layer), expected, "Give it under one of these names only.")
    matching = (per_layer[key] for key in per_layer if any(_matches(name, key) for name in aliases))
    return next(iter(named), next(matching, default))


def _matches(name: str, key: str) -> bool:
    return name == key or fnmatchcase(name, key)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
