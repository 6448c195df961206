"""Following errors that are known: how far apart two known points are after further layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from escnn_soft.certification.fact import Probe, sample_distances, sample_norms
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.tensor_action import Action

__all__ = ["SLACK", "Again", "pushed", "rounding_of_action", "shorten"]

Again = Callable[[list[Tensor]], list[Tensor]]
"""Runs a layer once more, on other tensors."""

SLACK = 1e-6
"""Relative allowance for what is itself measured or computed in floating point."""


def pushed(
    ledger: Ledger,
    probes: Sequence[Probe],
    again: Again | None,
    lookahead: int,
    number: int,
    images: Sequence[Tensor | None],
) -> tuple[Probe, ...]:
    """The probes after a layer: the youngest ones run through it, and the layer's own.

    Args:
        ledger: with the rows that are lost, which are not run any more.
        probes: before it.
        again: runs the layer; None if nothing may be measured.
        lookahead: how many probes outlive a layer with an error of its own.
        number: of the layer's term.
        images: its outputs on T h, by row.

    Returns:
        The probes, oldest first.
    """
    own = any(image is not None for image in images)
    kept = tuple(probes) if again is not None else ()
    kept = kept[max(0, len(kept) - lookahead) :] if own else kept
    moved = []
    for probe in kept:
        assert again is not None
        alive = (None if ledger.dead(row) else p for row, p in enumerate(probe.images))
        moved.append(Probe(probe.layer, tuple(None if p is None else again([p.clone()])[0] for p in alive)))
    return (*moved, Probe(number, tuple(images))) if own else tuple(moved)


def shorten(
    ledger: Ledger,
    terms: dict[int, Tensor],
    probes: Sequence[Probe],
    action: Action,
    out: Tensor,
    loss: Tensor,
) -> None:
    """Replace the terms of the probes, in place, by their distances where these are smaller; ``loss`` rounds T h."""
    for probe, following in zip(probes, [*probes, None][1:], strict=True):
        for row, image in enumerate(probe.images):
            if image is None or ledger.dead(row):
                continue
            end = action(row, out) if following is None else following.images[row]
            if end is None or end.shape != image.shape:
                continue
            distance = sample_distances(image, end) * (1 + SLACK)
            if following is None:
                distance = distance + loss[row]
            terms[probe.layer][row] = torch.minimum(terms[probe.layer][row], distance)


def rounding_of_action(action: Action, x: Tensor, row: int, apart: Tensor | float = 0.0) -> Tensor:
    """The rounding of computing g x, sample by sample, for all x no further apart."""
    return action.rounding(row, x.dtype) * (sample_norms(x) + apart)
