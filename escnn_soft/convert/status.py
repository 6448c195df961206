"""How soft the layers of a model are, and setting it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import Module

from escnn_soft._record import Record
from escnn_soft.convert.grid.grid_breaks import GridBreak, class_name, possible_breaks, unfiltered
from escnn_soft.convert.grid.grid_watch import breaks_on
from escnn_soft.convert.grid.measurement import Measurement, measured, random_image
from escnn_soft.convert.grid.raw_parameters import possible_raw
from escnn_soft.convert.grid.undisturbed import undisturbed
from escnn_soft.convert.selection import FilterFn, dials_of, names_of, settings_of
from escnn_soft.convert.ties import tie
from escnn_soft.convert.vision_transformers.positions import unfiltered_positions
from escnn_soft.dial import Policy, as_policy
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import GradedShifts, SubgroupId
from escnn_soft.layers import Dialled, filtered_tensors, own_dials
from escnn_soft.layers.type_words import between

__all__ = ["LayerStatus", "SoftStatus", "set_softness", "soft_status"]


@dataclass(frozen=True)
class LayerStatus(Record):
    """One steerable layer of a model, or one filtered tensor of a plain layer.

    Attributes:
        name: qualified name in the model; of a shared layer, the first.
        kind: name of its class, and of the tensor if it is not the weight.
        softness: its dial; None for a hard layer.
        fields: its types in words; what it is for a tensor that does not map between fields, such as a table of
            positions.
        breaking: share of the kernel's energy (its squared norm, after the gains) that breaks the symmetry, in [0, 1],
            and that :func:`harden` drops. Its root is the share of the norm: 1% of the energy is 10% of the norm.
        chain: ids of the subgroups to which it relaxes; None for a hard layer, or one that relaxes altogether.
        closed: whether its softness opens nothing, because nothing in it is equivariant to measure by.
    """

    name: str
    kind: str
    softness: float | Policy | None
    fields: str
    breaking: float
    chain: tuple[SubgroupId, ...] | None = None
    closed: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The status in words."""
        softness = "hard" if self.softness is None else f"softness {self.softness}"
        softness += " (closed: nothing in it is equivariant)" if self.closed else ""
        softness += "" if self.chain is None else f" chain {list(self.chain)}"
        return self.name or "(root)", self.kind, softness, self.fields, f"breaking {self.breaking:.1%} of energy"


@dataclass(frozen=True)
class SoftStatus(Record):
    """The steerable layers of a model, in the order of ``named_modules``; prints as one line a layer.

    Attributes:
        layers: one entry a layer, or a filtered tensor.
        grid: what else breaks the action on the pixels, whatever the softness: strides, poolings, paddings; the model
            itself, where it was measured to and no reason is known.
        measured: by how much the outputs change under the group at softness 0; None if the model did not run, or has no
            group that acts on the plane.
    """

    layers: tuple[LayerStatus, ...]
    grid: tuple[GridBreak, ...] = ()
    measured: Measurement | None = None

    def __str__(self) -> str:
        if not self.layers:
            return "no steerable layers"
        lines = _table([layer.columns for layer in self.layers])
        if self.grid:
            lines += ["breaks the action on the pixels:", *_table([each.columns for each in self.grid])]
        if self.measured is not None:
            lines.append(str(self.measured))
        return "\n".join(lines)

    __repr__ = __str__


