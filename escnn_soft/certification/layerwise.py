"""One step of the bound: the error of a layer's output from the error of its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from escnn.nn import GeometricTensor
from torch import Tensor

from escnn_soft.certification.fact import Fact, Linear, sample_distances, sample_norms
from escnn_soft.certification.known_errors import SLACK, Again, pushed, rounding_of_action, shorten
from escnn_soft.certification.ledger import Entry, Ledger, amplified
from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.net import Net
from escnn_soft.certification.operation import Outcome
from escnn_soft.certification.rules.registered import Registered, exceeds
from escnn_soft.certification.rules.rule import EXACT, Call, Rule, as_bound
from escnn_soft.certification.tensor_action import Action
from escnn_soft.linalg import convolution_norm

__all__ = ["ROUNDING", "pass_layer", "pass_operation"]

ROUNDING = "rounding"
"""The kind of an entry that allows for floating-point arithmetic."""


def pass_layer(
    ledger: Ledger,
    name: str,
    rule: Rule,
    call: Call,
    facts: Sequence[Fact],
    outs: Sequence[GeometricTensor | Tensor],
    again: Again | None,
    lookahead: int,
) -> list[Fact]:
    r"""What is known of a layer's outputs.

    With h the computed input, k the computed input for g x and D = ||k - T h||, the computed outputs differ by

        ||f(k) - T f(h)|| <= L D + ||f(T h) - T f(h)|| + rounding of f at k and at T h

    and the middle term is the layer's own error: bounded from the weights, or measured, whichever is smaller. A
    measurement that exceeds what the weights allow, rounding included, shows a false claim, and nothing is covered.
    In a neighbourhood of x it grows with the distance (see `_growth`), and points that were measured say no more.

    Args:
        ledger: where to note.
        name: of the layer.
        rule: that covers it.
        call: its input and output.
        facts: on its inputs.
        outs: its outputs.
        again: runs the layer on other inputs; None if nothing may be measured.
        lookahead: through how many further layers with errors of their own an error is followed.

    Returns:
        A fact for each output.
    """
    ledger.local |= not rule.everywhere
    error = sum((fact.error for fact in facts), ledger.table())
    apart = torch.stack([ledger.neighbourhood(fact.lipschitz) for fact in facts]).sum(dim=0)
    reach = sum((fact.reach for fact in facts[1:]), facts[0].reach) + apart
    bounds = [as_bound(bound, reach) for bound in rule.lipschitz(call, reach)]
    actions = [rule.out_action(call, out.type if isinstance(out, GeometricTensor) else None) for out in outs]
    for row in range(len(ledger.names)):
        _check(ledger, name, rule, call, actions, bounds, error, row)

    rows = range(len(ledger.names))
    norms = torch.stack([sample_norms(x) for x in call.inputs]).norm(dim=0).expand(error.shape) + 2 * apart
    spread_apart = amplified(apart, torch.stack([bound[-1] for bound in bounds]).amax(dim=0))
    moving = torch.stack([_loss(call.actions, call.inputs, row, apart) for row in rows])
    at_orbit = rule.rounding(call, norms * (1 + SLACK) + moving, reach)
    at_image = rule.rounding(call, norms * (1 + SLACK) + error, reach)
    out_loss = torch.stack([_loss(actions, [tensor_of(out) for out in outs], row, spread_apart) for row in rows])
    loss = amplified(moving, torch.stack([bound[:-1] for bound in bounds]).amax(dim=0)) + out_loss
    # at k and T h, at h, and at both ends of each distance between probes
    rounding = at_image * (2 + 2 * sum(len(fact.probes) for fact in facts)) + at_orbit + loss

    own, measured, images = _own(ledger, name, rule, call, actions, outs, again, rounding)
    if ledger.radius:
        alive = (row for row in rows if not ledger.dead(row))
        for row in alive:
            own[row] += amplified(apart, _growth(rule, call, actions, bounds, row))
        images, lookahead = [None] * len(images), 0
    terms: dict[int, Tensor] = {}
    lipschitz = torch.zeros(ledger.samples, dtype=torch.float64)
    for fact, bound in zip(facts, bounds, strict=True):
        spread, constant = _spread(rule, call, fact, bound)
        for key, value in spread.items():
            terms[key] = terms.get(key, ledger.table()) + value
        lipschitz = lipschitz + constant
    fresh = []
    for entry in (Entry(name, rule.kind, own, measured), Entry(name, ROUNDING, rounding, torch.zeros_like(measured))):
        if bool((entry.own > 0).any()) or entry.kind != ROUNDING:
            fresh.append(ledger.enter(entry))
            terms[fresh[-1]] = entry.own.clone()
    before = () if rule.local or len(facts) > 1 else facts[0].probes
    probes = pushed(ledger, before, again, lookahead, fresh[0], images)
    if len(outs) == 1:
        shorten(ledger, terms, probes, actions[0], tensor_of(outs[0]), out_loss)
    kernel = rule.kernel(call)
    linear = None if kernel is None else Linear(facts[0], kernel.kernel, kernel.stride, tuple(fresh))
    return [Fact(action, terms, lipschitz, (), linear, probes if len(outs) == 1 else ()) for action in actions]


def pass_operation(
    ledger: Ledger, name: str, facts: Sequence[Fact], outcome: Outcome, before: Sequence[Tensor], out: Tensor
) -> Fact:
    """What is known of the result of a torch function, from what it does to errors and the norms of its arguments."""
    scaled = [
        [amplified(t, factor) for t in fact.terms.values()] for fact, factor in zip(facts, outcome.factors, strict=True)
    ]
    errors = [sum(values, ledger.table()) for values in scaled]
    share: Tensor | float = 1.0
    constants = torch.stack([fact.lipschitz * f for fact, f in zip(facts, outcome.factors, strict=True)])
    lipschitz = constants.sum(dim=0)
    if outcome.aside:
        total = sum(errors, ledger.table())
        share = torch.where(total > 0, torch.stack(errors).norm(dim=0) / total, 1.0).nan_to_num(1.0)
        lipschitz = constants.norm(dim=0)
    terms: dict[int, Tensor] = {}
    for fact, values in zip(facts, scaled, strict=True):
        for key, value in zip(fact.terms, values, strict=True):
            terms[key] = terms.get(key, ledger.table()) + amplified(value, share)
    if outcome.ulps:
        unit = torch.finfo(out.dtype).eps / 2
        magnitude = ledger.table() + sample_norms(out)
        for fact, factor, norms, error in zip(facts, outcome.factors, before, errors, strict=True):
            magnitude = magnitude + factor * norms + error + 2 * factor * ledger.neighbourhood(fact.lipschitz)
        own = 2 * outcome.ulps * unit * magnitude
        terms[ledger.enter(Entry(name, ROUNDING, own, torch.zeros_like(own, dtype=torch.bool)))] = own
    return Fact(outcome.action, terms, lipschitz)


def _check(
    ledger: Ledger,
    name: str,
    rule: Rule,
    call: Call,
    actions: Sequence[Action],
    bounds: Sequence[Tensor],
    error: Tensor,
    row: int,
) -> None:
    """Note why a layer is not covered under the element of a row."""
    if ledger.dead(row):
        return
    if call.action.elements[row] is not None and actions[0].elements[row] is None:
        ledger.outside[row] = (name, "elements outside the subgroup are left behind")
        return
    reason = rule.refusal(call, row)
    if reason is None and any(bool(((error[row] > 0) & ~torch.isfinite(bound[row])).any()) for bound in bounds):
        reason = rule.no_constant(call)
    if reason is None and ledger.radius and not rule.everywhere:
        reason = "its Lipschitz constant is one on the orbit of x alone, so that nothing is known in a neighbourhood"
    if reason is None and ledger.radius and any(not bool(torch.isfinite(bound[-1]).all()) for bound in bounds):
        reason = f"no finite bound in a neighbourhood: {rule.no_constant(call)}"
    if reason is None:
        reason = next((why for action in actions if (why := action.obstacle(row)) is not None), None)
    if reason is not None:
        ledger.refuse(name, reason, row)


def _own(
    ledger: Ledger,
    name: str,
    rule: Rule,
    call: Call,
    actions: Sequence[Action],
    outs: Sequence[GeometricTensor | Tensor],
    again: Again | None,
    allowance: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """The layer's own error, whether it was measured, and the layer's output on T h where it was run there."""
    own, measured = ledger.table(), torch.zeros_like(allowance, dtype=torch.bool)
    images: list[Tensor | None] = [None] * len(ledger.names)
    norms = torch.stack([sample_norms(x) for x in call.inputs]).norm(dim=0)
    for row in range(len(ledger.names)):
        if ledger.dead(row):
            continue
        identity = all(action.is_identity(row) for action in (*call.actions, *actions))
        deviation = EXACT if identity else rule.own(call, row)
        claim = None if deviation is None else deviation.at(norms)
        wanted = not identity and (claim is None or rule.kind == "soft")
        if wanted and again is not None and call.action.elements[row] is not None:
            try:
                outputs = again([action(row, x).clone() for action, x in zip(call.actions, call.inputs, strict=True)])
            except (AssertionError, RuntimeError, ValueError) as error:
                ledger.refuse(name, f"it cannot be run on the transformed input: {error}", row)
                continue
            found = _distance(actions, outs, outputs, row)
            if isinstance(found, str):
                ledger.refuse(name, found, row)
                continue
            why = exceeds(found, allowance[row]) if isinstance(rule, Registered) else None
            if why is not None or (why := _contradiction(found, claim, allowance[row])) is not None:
                ledger.refuse(name, why, row)
                continue
            images[row] = outputs[0] if len(outputs) == 1 else None
            measured[row] = found < (torch.inf if claim is None else claim)
            claim = found if claim is None else torch.minimum(found, claim)
        if claim is None and again is not None and call.action.elements[row] is None:
            claim = _on_a_net(rule, call, actions, outs, again, row)
        if claim is None:
            ledger.refuse(name, "its equivariance can only be measured, element by element", row)
        elif not bool(torch.isfinite(claim).all()):
            ledger.refuse(name, "no finite bound on its own error", row)
        else:
            own[row] = claim
    return own, measured, images


def _on_a_net(
    rule: Rule,
    call: Call,
    actions: Sequence[Action],
    outs: Sequence[GeometricTensor | Tensor],
    again: Again,
    row: int,
) -> Tensor | None:
    """The layer's own error under every element, from a grid of them; None if there is no such grid."""
    before, after = call.action.type, actions[0].type
    if not Net.exists(before) or len(call.inputs) > 1 or len(outs) > 1 or call.action.pixels:
        return None
    assert before is not None
    if after is not None and after.fibergroup != before.fibergroup:
        return None
    net, out = Net(before), tensor_of(outs[0])
    mesh = net.mesh(before, call.x)
    reach = mesh.expand(len(call.action.elements) + 1, -1)
    bound = as_bound(rule.lipschitz(call, reach)[0], reach)[row]  # between points of the orbit
    found = net.largest(lambda x: again([x.clone()])[0], (before, call.x), (after, out))
    return found * (1 + SLACK) + amplified(mesh, bound) + net.mesh(after, out)


