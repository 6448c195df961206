"""Softening a whole model: escnn's layers, plain convolutions, and what knows positions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from escnn.gspaces import GSpace2D
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import become, carry, structural_copy
from escnn_soft.convert.grid.grid_breaks import class_name
from escnn_soft.convert.plain.plain_convolutions import FieldTypesOf, conv_filters, plain_layers, types_of, unfilterable
from escnn_soft.convert.plain.plain_dials import attach
from escnn_soft.convert.plain.resizing import guard_resizing
from escnn_soft.convert.selection import FilterFn, names_of, settings_of
from escnn_soft.convert.ties import tie
from escnn_soft.convert.vision_transformers.positions import position_filters, regrade
from escnn_soft.dial import Policy, SoftFilter, as_policy
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.escnn import Options
from escnn_soft.grading import Chain, TokenShifts, subgroup_chain
from escnn_soft.layers import SoftLayer, dial_name, filtered_tensors, own_dials, soft_twin, twin_of
from escnn_soft.layers.arguments import check_rank

__all__ = ["soften"]

AnyModule = TypeVar("AnyModule", bound=Module)

_ON_UNSUPPORTED = ("warn", "ignore", "raise")

_LISTED = 10
"""Layers that a message lists with their reasons."""


def soften(
    model: AnyModule,
    softness: float | Policy,
    *,
    gspace: GSpace2D | TokenShifts | None = None,
    field_types: FieldTypesOf | None = None,
    filter_fn: FilterFn | None = None,
    per_layer: Mapping[str, float | Policy | Options] | None = None,
    chain: Chain | None = None,
    rank: int | None = None,
    on_unsupported: str = "warn",
    inplace: bool = False,
) -> AnyModule:
    """Put a dial on the layers of a model: escnn's turn into soft ones, plain convolutions get a filter.

    **escnn's layers** are exchanged; the model computes the same function until it is trained. The soft layers hold the
    *same* Parameter objects as the hard ones, so that an optimiser or averaged copy that exists goes on working (it
    does not know the new ``soft_weights`` and ``soft_bias``, which start at zero: add them). Classes that have a soft
    twin: escnn's ``Linear``, ``TensorProductModule``, ``R2Conv``, ``R3Conv``, ``R3IcoConv``, their transposed ones,
    ``R2PointConv``, ``R3PointConv``, and those of :func:`register_soft`. A cut-off or basis filter that a convolution
    was built with is read off its basis.

    **Plain convolutions**, ``torch.nn.Conv2d`` and its subclasses, grouped and dilated ones too, are meant where a
    gspace is given. Each weight goes through a :class:`SoftFilter`, a parametrization of torch's: every channel is a
    scalar field unless ``field_types`` says otherwise, so that kernels are isotropic at softness 0 and untouched at 1.
    The function changes, except at softness 1. The Parameter is the unfiltered weight, under its own name and in its
    place in ``named_parameters`` and the ``state_dict``, so that rules that go by names go on holding; an in-place
    write into ``conv.weight`` is one into it. Kernels of one pixel between scalar fields, norms and pointwise functions
    need nothing. What strides and poolings do to the grid is another matter: see :func:`soft_status` and
    :func:`centre_strides`.

    **Vision transformers** keep positions elsewhere too: tables of the token grid, whose rows of class and register
    tokens are left alone, tables of offsets, and rotary embeddings, under which a turn permutes the channels of queries
    and keys. Those of timm, transformers and torchvision are known by their structure, others by
    :func:`register_positions`. Attention and MLPs commute with permutations of tokens and need nothing. With
    ``TokenShifts()`` for the gspace only tables of the token grid are softened, under shifts by whole patches.

    Mode, device, dtype, ``requires_grad``, hooks, names, attributes of yours, modules that are used twice and tied
    Parameters are kept, and what the softness adds to tied layers is tied too; nothing is drawn or initialised anew.

    Args:
        model: any torch module; a layer itself, perhaps.
        softness: a float in [0, 1] or a policy.
        gspace: the group under which plain layers are softened, as escnn's gspace on the plane, or ``TokenShifts()``.
        field_types: input and output types of plain convolutions whose channels are not scalars, by name or shell
            pattern; their biases go through a filter too.
        filter_fn: function of a module and its name, whether to soften it; all by default.
        per_layer: softness of single layers by name or shell pattern (``"encoder.*"``; a name goes before patterns, an
            earlier pattern before a later one), or a dictionary with ``softness`` and, for escnn's layers, options of
            the soft class's ``from_hard``, such as ``frequencies_cutoff``.
        chain: ids of subgroups of the fibre group, from large to small, to relax all escnn layers to: the last stays
            exact at every softness, and the first comes first on the dial. None to relax altogether, as plain layers
            always do.
        rank: number of products that the soft coefficients of escnn's layers are sums of, as in :class:`SoftR2Conv`:
            fewer Parameters to train and store. ``per_layer`` may say another. None for any coefficients.
        on_unsupported: what to do about layers that cannot be softened and stay as they are: ``"warn"`` once,
            ``"ignore"`` or ``"raise"``.
        inplace: whether to change the model itself, where each layer object then turns soft, or to leave it as it is
            and return a copy, which shares its Parameters (``copy.deepcopy`` the model first if it shall not).

    Returns:
        The soft model.

    Raises:
        ArgumentError: if nothing in the model can be softened, a key of ``per_layer`` matches nothing, an option does
            not fit, the chain or the rank is none, either is asked for where plain layers are softened, or a layer is
            unsupported and ``on_unsupported`` says so. The model is unchanged then.
        SoftnessError: if a softness is neither a number in [0, 1] nor a policy.

    Example:
        >>> from escnn import gspaces, nn
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> model = nn.SequentialModule(nn.R2Conv(image, hidden, 5), nn.ReLU(hidden), nn.R2Conv(hidden, hidden, 3))
        >>> soft = soften(model, 0.5, per_layer={"2": 0.1})
        >>> soft[0].softness, soft[2].softness, soft[0].weights is model[0].weights
        (0.5, 0.1, True)
        >>> import torch
        >>> plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
        >>> soft = soften(plain, 0.0, gspace=gspaces.flipRot2dOnR2(4))
        >>> x = torch.randn(1, 3, 9, 9)
        >>> bool(torch.allclose(soft(x.mT), soft(x).mT, atol=1e-6))
        True
    """
    policy = as_policy(softness)
    if on_unsupported not in _ON_UNSUPPORTED:
        raise ArgumentError("on_unsupported", on_unsupported, f"one of {_ON_UNSUPPORTED}", "Choose one of these.")
    instance("model", model, Module, "Pass the model that holds the layers.")
    model = model if inplace else structural_copy(model)
    _check_escnn_alone(gspace, chain=chain, rank=rank)
    check_rank(rank)
    types = types_of(model, None if isinstance(gspace, TokenShifts) else gspace, field_types, filter_fn)
    needed: dict[Module, dict[str, SoftFilter] | EscnnSoftError] = {}
    for conv in types:
        if (found := conv_filters(conv, types[conv], policy)) != {}:
            needed[conv] = found
    unsupported = _unsupported(model, filter_fn, plain=isinstance(gspace, GSpace2D))
    if gspace is not None:
        positions, reasons = position_filters(model, gspace, policy, filter_fn)
        needed.update(positions)
        unsupported.update(reasons)
    layers = names_of(model, lambda module: _can_soften(module) or module in needed, filter_fn)
    default: Options = {"softness": policy}
    settings = settings_of(_dials(layers, needed), _resolved(per_layer), default)
    chains = {layer: setting.get("chain", chain) for layer, setting in settings.items() if layer not in needed}
    for layer, ids in chains.items():
        assert isinstance(layer, EquivariantModule)
        if ids is not None:  # refused here, it is no reason to leave the layer hard
            subgroup_chain(layer.in_type.gspace, ids)
    twins: dict[Module, SoftLayer] = {}
    filters: dict[Module, dict[str, SoftFilter]] = {}
    soft: SoftLayer | dict[str, SoftFilter] | EscnnSoftError
    for layer, setting in settings.items():
        asked = setting.get("softness", policy)
        options = {name: value for name, value in setting.items() if name != "softness"}
        if layer in needed:
            soft = _set(needed[layer], asked, options)
        else:
            further = {"chain": chains[layer], "rank": check_rank(options.pop("rank", rank))}
            options.pop("chain", None)
            assert isinstance(layer, EquivariantModule)
            soft = _soft(layer, asked, {name: each for name, each in further.items() if each is not None}, options)
        if isinstance(soft, SoftLayer):
            twins[layer] = soft
        elif isinstance(soft, dict):
            filters[layer] = soft
        else:
            unsupported[layers[layer][0]] = str(soft)
    if not (twins or filters) or (unsupported and on_unsupported == "raise"):
        _refuse(model, unsupported)
    if unsupported and on_unsupported == "warn":
        words = "steerable layers" if gspace is None else "layers"
        warnings.warn(f"soften leaves {len(unsupported)} {words} hard:{_lines(unsupported)}", stacklevel=2)
    for layer, soft_layer in twins.items():
        carry(layer, soft_layer)
        become(layer, soft_layer)
    for layer, by_tensor in filters.items():
        for tensor, soft_filter in by_tensor.items():
            attach(layer, tensor, soft_filter, regrade)
    guard_resizing(model)
    tie(model)
    _warn_of_closed({layer: layers[layer][0] for layer in filters})
    return model


def _warn_of_closed(names: Mapping[Module, str]) -> None:
    """Name the filtered tensors of which nothing passes."""
    tensors = [(name, each) for layer, name in names.items() for each in filtered_tensors(layer)]
    closed = [f"{name}.{each.tensor}" for name, each in tensors if each.closed]
    if closed:
        warnings.warn(
            f"Nothing in {', '.join(closed)} is equivariant, so nothing passes below softness 1. Give such tensors "
            "softness 1 or Exponential(s) with per_layer.",
            stacklevel=3,
        )


def _dials(layers: Mapping[Module, list[str]], filters: Mapping[Module, Any]) -> dict[Module, list[str]]:
    """The names of the layers, and of the tensors whose dials do not go by the name of their module."""
    tensors = {layer: found if isinstance(found := filters.get(layer), dict) else {} for layer in layers}
    return {
        layer: list(dict.fromkeys([*names, *(dial_name(name, tensor) for name in names for tensor in tensors[layer])]))
        for layer, names in layers.items()
    }


def _unsupported(model: Module, filter_fn: FilterFn | None, *, plain: bool) -> dict[str, str]:
    """Layers that no dial can be put on, with the reason."""
    reasons = {names[0]: _why_hard(module) for module, names in names_of(model, _stays_hard, filter_fn).items()}
    if plain:
        for module, names in plain_layers(model, filter_fn).items():
            reason = unfilterable(module)
            if reason is not None:
                reasons[names[0]] = f"{class_name(module)}: {reason}"
    return reasons


def _check_escnn_alone(gspace: GSpace2D | TokenShifts | None, **options: Any) -> None:
    """Refuse what only escnn's layers can have, where plain ones are softened."""
    for name, value in options.items():
        if value is not None and gspace is not None:
            remedy = "Soften escnn's layers and plain ones in two calls."
            expected = f"no {name} where plain layers are softened (gspace is given)"
            raise ArgumentError(name, value, expected, remedy)


