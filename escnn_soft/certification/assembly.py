"""The certificate of a run of `certify`, from its account."""

from __future__ import annotations

import math

import torch
from escnn.group import GroupElement
from torch import Tensor

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.layerwise import ROUNDING
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.network_certificate import EVERY, LayerTerm, NetworkCertificate
from escnn_soft.certification.tensor_action import Action

__all__ = ["assembled", "void"]


def void(gaps: list[tuple[str, str]]) -> NetworkCertificate:
    """The certificate of a network of which nothing is known."""
    return NetworkCertificate(math.inf, (), math.inf, math.inf, (), tuple(gaps), None, (), (), "unknown", ())


def assembled(
    ledger: Ledger,
    fact: Fact,
    error: Tensor,
    tensor: Tensor,
    rows: tuple[GroupElement | None, ...],
    gaps: list[tuple[str, str]],
    everything: bool,
    estimated: bool,
) -> NetworkCertificate:
    """The certificate of a run.

    Args:
        ledger: its account.
        fact: on its output, whose terms are what the layers do.
        error: the bound, for some elements smaller than their sum.  # shape: (rows, samples)
        tensor: the output.
        rows: the element of each row; None stands for every element.
        gaps: layers and reasons not covered.
        everything: whether no elements were asked for, so that those outside a subgroup may be left out.
        estimated: whether what rounding does was measured, and not carried through worst cases.

    Returns:
        The certificate.
    """
    names: list[GroupElement | str] = [EVERY if g is None else g for g in rows]
    kept = [row for row in range(len(rows)) if not (everything and row in ledger.outside)]
    alive = [row for row in kept if not ledger.dead(row) and bool(torch.isfinite(error[row]).all())]
    terms: tuple[LayerTerm, ...] = ()
    bound, layerwise, worst = math.inf, math.inf, None
    if alive:
        row, sample = max(((r, s) for r in alive for s in range(ledger.samples)), key=lambda rs: float(error[rs]))
        terms = _terms(ledger, fact, row, sample)
        layerwise = float(fact.error[row, sample])  # the terms add up to it
        worst = names[row]
        if len(alive) == len(kept):
            bound = float(error[row, sample])
    return NetworkCertificate(
        bound=bound,
        terms=terms,
        layerwise=layerwise,
        lipschitz=float(fact.lipschitz.max()),
        covered=tuple(names[row] for row in alive),
        not_covered=tuple(gaps),
        worst=worst,
        samples=tuple(tuple(error[row].tolist()) for row in alive),
        norms=tuple(sample_norms(tensor).tolist()),
        output=_words(fact.action),
        assumptions=tuple(_assumptions(ledger, tensor, estimated)),
        radius=ledger.radius,
    )


def _terms(ledger: Ledger, fact: Fact, row: int, sample: int) -> tuple[LayerTerm, ...]:
    """A term for each layer, and one for all rounding."""
    terms, rounding = [], []
    for number in sorted(fact.terms):
        entry = ledger.entries[number]
        own, contribution = float(entry.own[row, sample]), float(fact.terms[number][row, sample])
        if entry.kind == ROUNDING:
            rounding.append((own, contribution))
            continue
        how = "measured" if entry.measured[row, sample] else ("operator" if entry.kind == "soft" else "exact")
        terms.append(LayerTerm(entry.layer, entry.kind, how, own, _ratio(contribution, own), contribution))
    own, contribution = (math.fsum(values) for values in zip(*rounding, strict=True)) if rounding else (0.0, 0.0)
    return (*terms, LayerTerm("all layers", ROUNDING, ROUNDING, own, _ratio(contribution, own), contribution))


def _ratio(contribution: float, own: float) -> float:
    return contribution / own if own > 0 else 0.0


def _words(action: Action) -> str:
    if action.type is None or (action.fixes_channels() and not action.pixels):
        return "invariant"
    return f"{action.type.size} channels of {len(action.type)} fields" + (", pixels moved" if action.pixels else "")


def _assumptions(ledger: Ledger, tensor: Tensor, estimated: bool) -> list[str]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    order = "in an order that rounds at most twice as much as here" if estimated else "in any order"
    texts = [
        f"arithmetic in {dtype} or better, sums {order}, without reduced-precision modes such as TF32",
        "no underflow or overflow: numbers that are not 0 stay in the normal range of their dtype",
    ]
    claimed = sorted({entry.layer for entry in ledger.entries if entry.kind == "registered"})
    if claimed:
        texts.append(f"the registered Lipschitz constants of {', '.join(claimed)}")
    return texts
