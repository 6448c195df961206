"""What a model's state_dict does not hold: every dial of it, as plain JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.checkpoints.field_types import written_symmetry, written_type
from escnn_soft.convert import ProjectedLayer
from escnn_soft.dial import SoftModule, as_policy
from escnn_soft.dial.policies.written import written_policy, written_schedule
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import FilteredTensor, SoftnessScheduler, dials, filtered_tensors

__all__ = ["FORMAT", "layer_entry", "softness_config"]

FORMAT = 1
"""Version of the configuration; raised when an older reader would read another function."""


def softness_config(model: Module, scheduler: SoftnessScheduler | None = None) -> dict[str, Any]:
    """Everything about the softness of a model that its ``state_dict`` does not hold, as plain JSON.

    A checkpoint of torch's holds the numbers; which levels they belong to, and how far each is open, is code and
    settings. This names them: of every soft layer its kind, fields, chain and policy; of every filtered tensor its
    group, field types and policy. :func:`load_softness` puts them on a model, soft or not.

    Args:
        model: any module.
        scheduler: whose schedule and step to keep too.

    Returns:
        ``{"format", "layers", "filters", "scheduler"}``: a dictionary that ``json.dumps`` takes.

    Raises:
        ArgumentError: if a policy of yours is no dataclass of numbers, a filter was put on a tensor by hand that
            neither field types nor :func:`register_positions` describe, or a chain holds what is no JSON.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import Budget, SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> config = softness_config(SoftR2Conv(field, field, kernel_size=3, softness=Budget(0.1)))
        >>> config["layers"][""]["softness"], config["layers"][""]["fields"]
        ({'policy': 'Budget', 'eta': 0.1}, 'regular -> regular')
    """
    instance("model", model, Module, "Pass the model whose softness is to be kept.")
    layers: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, SoftModule):
            layers[name] = layer_entry(name, module)
        filters.update(_of_filters(name, module))
    config: dict[str, Any] = {"format": FORMAT, "layers": layers, "filters": filters, "scheduler": None}
    if scheduler is not None:
        config["scheduler"] = _of_scheduler(model, scheduler)
    return config


def layer_entry(name: str, layer: SoftModule) -> dict[str, Any]:
    """What a configuration says of a soft layer."""
    is_projected = isinstance(layer, ProjectedLayer)
    return {
        "kind": layer.soft_kind if isinstance(layer, ProjectedLayer) else layer.kind,
        "projected": is_projected,
        "fields": layer.fields,
        "bias": len(layer._dials) > 1,
        "chain": None if layer.chain is None else [_id(name, part) for part in layer.chain],
        "softness": written_policy(as_policy(layer.softness)),
    }


def _id(name: str, part: Any) -> Any:
    """An id of a subgroup, with lists for tuples."""
    if isinstance(part, tuple | list):
        return [_id(name, each) for each in part]
    if not isinstance(part, int | float | str | None):
        expected = "a chain of ids made of numbers, names and tuples of these"
        raise ArgumentError(f"chain of {name!r}", part, expected, "Write the softness of this layer yourself.")
    return part


def _of_filters(name: str, module: Module) -> dict[str, Any]:
    found = filtered_tensors(module)
    most = Counter(each.tensor for each in found).most_common(1)
    if most and most[0][1] > 1:
        expected = "tensors with one filter each"
        raise ArgumentError("model", f"{name}.{most[0][0]}", expected, "Take the second filter off.")
    return {".".join(filter(None, (name, each.tensor))): _of_filter(name, each) for each in found}


def _of_filter(name: str, each: FilteredTensor) -> dict[str, Any]:
    types, symmetry = each.filter.types, each.filter.symmetry
    if types is None and symmetry is None:
        expected = "a filter between field types, or of a table that soften knows"
        remedy = "Give SoftFilter its types, or its symmetry and the class a reader with register_positions."
        raise ArgumentError("filter", f"{name}.{each.tensor}", expected, remedy)
    return {
        "symmetry": written_symmetry(types.in_type.gspace if types is not None else symmetry),
        "in_type": None if types is None else written_type(types.in_type),
        "out_type": None if types is None else written_type(types.out_type),
        "what": each.filter.what,
        "softness": written_policy(as_policy(each.softness)),
    }


def _of_scheduler(model: Module, scheduler: SoftnessScheduler) -> dict[str, Any]:
    instance("scheduler", scheduler, SoftnessScheduler, "Pass the SoftnessScheduler of the model.")
    own = set(dials(model).values())
    if not own.issuperset(scheduler.dials):
        raise ArgumentError("scheduler", scheduler, "a scheduler of this model", "Build one with this model.")
    return {**written_schedule(scheduler.schedule), "step": scheduler.last_epoch}