def _set(
    filters: dict[str, SoftFilter] | EscnnSoftError, softness: Policy, options: Options
) -> dict[str, SoftFilter] | EscnnSoftError:
    """The filters of a plain convolution at a softness of its own."""
    if options:
        raise ArgumentError(
            "per_layer option", dict(options), "a softness alone, for a plain layer", "Remove the option."
        )
    if isinstance(filters, dict):
        for soft_filter in filters.values():
            soft_filter.softness = softness
    return filters


def _can_soften(module: Module) -> bool:
    return twin_of(module) is not None and "forward" not in vars(module)


def _stays_hard(module: Module) -> bool:
    """Whether a module has weights that a soft twin would free, but none to become."""
    steerable = isinstance(module, EquivariantModule) and isinstance(getattr(module, "weights", None), Tensor)
    return steerable and not isinstance(module, SoftLayer) and not _can_soften(module)


def _why_hard(module: Module) -> str:
    if is_parametrized(module):
        tensors = ", ".join(module.parametrizations)  # type: ignore[arg-type]
        return f"{class_name(module)}: take the parametrization of its {tensors} off first; a soft layer can have one"
    return f"{type(module).__name__} has no soft twin"


def _resolved(per_layer: Mapping[str, Any] | None) -> dict[str, Options] | None:
    """Every setting as options, with its softness checked."""
    if not isinstance(per_layer, Mapping):
        return per_layer  # settings_of knows what to say
    settings = {key: v if isinstance(v, Mapping) else {"softness": v} for key, v in per_layer.items()}
    return {
        key: {**setting, "softness": as_policy(setting["softness"])} if "softness" in setting else setting
        for key, setting in settings.items()
    }


