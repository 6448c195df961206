"""What a model's state_dict does not hold: every dial of it, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.checkpoints.filter_entries import FILTER_ENTRY, written_filters
from escnn_soft.checkpoints.layer_entries import LAYER_ENTRY, written_layer
from escnn_soft.convert.selection import names_of
from escnn_soft.dial import SoftModule
from escnn_soft.dial.policies.written import written_schedule
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftnessScheduler, dials

__all__ = ["read_tables", "softness_config"]

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
    names = names_of(model, lambda _: True, None)
    for module, aliases in names.items():
        if isinstance(module, SoftModule):
            layers[aliases[0]] = written_layer(aliases, module)
        filters.update(written_filters(aliases, module))
    config: dict[str, Any] = {"format": FORMAT, "layers": layers, "filters": filters, "scheduler": None}
    if scheduler is not None:
        config["scheduler"] = _of_scheduler(model, scheduler)
    return config


def read_tables(config: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layers and filters of a configuration, each entry with the right keys and kinds of values.

    Args:
        config: what may be one.

    Returns:
        Entries of layers, and of filters, by name.

    Raises:
        ArgumentError: if it is none.
    """
    if not isinstance(config, Mapping) or config.get("format") != FORMAT or config["format"] is True:
        expected = f"a dictionary from softness_config, of format {FORMAT}"
        raise ArgumentError("config", config, expected, "Write it anew, or read it with the version that wrote it.")
    return _table(config, "layers", LAYER_ENTRY, {"rank": None}), _table(config, "filters", FILTER_ENTRY, {})


def _table(
    config: Mapping[str, Any], table: str, wanted: Mapping[str, Any], later: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of a table; ``later`` are keys that files of earlier versions lack, with what these mean."""
    entries = config.get(table)
    if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
        raise ArgumentError(f"config[{table!r}]", entries, "a dictionary by name", "Write the file anew.")
    entries = {name: {**later, **entry} if isinstance(entry, Mapping) else entry for name, entry in entries.items()}
    for name, entry in entries.items():
        fits = isinstance(entry, Mapping) and entry.keys() == wanted.keys()
        if not fits or not all(isinstance(entry[key], kind) for key, kind in wanted.items()):
            expected = f"a dictionary with {', '.join(wanted)}, as softness_config writes it"
            raise ArgumentError(f"config[{table!r}][{name!r}]", entry, expected, "Write the file anew.")
    return entries


def _of_scheduler(model: Module, scheduler: SoftnessScheduler) -> dict[str, Any]:
    instance("scheduler", scheduler, SoftnessScheduler, "Pass the SoftnessScheduler of the model.")
    if set(dials(model).values()) != set(scheduler.dials):
        expected = "a scheduler of all dials of this model"
        remedy = "Build it with this model, or keep that of a part with the configuration of the part."
        raise ArgumentError("scheduler", scheduler, expected, remedy)
    return {**written_schedule(scheduler.schedule), "step": scheduler.last_epoch}
