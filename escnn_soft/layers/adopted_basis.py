"""Bases that checkpoints bring along: kept sharper, or taken over where they really differ."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from escnn.group import Representation
from torch import Tensor
from torch.nn import Module

from escnn_soft.escnn.sampled_basis import has_closed_form

__all__ = ["adopt", "warn_of_other_fields"]


def adopt(state_dict: dict[str, Tensor], key: str, module: Module, name: str) -> bool:
    """Keep our sharper copy of a checkpoint's basis, or take over one that really differs; never write in place.

    Args:
        state_dict: the checkpoint, in which the basis that is used takes the place of the other.
        key: of the basis in it.
        module: that holds ours.
        name: of the attribute.

    Returns:
        Whether it was taken over.
    """
    ours, theirs = getattr(module, name), state_dict.get(key)
    if theirs is None or theirs.shape != ours.shape:
        return False  # torch reports the missing key or the mismatch
    differs = not torch.allclose(theirs.to(ours), ours, atol=1e-5)
    if differs:
        setattr(module, name, theirs.to(ours, copy=True))
    state_dict[key] = getattr(module, name)
    return differs


def warn_of_other_fields(layer: str, representations: Iterable[Representation]) -> None:
    """Say so where soft coefficients may have been written in other bases of the fields than ours."""
    uncertain = sorted({rho.name for rho in representations if not has_closed_form(rho)})
    if uncertain:
        warnings.warn(
            f"{layer}: this checkpoint holds another basis than the layer had, so escnn's numeric coefficients were "
            "others where it was written (escnn_soft 0.1, another CPU or py3nj). The fields "
            f"{', '.join(uncertain)} are built from such coefficients, and a checkpoint does not hold them: "
            "the soft part may mean another function. Where it was written, keep layer.export() at softness 1: a "
            "plain layer means the same everywhere, and from_dense takes it.",
            stacklevel=3,
        )