@torch.inference_mode(False)
def _soft(layer: EquivariantModule, softness: Policy, further: Options, options: Options) -> SoftLayer | EscnnSoftError:
    """The soft layer, or why there is none; options that were asked for have to fit."""
    if not options:
        try:
            return soft_twin(layer, softness, **further)
        except EscnnSoftError as error:
            return error
    twin = twin_of(layer)
    assert twin is not None
    try:
        soft: SoftLayer = twin.soft.from_hard(layer, softness, **options, **further)
    except TypeError as error:
        expected = f"a softness and options of {twin.soft.__name__}.from_hard ({error})"
        raise ArgumentError("per_layer option", dict(options), expected, "Correct or remove the option.") from error
    return soft


def _refuse(model: Module, unsupported: Mapping[str, str]) -> None:
    kind = "whose steerable layers all have a soft twin" if unsupported else "with hard steerable layers"
    remedy = (
        "Check filter_fn, pass gspace for plain convolutions, or tell soften about layers of yours with "
        "@register_soft(YourLayer)."
    )
    if unsupported:
        remedy = f"These stay hard:{_lines(unsupported)}\n{remedy}"
    elif any(True for module in model.modules() for _ in own_dials(module)):
        remedy = "Its layers are soft already: use set_softness."
    raise ArgumentError("model", model, f"a model {kind}", remedy)


def _lines(reasons: Mapping[str, str]) -> str:
    lines = [f"\n  {name or '(the model itself)'}: {reason}" for name, reason in reasons.items()]
    more = f"\n  and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return "".join(lines[:_LISTED]) + more