def soft_status(model: Module, input_shape: Sequence[int] | None = None) -> SoftStatus:
    """How soft each steerable layer of a model is, and which share of its energy breaks the symmetry by now.

    The energy is the squared norm of the kernel, so a layer whose kernel is 1% of energy away from an equivariant one
    is 10% of its norm away.

    A model of plain layers may break the symmetry in other ways too: strided convolutions and poolings whose windows
    are not symmetric about the image's centre, uneven padding, interpolation, flattened positions, kernels and tables
    of positions without a filter, and Parameters of modules of yours that are kernels or meet the image position by
    position (``F.conv2d(x, self.weight)``, ``x + self.table``). Without ``input_shape`` torch's own modules are listed
    with the sizes on which they do, and Parameters by their shapes. With it the model is run and its operations are
    watched, so that only what does break on this size is listed. :func:`centre_strides` mends strides.

    No list of operations is complete: layers over rows or tokens, masks, slices, hooks and constant maps are none of
    these. So with ``input_shape`` the outputs are measured too, **at softness 0, whatever the softness is**: on noise,
    and on the noise turned and mirrored as the group does where it moves pixels onto pixels. If they change by more
    than rounding and nothing that was named can be why, the model itself is listed. ``measured`` has the figures.
    Scores are to stay and images and tokens to move; what is neither is said to be undecided. Parameters that are zero
    so far, such as layer scales before training, are noise meanwhile, or they would hide what they multiply.

    Args:
        model: any module.
        input_shape: shape of an input, (batch, channels, height, width), of a model that takes one tensor; the model
            runs on random images in evaluation mode, three to five times. Its Parameters, buffers, softness and mode
            and torch's random numbers are afterwards what they were. Of a group with quarter turns only the half turn
            is tried if height and width differ.

    Returns:
        A value with one entry a steerable layer, soft or hard; ``print`` it to see one line a layer.

    Raises:
        ArgumentError: if the model is no module, or the shape not that of images.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv, soften
        >>> field = gspaces.rot2dOnR2(4).type(*[gspaces.rot2dOnR2(4).regular_repr] * 2)
        >>> soft_status(SoftR2Conv(field, field, kernel_size=3, softness=0.5))
        (root)  SoftR2Conv  softness 0.5  2 regular -> 2 regular  breaking 0.0% of energy
        >>> import torch
        >>> plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1))
        >>> soft_status(soften(plain, 0.0, gspace=gspaces.rot2dOnR2(4)), (1, 3, 32, 32))
        0  Conv2d  softness 0.0  3 irrep_0 -> 8 irrep_0  breaking 0.0% of energy
        breaks the action on the pixels:
        0  Conv2d  stride 2 on 32 x 32: the windows reach 1 pixels beyond the first pixel and 0 beyond the last
        measured at softness 0: the output changes by 1... under a quarter turn, and by 1... for another image
    """
    holders = names_of(model, lambda module: _is_steerable(module) or any(True for _ in own_dials(module)), None)
    layers = tuple(status for module, names in holders.items() for status in _statuses(names[0], module))
    graded = [each.filter.graded for module in holders for each in filtered_tensors(module)]
    plain = any(not isinstance(each, GradedShifts) for each in graded)  # shifts by whole patches need no kernels
    missed = (unfiltered(model) if plain else ()) + (unfiltered_positions(model) if graded else ())
    known = [each.name for each in missed]
    if input_shape is not None:
        breaks, measurement = _on_images(model, input_shape, known, raw=plain)
        return SoftStatus(layers, missed + breaks or _unexplained(model, measurement), measurement)
    return SoftStatus(layers, missed + (possible_raw(model, known) + possible_breaks(model) if plain else ()))


def set_softness(
    model: Module,
    softness: float | Policy,
    *,
    filter_fn: FilterFn | None = None,
    per_layer: Mapping[str, float | Policy] | None = None,
    keep: bool = False,
) -> None:
    """Turn the dial of every soft layer, and of every filter, of a model.

    Args:
        model: a model with soft layers or filters.
        softness: a float in [0, 1] or a policy.
        filter_fn: function of a module and its name, whether to set it; all by default.
        per_layer: softness of single layers by name or shell pattern, as in :func:`soften`.
        keep: whether to keep the function that the model computes, where the new softness allows it, by changing the
            parameters: the coefficients of a level that is opened further stand for more than they did. An optimiser's
            state is then that of other parameters.

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
        raise ArgumentError("model", model, "a model with soft layers", "Use soften, or check filter_fn.")
    settings = settings_of(dials, per_layer, policy)
    for dial, setting in settings.items():
        dial.accepted(setting)
    for dial, setting in settings.items():
        dial.turn(setting, keep=keep)
    tie(model)  # what a learned policy begins with


def _on_images(
    model: Module, shape: Sequence[int], known: list[str], *, raw: bool
) -> tuple[tuple[GridBreak, ...], Measurement | None]:
    """What breaks the action on images of a size, as far as is known and as far as it was measured."""
    if len(shape) != 4 or not all(isinstance(n, int) and n > 0 for n in shape):
        remedy = "Pass (batch, channels, height, width)."
        raise ArgumentError("input_shape", shape, "the shape of a batch of images", remedy)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    image = random_image(shape, like, seed=0)
    with undisturbed(model, like.device) as awakened:
        breaks, returned = breaks_on(model, image, known, raw=raw)
        return breaks, measured(model, image, returned, awakened)


def _unexplained(model: Module, measurement: Measurement | None) -> tuple[GridBreak, ...]:
    """The model itself, if its outputs change and nothing that is known makes them."""
    fault = None if measurement is None else measurement.fault
    return () if fault is None else (GridBreak("", class_name(model), fault),)


def _statuses(name: str, module: Module) -> Iterator[LayerStatus]:
    statuses = [_status(name, dial) for dial in own_dials(module)]
    yield from statuses or [LayerStatus(name, class_name(module), None, between(module.in_type, module.out_type), 0.0)]


def _status(name: str, dial: Dialled) -> LayerStatus:
    share = dial.spectrum().breaking_share
    return LayerStatus(dial.named(name), dial.kind, dial.softness, dial.fields, share, dial.chain, dial.closed)


def _is_steerable(module: Module) -> bool:
    """Whether escnn expands the module's weights on pixels, or samples their basis at points."""
    return hasattr(module, "basisexpansion") or hasattr(module, "basissampler")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
