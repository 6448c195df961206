"""Putting the dials of a configuration on a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from escnn.gspaces import GSpace2D
from escnn.nn import EquivariantModule
from torch.nn import Conv2d, Module

from escnn_soft._checks import instance
from escnn_soft.checkpoints.field_types import read_symmetry, read_type, tupled
from escnn_soft.checkpoints.softness_config import FORMAT, layer_entry, softness_config
from escnn_soft.convert import soften
from escnn_soft.convert.plain.plain_convolutions import conv_filters
from escnn_soft.convert.plain.plain_dials import attach
from escnn_soft.convert.projected import become_projected
from escnn_soft.convert.vision_transformers.positions import position_filters
from escnn_soft.dial import FieldTypes, Policy, SoftFilter, SoftModule
from escnn_soft.dial.policies.written import read_policy, read_schedule
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.grading import TokenShifts, subgroup_chain
from escnn_soft.layers import Dialled, SoftLayer, SoftnessScheduler, filtered_tensors, twin_of
from escnn_soft.layers.type_words import between

__all__ = ["load_scheduler", "load_softness"]

AnyModule = TypeVar("AnyModule", bound=Module)

_REMEDY = "Pass the model that the configuration was written for, as your code builds it."
_LAYER = {"kind": str, "projected": bool, "fields": str, "bias": bool, "chain": list | None, "softness": dict}
_FILTER = {"symmetry": object, "in_type": dict | None, "out_type": dict | None, "what": str, "softness": dict}


@dataclass(frozen=True)
class _LayerPlan:
    """What is to become of a layer.

    Attributes:
        softness: its policy.
        chain: as ``soften`` takes it.
        projected: whether it is in projected training.
    """

    softness: Policy
    chain: tuple[Any, ...] | None
    projected: bool


def load_softness(model: AnyModule, config: Mapping[str, Any]) -> AnyModule:
    """Give a model the softness that :func:`softness_config` wrote, in place.

    The model may be soft already, as code with ``SoftR2Conv`` builds it, or hard, as escnn's layers, timm, transformers
    or torchvision build it: what has no dial gets one, as :func:`soften` would put it there, and every dial is turned.
    Parameters stay the same objects; load the ``state_dict`` afterwards.

    Args:
        model: with the layers that the configuration names.
        config: from :func:`softness_config`.

    Returns:
        The model itself.

    Raises:
        ArgumentError: if the configuration is none, names what the model does not have, or the model has dials that it
            does not name. The model is unchanged then.
        SoftnessError: if a layer does not take its softness.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import soften, softness_config
        >>> build = lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
        >>> soft = soften(build(), 0.3, gspace=gspaces.rot2dOnR2(4), per_layer={"2": 0.1})
        >>> again = load_softness(build(), softness_config(soft))
        >>> _ = again.load_state_dict(soft.state_dict())
        >>> x = torch.randn(1, 3, 9, 9)
        >>> bool((again(x) == soft(x)).all())
        True
    """
    instance("model", model, Module, "Pass the model that the configuration was written for.")
    layers, filters = _tables(config)
    modules = dict(model.named_modules(remove_duplicate=False))
    _check_nothing_else(model, layers, filters)
    plans = {name: _layer_plan(modules, name, entry) for name, entry in layers.items()}
    hard = {name: plan for name, plan in plans.items() if not isinstance(modules[name], SoftModule)}
    turned: list[tuple[Dialled, Policy]] = [(_soft(modules[n]), plans[n].softness) for n in plans if n not in hard]
    new: dict[tuple[Module, str], SoftFilter] = {}
    for key, entry in filters.items():
        owner, tensor, policy = _filter_place(modules, key, entry)
        existing = next((each for each in filtered_tensors(owner) if each.tensor == tensor), None)
        if existing is None:
            new[owner, tensor] = _new_filter(model, owner, tensor, key, entry, policy)
        else:
            _check_filter(existing.filter, key, entry)
            turned.append((existing, policy))
    for dial, policy in turned:
        dial.accepted(policy)
    if hard:
        settings = {name: {"softness": plan.softness, "chain": plan.chain} for name, plan in hard.items()}
        first = next(iter(hard.values())).softness
        meant = lambda module, name: name in hard  # noqa: E731
        soften(model, first, filter_fn=meant, per_layer=settings, on_unsupported="raise", inplace=True)
    become_projected(
        [_layer(modules[name]) for name, plan in plans.items() if plan.projected and _is_soft_layer(modules[name])]
    )
    for (owner, tensor), soft_filter in new.items():
        attach(owner, tensor, soft_filter)
    for dial, policy in turned:
        dial.softness = policy
    return model


def load_scheduler(model: Module, config: Mapping[str, Any]) -> SoftnessScheduler:
    """Go on with the schedule of a configuration, at the step at which it was written.

    Args:
        model: with its dials, from :func:`load_softness`.
        config: written by ``softness_config(model, scheduler)``.

    Returns:
        A scheduler of all dials of the model, which has set their softness.

    Raises:
        ArgumentError: if the configuration holds no schedule.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import LinearSchedule, SoftR2Conv, SoftnessScheduler, softness_config
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3)
        >>> scheduler = SoftnessScheduler(layer, LinearSchedule(1.0, 0.0, steps=4))
        >>> scheduler.step()
        >>> again = load_scheduler(layer, softness_config(layer, scheduler))
        >>> again.step()
        >>> layer.softness
        0.5
    """
    _tables(config)
    written = config.get("scheduler")
    if not isinstance(written, Mapping) or not isinstance(written.get("step"), int):
        remedy = "Write it with softness_config(model, scheduler)."
        raise ArgumentError("config", written, "a configuration with a scheduler", remedy)
    schedule = read_schedule({name: value for name, value in written.items() if name != "step"})
    return SoftnessScheduler(model, schedule, last_epoch=written["step"] - 1)


# ---------------------------------------------------------------------- what the configuration says


def _tables(config: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its layers and filters, each entry with the right keys and kinds of values."""
    if not isinstance(config, Mapping) or config.get("format") != FORMAT:
        expected = f"a dictionary from softness_config, of format {FORMAT}"
        raise ArgumentError("config", config, expected, "Write it anew, or read it with the version that wrote it.")
    tables = []
    for table, wanted in (("layers", _LAYER), ("filters", _FILTER)):
        entries = config.get(table)
        if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
            raise ArgumentError(f"config[{table!r}]", entries, "a dictionary by name", _REMEDY)
        for name, entry in entries.items():
            fits = isinstance(entry, Mapping) and entry.keys() == wanted.keys()
            if not fits or not all(isinstance(entry[key], kind) for key, kind in wanted.items()):
                expected = f"a dictionary with {', '.join(wanted)}, as softness_config writes it"
                raise ArgumentError(f"config[{table!r}][{name!r}]", entry, expected, "Write the file anew.")
        tables.append(dict(entries))
    return tables[0], tables[1]


