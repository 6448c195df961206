"""The spectrum of fibre maps: linear layers between representations, of any group escnn has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from escnn.group import Representation
from escnn.gspaces import GSpace

from escnn_soft.spectrum.basis import KernelSpace
from escnn_soft.spectrum.copies import SpatialCopy
from escnn_soft.spectrum.fibregroup import FibreGroup
from escnn_soft.spectrum.frame import ChannelFrame
from escnn_soft.spectrum.groups import fibre_group
from escnn_soft.spectrum.transform import WeightTransform, weight_transform

__all__ = ["fibre_transform"]


def fibre_transform(
    gspace: GSpace, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
) -> WeightTransform:
    r"""Grade the matrices W in R^{m x n} by the irreps of g . W = rho_out(g) W rho_in(g)^{-1}.

    Args:
        gspace: escnn gspace; only its fibre group matters.
        in_representations: fields of the input, n channels in all.
        out_representations: fields of the output, m channels in all.

    Returns:
        The transform between matrices (m, n, 1) and coefficients; orthogonal.

    Raises:
        RepresentationError: if a representation is not orthogonal.
    """
    frames = ChannelFrame.of(out_representations), ChannelFrame.of(in_representations)
    return weight_transform(*frames, _point(fibre_group(gspace)))


@cache
def _point(group: FibreGroup) -> KernelSpace:
    """The single constant function on a point."""
    return KernelSpace(group, [SpatialCopy(group.trivial, np.ones((1, 1)), False)], exact=True)