def _contradiction(found: Tensor, claim: Tensor | None, allowance: Tensor) -> str | None:
    """Why a measurement shows that what the weights were taken to allow is false."""
    # found is rounded up by SLACK already; a bound that is attained must not count as contradicted
    if claim is None or bool((found <= (claim + allowance) * (1 + 3 * SLACK)).all()):
        return None
    worst = int((found - claim - allowance).argmax())
    return (
        f"its own error on this input is {float(found[worst]):.3g}, and its weights allow {float(claim[worst]):.3g}: "
        "it does not compute what its weights say"
    )


def _distance(
    actions: Sequence[Action], outs: Sequence[GeometricTensor | Tensor], images: Sequence[Tensor], row: int
) -> Tensor | str:
    """||f(T h) - T f(h)|| on this input, sample by sample."""
    parts = []
    for action, out, image in zip(actions, outs, images, strict=True):
        expected = action(row, tensor_of(out))
        if expected.shape != image.shape:
            return f"its output has shape {tuple(image.shape)} where {tuple(expected.shape)} was expected"
        parts.append(sample_distances(image, expected))
    return torch.stack(parts).norm(dim=0) * (1 + SLACK)


def _spread(rule: Rule, call: Call, fact: Fact, bound: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """The terms of an input after the layer, and its Lipschitz constant: a scaling is folded into the map before it."""
    rows, everywhere = bound[:-1], bound[-1]
    terms = {key: amplified(value, rows) for key, value in fact.terms.items()}
    constant = torch.where(fact.lipschitz == 0, 0.0, fact.lipschitz * everywhere)
    scales = rule.scales(call)
    if scales is None or fact.linear is None:
        return terms, constant
    linear = fact.linear
    joint = convolution_norm(linear.kernel * scales.view(-1, *[1] * (linear.kernel.ndim - 1)), linear.stride)
    for key in terms.keys() - set(linear.fresh):
        # a term may be smaller than what the linear map makes of it at worst: it was measured
        folded = amplified(linear.source.terms[key], joint)
        terms[key] = torch.minimum(terms[key], folded)
    return terms, torch.minimum(constant, linear.source.lipschitz * joint)


def _growth(rule: Rule, call: Call, actions: Sequence[Action], bounds: Sequence[Tensor], row: int) -> Tensor | float:
    """How much faster than its input moves the own error of a layer may grow, sample by sample."""
    if all(action.is_identity(row) for action in (*call.actions, *actions)):
        return 0.0
    deviation = rule.own(call, row)
    if deviation is not None:
        return deviation.gain
    # || (f T - T f)(y) - (f T - T f)(h) || <= 2 L ||y - h||
    return 2 * torch.stack([bound[-1] for bound in bounds]).amax(dim=0)


def _loss(actions: Sequence[Action], tensors: Sequence[Tensor], row: int, apart: Tensor) -> Tensor:
    """Rounding of computing T h, sample by sample, for all h no further apart."""
    return sum(
        (rounding_of_action(action, x, row, apart) for action, x in zip(actions, tensors, strict=True)),
        torch.zeros(len(tensors[0]), dtype=torch.float64),
    )
