"""Putting the dials of a configuration on a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.checkpoints.filter_entries import read_filter
from escnn_soft.checkpoints.layer_entries import OTHER_MODEL, LayerPlan, read_layer
from escnn_soft.checkpoints.softness_config import read_tables, softness_config
from escnn_soft.convert import soften
from escnn_soft.convert.plain.plain_dials import attach
from escnn_soft.convert.plain.resizing import guard_resizing
from escnn_soft.convert.projected import become_projected
from escnn_soft.convert.selection import names_of
from escnn_soft.convert.ties import tie
from escnn_soft.convert.vision_transformers.positions import regrade
from escnn_soft.dial import Policy, SoftModule, as_policy
from escnn_soft.dial.policies.written import read_schedule
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, SoftLayer, SoftnessScheduler, filtered_tensors

__all__ = ["load_scheduler", "load_softness"]

AnyModule = TypeVar("AnyModule", bound=Module)


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
    layers, filters = read_tables(config)
    names = names_of(model, lambda _: True, None)
    modules = {name: module for module, aliases in names.items() for name in aliases}
    _check_nothing_else(model, layers, filters)
    plans = {name: read_layer(modules, names, name, entry) for name, entry in layers.items()}
    tensors = [read_filter(model, modules, names, key, entry) for key, entry in filters.items()]
    soft = {name: module for name in plans if isinstance(module := modules[name], SoftModule)}
    there: list[tuple[Dialled, Policy]] = [(layer, plans[name].softness) for name, layer in soft.items()]
    there += [(each, policy) for each, policy in tensors if each in filtered_tensors(each.owner)]
    for dial, policy in there:
        dial.accepted(policy)
    _soften(model, {name: plan for name, plan in plans.items() if name not in soft})
    # from here on nothing refuses
    for dial, policy in there:
        if not (policy.learned and as_policy(dial.softness).learned):  # the gains are Parameters, and in the state
            dial.softness = policy
    projecting = [modules[name] for name, plan in plans.items() if plan.projected]
    become_projected([layer for layer in projecting if isinstance(layer, SoftLayer)])
    for each, _ in tensors:
        if each not in filtered_tensors(each.owner):
            attach(each.owner, each.tensor, each.filter, regrade)
    guard_resizing(model)
    tie(model)
    return model


def _soften(model: Module, plans: Mapping[str, LayerPlan]) -> None:
    """Soften the hard layers of these names."""

    def meant(module: Module, name: str) -> bool:
        return name in plans

    if plans:
        settings = {
            name: {"softness": plan.softness, "chain": plan.chain, "rank": plan.rank} for name, plan in plans.items()
        }
        soften(model, 0.0, filter_fn=meant, per_layer=settings, on_unsupported="raise", inplace=True)


def _check_nothing_else(model: Module, layers: Iterable[str], filters: Iterable[str]) -> None:
    """Refuse dials of the model that the configuration does not name."""
    own = softness_config(model)
    further = [*(own["layers"].keys() - set(layers)), *(own["filters"].keys() - set(filters))]
    if further:
        named = ", ".join(name or "(root)" for name in sorted(further)[:5])
        expected = f"a model whose dials the configuration names (it does not name {named})"
        raise ArgumentError("model", type(model).__name__, expected, OTHER_MODEL)


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
    read_tables(config)
    written = config.get("scheduler")
    if not isinstance(written, Mapping) or type(written.get("step")) is not int:
        remedy = "Write it with softness_config(model, scheduler)."
        raise ArgumentError("config", written, "a configuration with a scheduler", remedy)
    schedule = read_schedule({name: value for name, value in written.items() if name != "step"})
    return SoftnessScheduler(model, schedule, last_epoch=written["step"] - 1)
