"""Layers on a subgroup."""

from __future__ import annotations

from escnn.nn import EquivariantModule

from escnn_soft._checks import instance
from escnn_soft.convert.soften import soften
from escnn_soft.dial import Policy
from escnn_soft.grading import Chain, SubgroupId
from escnn_soft.layers import SoftLayer

__all__ = ["restrict"]


def restrict(
    layer: EquivariantModule, subgroup: SubgroupId, softness: float | Policy = 1.0, *, chain: Chain | None = None
) -> SoftLayer:
    """A layer, escnn's or soft, between its fields restricted to a subgroup; at softness 1 the same function.

    See :meth:`SoftLayer.restrict`. An escnn layer is equivariant under the subgroup too, so that its twin computes the
    same function at every softness.

    Args:
        layer: a soft layer, or an escnn layer that has a soft twin.
        subgroup: id of the subgroup, as in ``gspace.restrict``.
        softness: a float in [0, 1] or a policy.
        chain: subgroups *of the subgroup* to relax to; what breaks the last is dropped.

    Returns:
        The soft layer, with Parameters of its own.

    Raises:
        ArgumentError: if the layer has no soft twin, there is no such subgroup, or the chain is none.
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy.

    Example:
        >>> from escnn import gspaces, nn
        >>> field = gspaces.flipRot2dOnR2(4).type(gspaces.flipRot2dOnR2(4).regular_repr)
        >>> hard = nn.R2Conv(field, field, kernel_size=3)
        >>> soft = restrict(hard, (None, 4), softness=0.0)
        >>> soft.in_type.fibergroup, hard.weights.numel(), soft.weights.numel()
        (C4, 48, 96)
    """
    instance("layer", layer, EquivariantModule, "Pass one layer; in a model, restrict the layers one by one.")
    soft = layer if isinstance(layer, SoftLayer) else soften(layer, 0.0, on_unsupported="raise")
    instance("layer", soft, SoftLayer, "Pass one layer; in a model, restrict the layers one by one.")
    restricted: SoftLayer = soft.restrict(subgroup, softness, chain=chain)
    return restricted
