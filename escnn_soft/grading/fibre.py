"""The spectrum of fibre maps: linear layers between representations, of any group escnn has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from escnn.group import Representation
from escnn.gspaces import GSpace

from escnn_soft._lasting import lasting
from escnn_soft.grading.chain import Chain, SubgroupChain, subgroup_chain
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.relaxed import RelaxedSpace
from escnn_soft.grading.transform import WeightTransform, weight_transform
from escnn_soft.groups import FibreGroup, fibre_group

__all__ = ["fibre_transform"]


@lasting()
def fibre_transform(
    gspace: GSpace,
    in_representations: Sequence[Representation],
    out_representations: Sequence[Representation],
    chain: Chain | None = None,
) -> WeightTransform:
    r"""Grade the matrices W in R^{m x n} by the irreps of g . W = rho_out(g) W rho_in(g)^{-1}.

    Args:
        gspace: escnn gspace; only its fibre group matters.
        in_representations: fields of the input, n channels in all.
        out_representations: fields of the output, m channels in all.
        chain: subgroups, from large to small; what breaks the last is left out. None for all matrices.

    Returns:
        The transform between matrices (m, n, 1) and coefficients; orthogonal.

    Raises:
        ArgumentError: if the chain is none.
        RepresentationError: if a representation is not orthogonal.
    """
    group = fibre_group(gspace)
    frames = ChannelFrame.of(group, out_representations), ChannelFrame.of(group, in_representations)
    space = _point(group) if chain is None else _relaxed_point(group, subgroup_chain(gspace, chain))
    return weight_transform(*frames, space)


_point = cache(KernelSpace.point)


@lru_cache(maxsize=256)
def _relaxed_point(group: FibreGroup, chain: SubgroupChain) -> KernelSpace:
    return RelaxedSpace(_point(group), chain)
