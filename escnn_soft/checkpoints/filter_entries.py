"""What a configuration says of a filtered tensor, and the filter that this asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from escnn.gspaces import GSpace2D
from torch.nn import Conv2d, Module

from escnn_soft.checkpoints.field_types import read_symmetry, read_type, written_symmetry, written_type
from escnn_soft.checkpoints.layer_entries import OTHER_MODEL
from escnn_soft.convert.plain.plain_convolutions import conv_filters
from escnn_soft.convert.vision_transformers.positions import position_filters
from escnn_soft.dial import FieldTypes, Policy, SoftFilter, as_policy
from escnn_soft.dial.policies.written import read_policy, written_policy
from escnn_soft.errors import ArgumentError, EscnnSoftError, shown
from escnn_soft.grading import TokenShifts
from escnn_soft.layers import FilteredTensor, filtered_tensors
from escnn_soft.layers.type_words import between

__all__ = ["FILTER_ENTRY", "read_filter", "written_filters"]

FILTER_ENTRY = {
    "owners": list,
    "place": int,
    "symmetry": object,
    "in_type": dict | None,
    "out_type": dict | None,
    "what": str,
    "softness": dict,
}
"""Keys of an entry, and the kinds of their values."""


def written_filters(names: list[str], module: Module) -> dict[str, Any]:
    """The entries of a module's own filtered tensors, by the tensors' full names.

    Args:
        names: of the module; one that is shared has several.
        module: the module.

    Returns:
        JSON by name.

    Raises:
        ArgumentError: if a filter is not one that :func:`read_filter` could make.
    """
    found = filtered_tensors(module)
    twice = [tensor for tensor, n in Counter(each.tensor for each in found).items() if n > 1]
    if twice:
        remedy = "Take the second filter off, with torch.nn.utils.parametrize."
        raise ArgumentError("model", f"{names[0]}.{twice[0]}", "tensors with one filter each", remedy)
    keys = {".".join(filter(None, (names[0], each.tensor))): each for each in found}
    return {key: _written(key, names, each) for key, each in keys.items()}


def _written(key: str, names: list[str], each: FilteredTensor) -> dict[str, Any]:
    types, symmetry = each.filter.types, each.filter.symmetry
    if symmetry is None if types is None else not isinstance(each.owner, Conv2d):
        expected = "the filter of a Conv2d between field types, or of a table that soften knows"
        remedy = "Let soften make it; register_positions tells it about tables of a class of yours."
        raise ArgumentError("filter", key, expected, remedy)
    return {
        "owners": names,
        "place": next(i for i, each_of in enumerate(_stack(each.owner, each.tensor)) if each_of is each.filter),
        "symmetry": written_symmetry(types.in_type.gspace if types is not None else symmetry),
        "in_type": None if types is None else written_type(types.in_type),
        "out_type": None if types is None else written_type(types.out_type),
        "what": each.filter.what,
        "softness": written_policy(as_policy(each.softness)),
    }


def _stack(owner: Module, tensor: str) -> list[Module]:
    """The parametrizations of a tensor, in the order in which they are applied."""
    parametrizations: Any = getattr(owner, "parametrizations", {})
    return list(parametrizations[tensor]) if tensor in parametrizations else []


def read_filter(
    model: Module,
    modules: Mapping[str, Module],
    names: Mapping[Module, list[str]],
    key: str,
    entry: Mapping[str, Any],
) -> tuple[FilteredTensor, Policy]:
    """The tensor of that name with its filter, that which it has or a new one, and the policy to give it.

    Args:
        model: the model.
        modules: of the model, by all their names.
        names: of each of them.
        key: full name of the tensor.
        entry: from :func:`written_filters`.

    Returns:
        The filtered tensor, whose filter may not be on it yet, and its policy; nothing is changed.

    Raises:
        ArgumentError: if the model has no such tensor, or another filter there.
        EscnnSoftError: if it cannot have the filter.
    """
    name, _, tensor = key.rpartition(".")
    owner = modules.get(name)
    if owner is None or not hasattr(owner, tensor):
        raise ArgumentError("config filter", key, "the name of a tensor of the model", OTHER_MODEL)
    if names[owner] != entry["owners"]:
        expected = f"a tensor of the module called {shown(entry['owners'])}, and by no other name"
        raise ArgumentError(f"config filter {key!r}", names[owner], expected, OTHER_MODEL)
    policy, symmetry = read_policy(entry["softness"]), read_symmetry(entry["symmetry"])
    types = _types(entry, symmetry, owner)
    existing = next((each for each in filtered_tensors(owner) if each.tensor == tensor), None)
    if existing is not None:
        own = written_filters(names[owner], owner)[key]
        if {**own, "softness": None} != {**entry, "softness": None}:
            raise ArgumentError("config filter", key, "the filter that the model has there", OTHER_MODEL)
        return existing, policy
    if len(_stack(owner, tensor)) != entry["place"]:
        expected = f"a tensor that goes through {entry['place']} other parametrizations before the filter"
        raise ArgumentError("config filter", key, expected, OTHER_MODEL)
    found: Mapping[str, SoftFilter] | EscnnSoftError = {}
    if types is None:
        positions, _ = position_filters(model, symmetry, policy, lambda module, _: module is owner)
        found = positions.get(owner, {})
    elif isinstance(owner, Conv2d):
        found = conv_filters(owner, types, policy)
    if isinstance(found, EscnnSoftError):
        raise found
    if tensor not in found or found[tensor].what != entry["what"]:
        fields = "" if types is None else between(types.in_type, types.out_type)
        wanted = entry["what"] or f"a convolution {fields}"
        raise ArgumentError("config filter", f"{type(owner).__name__} {key}", shown(wanted), OTHER_MODEL)
    return FilteredTensor(owner, tensor, found[tensor]), policy


def _types(entry: Mapping[str, Any], symmetry: GSpace2D | TokenShifts, owner: Module) -> FieldTypes | None:
    types = entry["in_type"], entry["out_type"]
    if types == (None, None):
        return None
    if None in types or not isinstance(symmetry, GSpace2D) or not isinstance(owner, Conv2d):
        expected = "both field types of a Conv2d, on a gspace"
        raise ArgumentError("config filter", entry["what"], expected, "Write the file anew.")
    channels = owner.in_channels, owner.out_channels
    return FieldTypes(*(read_type(symmetry, each, size) for each, size in zip(types, channels, strict=True)))
