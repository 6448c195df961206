"""What a configuration says of a soft layer, and what that asks of a layer it meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from escnn.nn import EquivariantModule
from torch.nn import Module

from escnn_soft.checkpoints.field_types import tupled
from escnn_soft.convert import ProjectedLayer
from escnn_soft.dial import Policy, SoftModule, as_policy
from escnn_soft.dial.policies.written import read_policy, written_policy
from escnn_soft.errors import ArgumentError, shown
from escnn_soft.grading import subgroup_chain
from escnn_soft.layers import twin_of
from escnn_soft.layers.arguments import check_rank
from escnn_soft.layers.type_words import between

__all__ = ["LAYER_ENTRY", "OTHER_MODEL", "LayerPlan", "read_layer", "written_layer"]

LAYER_ENTRY = {
    "names": list,
    "kind": str,
    "projected": bool,
    "space": str,
    "fields": str,
    "bias": bool,
    "chain": list | None,
    "rank": int | None,
    "softness": dict,
}
"""Keys of an entry, and the kinds of their values."""

OTHER_MODEL = "Pass the model that the configuration was written for, as your code builds it."
"""The remedy where a configuration and a model do not fit."""


@dataclass(frozen=True)
class LayerPlan:
    """What is to become of a layer.

    Attributes:
        softness: its policy.
        chain: as ``soften`` takes it.
        rank: likewise.
        projected: whether it is in projected training.
    """

    softness: Policy
    chain: tuple[Any, ...] | None
    rank: int | None
    projected: bool


def written_layer(names: list[str], layer: SoftModule) -> dict[str, Any]:
    """The entry of a soft layer.

    Args:
        names: of the layer; one that is shared has several.
        layer: the layer.

    Returns:
        JSON.

    Raises:
        ArgumentError: if its policy or chain is no JSON.
    """
    return {
        "names": names,
        "kind": layer.soft_kind if isinstance(layer, ProjectedLayer) else layer.kind,
        "projected": isinstance(layer, ProjectedLayer),
        "space": _space(layer),
        "fields": layer.fields,
        "bias": len(layer._dials) > 1,
        "chain": None if layer.chain is None else [_id(names[0], part) for part in layer.chain],
        "rank": layer.rank,
        "softness": written_policy(as_policy(layer.softness)),
    }


def _space(module: Module) -> str:
    """The group and the space that it acts on, in escnn's words."""
    in_type = getattr(module, "in_type", None)
    return "" if in_type is None else str(in_type.gspace)


def _id(name: str, part: Any) -> Any:
    """An id of a subgroup, with lists for tuples."""
    if isinstance(part, tuple | list):
        return [_id(name, each) for each in part]
    if not isinstance(part, int | float | str | None):
        expected = "a chain of ids made of numbers, names and tuples of these"
        raise ArgumentError(f"chain of {name!r}", part, expected, "Write the softness of this layer yourself.")
    return part


def read_layer(
    modules: Mapping[str, Module], names: Mapping[Module, list[str]], name: str, entry: Mapping[str, Any]
) -> LayerPlan:
    """What an entry asks for, checked against the layer of that name, soft or hard.

    Args:
        modules: of the model, by all their names.
        names: of each of them.
        name: of the layer.
        entry: from :func:`written_layer`.

    Returns:
        The plan; nothing is changed.

    Raises:
        ArgumentError: if the model has another layer there, or the entry asks for what cannot be.
    """
    module = modules.get(name)
    if module is None:
        raise ArgumentError("config layer", name, "the name of a layer of the model", OTHER_MODEL)
    chain = None if entry["chain"] is None else tuple(map(tupled, entry["chain"]))
    plan = LayerPlan(read_policy(entry["softness"]), chain, check_rank(entry["rank"]), entry["projected"])
    if plan.projected and (plan.softness.learned or plan.softness.bounded):
        expected = "a softness that does not depend on the weights, in projected training"
        raise ArgumentError("config softness", plan.softness, expected, "Write the file anew.")
    if isinstance(module, ProjectedLayer) and not plan.projected:
        remedy = "Load it into the model before projected(model)."
        raise ArgumentError(f"layer {name!r}", "ProjectedLayer", f"a {entry['kind']} itself", remedy)
    aliases = names[module]
    found = written_layer(aliases, module) if isinstance(module, SoftModule) else _softened(module, plan.chain, entry)
    found["names"] = aliases
    different = [
        key for key in ("names", "kind", "space", "fields", "bias", "chain", "rank") if found[key] != entry[key]
    ]
    if different:
        has, wanted = ({key: each[key] for key in different} for each in (found, entry))
        raise ArgumentError(f"layer {name!r}", has, f"one with {shown(wanted)}", OTHER_MODEL)
    return plan


def _softened(module: Module, chain: tuple[Any, ...] | None, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry that a hard layer gets once it is softened by this chain."""
    twin = twin_of(module)
    if twin is None or not isinstance(module, EquivariantModule):
        return {**entry, "kind": type(module).__name__, "fields": ""}
    if chain is not None:
        subgroup_chain(module.in_type.gspace, chain)  # refused here if it is none
    fields, bias = between(module.in_type, module.out_type), getattr(module, "bias", None) is not None
    return {**entry, "kind": twin.soft.__name__, "space": _space(module), "fields": fields, "bias": bias}
