"""Plain convolutions of torch: which of them need a dial, and which dial."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from escnn.gspaces import GSpace2D
from escnn.nn import EquivariantModule, FieldType
from torch.jit import ScriptModule
from torch.nn import Conv2d, ConvTranspose2d, Module, Parameter
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._lasting import lasting
from escnn_soft.convert.selection import FilterFn, names_of, settings_of
from escnn_soft.dial import FieldTypes, Policy, SoftFilter
from escnn_soft.errors import ArgumentError, EscnnSoftError, GSpaceError
from escnn_soft.layers import filtered_tensors, graded_bias, graded_kernel
from escnn_soft.layers.arguments import check_types

__all__ = ["FieldTypesOf", "conv_filters", "plain_layers", "types_of", "unfilterable"]

FieldTypesOf = Mapping[str, tuple[FieldType, FieldType]]
"""Types of the input and output of layers, by name or shell pattern."""

_REMEDY = "Pass types of a planar gspace, such as gspaces.rot2dOnR2(4)."


def types_of(
    model: Module, gspace: GSpace2D | None, field_types: FieldTypesOf | None, filter_fn: FilterFn | None
) -> dict[Conv2d, FieldTypes]:
    """The field types of a model's plain convolutions: the user's, else scalars.

    Args:
        model: the model.
        gspace: the group; None for no plain layers.
        field_types: types by name or pattern; None for none.
        filter_fn: function of a module and its name, whether it is meant.

    Returns:
        Types by layer, in order, for those that torch's parametrizations can be put on and that may need one: a kernel
        of one pixel between scalars is equivariant as it is.

    Raises:
        GSpaceError: if the gspace is not that of a group on the plane, or types live on another one.
        ArgumentError: if a key of ``field_types`` matches nothing, or there is no gspace to go with it.
    """
    if gspace is None:
        if field_types is not None:
            remedy = "Pass the gspace, or the types will not be used."
            raise ArgumentError("gspace", None, "the gspace of the field types", remedy)
        return {}
    if not isinstance(gspace, GSpace2D):
        remedy = "Use gspaces.rot2dOnR2, flipRot2dOnR2, ..."
        raise GSpaceError("gspace", gspace, "a gspace on the plane", remedy)
    layers = names_of(model, lambda module: _is_plain(module) and unfilterable(module) is None, filter_fn)
    given = settings_of(layers, _checked(gspace, field_types), None, "field_types")
    scalar = cache(lambda channels: gspace.type(*[gspace.trivial_repr] * channels))  # slow for many channels
    types = {}
    for layer, pair in given.items():
        assert isinstance(layer, Conv2d)
        if pair is not None:
            types[layer] = FieldTypes(*pair)
        elif max(layer.kernel_size) > 1:
            types[layer] = FieldTypes(scalar(layer.in_channels), scalar(layer.out_channels))
    return types


def _checked(gspace: GSpace2D, field_types: FieldTypesOf | None) -> FieldTypesOf | None:
    if isinstance(field_types, Mapping):
        for name, pair in field_types.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                remedy = "Pass {layer name: (in_type, out_type)}."
                raise ArgumentError(f"field_types[{name!r}]", pair, "a pair of field types", remedy)
            check_types(*pair, GSpace2D, _REMEDY)
            if pair[0].gspace != gspace:
                remedy = "Build the types from the gspace that is passed to soften."
                raise GSpaceError(f"field_types[{name!r}]", pair[0].gspace, f"types on {gspace}", remedy)
    return field_types


@lasting()
def conv_filters(conv: Conv2d, types: FieldTypes, policy: Policy) -> dict[str, SoftFilter] | EscnnSoftError:
    """The filters of a convolution's kernel and bias, by the tensor's name.

    Args:
        conv: the convolution.
        types: of its input and output.
        policy: the softness.

    Returns:
        Filters; none for what is equivariant whatever its values, as every 1 x 1 kernel between scalar fields. Or the
        reason why there is none.
    """
    try:
        graded: dict[str, Any] = {"weight": graded_kernel(conv, types.in_type, types.out_type)}
    except EscnnSoftError as error:
        return error
    if conv.bias is not None:
        graded["bias"] = graded_bias(types.out_type)
    needed = {name: levels for name, levels in graded.items() if not all(level.equivariant for level in levels.levels)}
    return {name: SoftFilter(levels, policy, getattr(conv, name), types=types) for name, levels in needed.items()}


def plain_layers(model: Module, filter_fn: FilterFn | None) -> dict[Module, list[str]]:
    """The plain convolutions of a model that have kernels of more than one pixel, and no filter; scripted ones too."""
    return names_of(model, lambda m: (_is_plain(m) and max(_sizes(m)) > 1) or _is_scripted(m), filter_fn)


def unfilterable(module: Module) -> str | None:
    """Why no parametrization can be put on a plain convolution's weight; None if it can."""
    if isinstance(module, ScriptModule):
        return "it is scripted: soften the model first, and script what bake or export make of it"
    if isinstance(module, ConvTranspose2d):
        return "transposed convolutions have no filter"
    if isinstance(module._parameters.get("weight"), UninitializedParameter):
        return "its weight is not initialised: run the model once first"
    if not (isinstance(module._parameters.get("weight"), Parameter) or is_parametrized(module, "weight")):
        return "its weight is no Parameter"
    return None


def _is_plain(module: Module) -> bool:
    plain = isinstance(module, Conv2d | ConvTranspose2d) and not isinstance(module, EquivariantModule)
    return plain and not filtered_tensors(module)


def _is_scripted(module: Module) -> bool:
    """Whether a module of TorchScript's has a kernel of more than one pixel."""
    if not isinstance(module, ScriptModule):
        return False
    return any(p.ndim == 4 and max(p.shape[2:]) > 1 for p in module.parameters(recurse=False))


def _sizes(module: Module) -> tuple[int, ...]:
    assert isinstance(module, Conv2d | ConvTranspose2d)
    return tuple(module.kernel_size)