def _check_nothing_else(model: Module, layers: Iterable[str], filters: Iterable[str]) -> None:
    """Refuse dials of the model that the configuration does not name."""
    own = softness_config(model)
    further = [*(own["layers"].keys() - set(layers)), *(own["filters"].keys() - set(filters))]
    if further:
        expected = f"a model whose dials the configuration names (it does not name {', '.join(sorted(further)[:5])})"
        raise ArgumentError("model", type(model).__name__, expected, _REMEDY)


# ---------------------------------------------------------------------- layers


def _layer_plan(modules: Mapping[str, Module], name: str, entry: Mapping[str, Any]) -> _LayerPlan:
    module = modules.get(name)
    if module is None:
        raise ArgumentError("config layer", name, "the name of a layer of the model", _REMEDY)
    plan = _LayerPlan(read_policy(entry["softness"]), _chain(entry), entry["projected"])
    if plan.projected and (plan.softness.learned or plan.softness.bounded):
        expected = "a softness that does not depend on the weights, in projected training"
        raise ArgumentError("config softness", plan.softness, expected, "Correct the file.")
    if isinstance(module, SoftModule):
        found = layer_entry(name, module)
        if found["projected"] and not plan.projected:
            remedy = "Load it into the model before projected(model)."
            raise ArgumentError(f"layer {name!r}", "ProjectedLayer", f"a {entry['kind']} itself", remedy)
    else:
        found = {**_softened(module, plan.chain), "chain": entry["chain"]}
    different = [key for key in ("kind", "fields", "bias", "chain") if found[key] != entry[key]]
    if different:
        has, wanted = ({key: each[key] for key in different} for each in (found, entry))
        raise ArgumentError(f"layer {name!r}", has, f"one with {wanted}", _REMEDY)
    return plan


