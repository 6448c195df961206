"""How soft the layers of a model are, and setting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch.nn import Module

from escnn_soft.convert.filters import dials_of
from escnn_soft.convert.selection import FilterFn, names_of, settings_of
from escnn_soft.errors import ArgumentError
from escnn_soft.nn import SoftLayer
from escnn_soft.policies import Policy, as_policy

__all__ = ["LayerStatus", "SoftStatus", "set_softness", "soft_status"]


@dataclass(frozen=True)
class LayerStatus:
    """One steerable layer of a model.

    Attributes:
        name: qualified name in the model; of a shared layer, the first.
        kind: name of its class.
        softness: its dial; None for a hard layer.
        fields: its types in words.
        breaking: share of the kernel's energy that breaks the symmetry, in [0, 1].
    """

    name: str
    kind: str
    softness: float | Policy | None
    fields: str
    breaking: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The status in words."""
        softness = "hard" if self.softness is None else f"softness {self.softness}"
        return self.name or "(root)", self.kind, softness, self.fields, f"breaking {self.breaking:.1%}"


@dataclass(frozen=True)
class SoftStatus:
    """The steerable layers of a model, in the order of ``named_modules``; prints as one line a layer.

    Attributes:
        layers: one entry a layer.
    """

    layers: tuple[LayerStatus, ...]

    def __str__(self) -> str:
        if not self.layers:
            return "no steerable layers"
        rows = [layer.columns for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join(lines)

    __repr__ = __str__


def soft_status(model: Module) -> SoftStatus:
    """How soft each steerable layer of a model is, and how much of it breaks the symmetry by now.

    Args:
        model: any module.

    Returns:
        A value with one entry a steerable layer, soft or hard; ``print`` it to see one line a layer.

    Raises:
        ArgumentError: if the model is no module.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(*[gspaces.rot2dOnR2(4).regular_repr] * 2)
        >>> soft_status(SoftR2Conv(field, field, kernel_size=3, softness=0.5))
        (root)  SoftR2Conv  softness 0.5  2 regular -> 2 regular  breaking 0.0%
    """
    layers = names_of(model, lambda module: hasattr(module, "basisexpansion"), None)
    return SoftStatus(tuple(_status(names[0], layer) for layer, names in layers.items()))


def set_softness(
    model: Module,
    softness: float | Policy,
    *,
    filter_fn: FilterFn | None = None,
    per_layer: Mapping[str, float | Policy] | None = None,
) -> None:
    """Turn the dial of every soft layer of a model.

    Args:
        model: a model with soft layers.
        softness: a float in [0, 1] or a policy.
        filter_fn: function of a module and its name, whether to set it; all by default.
        per_layer: softness of single layers by name or shell pattern, as in :func:`soften`.

    Raises:
        ArgumentError: if there is no such layer, or a key of ``per_layer`` matches nothing. Nothing is changed then.
        SoftnessError: if a softness is neither a number in [0, 1] nor a policy.

    Example:
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> model = nn.SequentialModule(SoftR2Conv(field, field, 3), nn.ReLU(field), SoftR2Conv(field, field, 3))
        >>> set_softness(model, 0.5, per_layer={"2": 0.1})
        >>> [layer.softness for layer in soft_status(model).layers]
        [0.5, 0.1]
    """
    policy = as_policy(softness)
    if isinstance(per_layer, Mapping):
        per_layer = {key: as_policy(value) for key, value in per_layer.items()}
    dials = dials_of(model, filter_fn)
    if not dials:
        raise ArgumentError(
            "model", type(model).__name__, "a model with soft layers", "Use soften, or check filter_fn."
        )
    for dial, setting in settings_of(dials, per_layer, policy).items():
        dial.softness = setting  # type: ignore[assignment]


def _status(name: str, layer: Module) -> LayerStatus:
    fields = f"{_fields(layer.in_type)} -> {_fields(layer.out_type)}"
    if not isinstance(layer, SoftLayer):
        return LayerStatus(name, type(layer).__name__, None, fields, 0.0)
    spectrum = layer.spectrum()
    share = spectrum.breaking / spectrum.energy if spectrum.energy > 0 else 0.0
    return LayerStatus(name, type(layer).__name__, layer.softness, fields, min(max(share, 0.0), 1.0))


def _fields(field_type: object) -> str:
    """A type in words, such as ``2 regular + irrep_0``; fields of one kind are counted together."""
    counts: dict[str, int] = {}
    for rho in field_type.representations:  # type: ignore[attr-defined]
        counts[rho.name] = counts.get(rho.name, 0) + 1
    return " + ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())