def _chain(entry: Mapping[str, Any]) -> tuple[Any, ...] | None:
    return None if entry["chain"] is None else tuple(map(tupled, entry["chain"]))


def _softened(module: Module, chain: tuple[Any, ...] | None) -> dict[str, Any]:
    """What a configuration would say of a hard layer, once it is softened."""
    twin = twin_of(module)
    if twin is None or not isinstance(module, EquivariantModule):
        return {"kind": type(module).__name__, "fields": "", "bias": False}
    if chain is not None:
        subgroup_chain(module.in_type.gspace, chain)  # refused here if it is none
    fields, bias = between(module.in_type, module.out_type), getattr(module, "bias", None) is not None
    return {"kind": twin.soft.__name__, "fields": fields, "bias": bias}


def _soft(module: Module) -> SoftModule:
    assert isinstance(module, SoftModule)
    return module


def _is_soft_layer(module: Module) -> bool:
    return isinstance(module, SoftLayer)


def _layer(module: Module) -> SoftLayer:
    assert isinstance(module, SoftLayer)
    return module


# ---------------------------------------------------------------------- filters


def _filter_place(modules: Mapping[str, Module], key: str, entry: Mapping[str, Any]) -> tuple[Module, str, Policy]:
    """The module that holds a filtered tensor, the tensor's name in it, and its policy."""
    name, _, tensor = key.rpartition(".")
    owner = modules.get(name)
    if owner is None or not hasattr(owner, tensor):
        raise ArgumentError("config filter", key, "the name of a tensor of the model", _REMEDY)
    return owner, tensor, read_policy(entry["softness"])


def _types(entry: Mapping[str, Any]) -> FieldTypes | None:
    symmetry, types = read_symmetry(entry["symmetry"]), (entry["in_type"], entry["out_type"])
    if types == (None, None):
        return None
    if None in types or not isinstance(symmetry, GSpace2D):
        raise ArgumentError("config filter", entry["what"], "both field types, on a gspace", "Write the file anew.")
    return FieldTypes(*(read_type(symmetry, each) for each in types))


def _check_filter(soft_filter: SoftFilter, key: str, entry: Mapping[str, Any]) -> None:
    """Refuse a filter that is there already and is another one."""
    types, own = _types(entry), soft_filter.types
    same = soft_filter.what == entry["what"]
    if types is None or own is None:
        same = same and types is own is None and _same(soft_filter.symmetry, read_symmetry(entry["symmetry"]))
    else:
        same = same and (types.in_type, types.out_type) == (own.in_type, own.out_type)
    if not same:
        raise ArgumentError("config filter", key, "the filter that the model has there", _REMEDY)


def _same(one: GSpace2D | TokenShifts | None, other: GSpace2D | TokenShifts) -> bool:
    return one == other


def _new_filter(
    model: Module, owner: Module, tensor: str, key: str, entry: Mapping[str, Any], policy: Policy
) -> SoftFilter:
    """The filter of a tensor that has none yet."""
    types = _types(entry)
    found: Mapping[str, SoftFilter] | EscnnSoftError
    if types is None:
        symmetry = read_symmetry(entry["symmetry"])
        positions, _ = position_filters(model, symmetry, policy, lambda module, _: module is owner)
        found = positions.get(owner, {})
    elif isinstance(owner, Conv2d):
        found = conv_filters(owner, types, policy)
    else:
        found = {}
    if isinstance(found, EscnnSoftError):
        raise found
    if tensor not in found or found[tensor].what != entry["what"]:
        expected = entry["what"] or f"a convolution {between(types.in_type, types.out_type) if types else ''}"
        raise ArgumentError("config filter", f"{type(owner).__name__} {key}", expected, _REMEDY)
    return found[tensor]
