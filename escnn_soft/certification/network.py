"""How far a whole network is from being equivariant on an input: a bound, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from escnn.group import Group, GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor, nn

from escnn_soft._checks import instance, number
from escnn_soft.certification.assembly import assembled, void
from escnn_soft.certification.end import error_on_a_net, rounding_at_the_end
from escnn_soft.certification.fact import Fact
from escnn_soft.certification.guard import compare, compare_around
from escnn_soft.certification.guarded import Guarded, preserved
from escnn_soft.certification.known_errors import SLACK, rounding_of_action
from escnn_soft.certification.layerwise import ROUNDING
from escnn_soft.certification.ledger import Entry, Ledger
from escnn_soft.certification.network_certificate import EVERY, NetworkCertificate, check_elements, name_of
from escnn_soft.certification.network_constants import NetworkConstants
from escnn_soft.certification.obstacles import scripted
from escnn_soft.certification.repetition import refusal
from escnn_soft.certification.rules import EVALUATED
from escnn_soft.certification.tensor_action import Action
from escnn_soft.certification.trace import Trace
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import pixel_elements

__all__ = ["certify"]

_FARTHEST = 1e300


def certify(
    model: nn.Module,
    x: GeometricTensor | Tensor,
    elements: Sequence[GroupElement] | None = None,
    *,
    in_type: FieldType | None = None,
    radius: float = 0.0,
    lookahead: int | None = 16,
) -> NetworkCertificate:
    r"""Bound ||f(g x) - g f(x)|| for a network f and an input x, layer by layer, in floating point.

    With h_i the activations on x, T_i the action after layer i, L_i its Lipschitz constant and e_i its own error,

        ||f(T_0 x) - T_n f(x)|| <= sum_i (product of L_j, j > i) e_i + rounding
        e_i = min( operator_at(g) ||h|| + ||g b - b|| sqrt(pixels),  ||f_i(T h) - T f_i(h)|| )

    Norms are Euclidean, sample by sample; the bound is the maximum over the batch. Lipschitz constants are certified
    norms (of the symbol, for convolutions), with a batch norm folded into the map before it, and use the norms of the
    activations where a non-linearity has no other. A torch function or module without a rule is never passed over: the
    certificate names it, and the bound is infinite. A compiled model is followed as it runs without its compiler.

    Single elements are run: the bound is no more than ||f(g x) - g f(x)|| as it was found, and twice what rounding did
    to f(x) and f(g x), by the model in double precision, or what two units in the last place of all numbers do where
    that is more; where it has none, what rounding can do in all layers. The sum over the layers then says where the
    error comes from.

    With a radius r the claim is for every input y with ||y - x|| <= r, which no measurement can give: own errors grow
    by ||W T - T W|| times the distance, or 2 L_i where nothing better is known, and the error at the end by 2 L r.

    Only tensors are followed. Shapes may be read freely, though a quarter turn swaps height and width, and code may
    reach numbers behind torch's back. So the model is run once more on x, where it has to repeat itself and leave its
    parameters, buffers and plain tensors alone; on other values, of its shape and of those that elements give it where
    sides of different lengths are swapped, where it has to make the same calls with the same numbers and constants; and
    on each g x that was asked for, or on a few where all elements of an infinite group are bounded at once: an element
    at which ||f(g x) - g f(x)|| exceeds the sum over the layers is not covered. With a radius it is run on g y for a
    few y at this distance too.

    Covered are escnn's modules on planes, volumes and feature vectors, soft layers, residual sums, concatenations,
    poolings, paddings and further functions of torch between them; plain torch layers after an invariant map, and
    convolutions, linear maps and batch norms of torch, softened or not, between fields: those that a filter knows, that
    the escnn module around declares, or scalars. :func:`register_lipschitz` adds modules of your own.

    Args:
        model: the network, its batch norms and dropouts in evaluation mode.
        x: a batch of inputs.
        elements: the group elements asked for. By default all of a finite group; on the plane and in space those that
            move pixels onto pixels; for infinite groups without a base space every element at once, or, where a layer
            can only be measured element by element, escnn's testing elements, and the certificate names the rest.
        in_type: field type of a plain tensor ``x``; the model's own by default.
        radius: how far from x the inputs may lie that the claim is for, in the norm of a sample.
        lookahead: where a layer's own error is measured by running it on T h, through how many further layers with
            weights the error is followed in the same way; the layers after those count with their Lipschitz constants.
            Every step costs a call of the layers concerned for each element. None: nothing is measured, at the end
            neither, so that the bound follows from the weights and the norms of one forward pass; the guard may still
            refuse it.

    Returns:
        The certificate.

    Raises:
        ArgumentError: if an argument has the wrong type, or the model is in training mode.

    Example:
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> model = nn.SequentialModule(SoftR2Conv(image, hidden, 3), nn.PointwiseAvgPool(hidden, 2)).eval()
        >>> cert = certify(model, image(torch.ones(1, 1, 7, 7)))
        >>> cert.bound, cert.not_covered[0][0]
        (inf, '1')
    """
    instance("model", model, nn.Module, "Pass the network itself.")
    field = _field(model, x, in_type)
    _check_mode(model)
    remedy = "Pass the largest ||y - x|| of the inputs y that the bound is for, 0 for x alone."
    radius = number("radius", radius, minimum=0.0, maximum=_FARTHEST, error=ArgumentError, remedy=remedy)
    asked = None if elements is None else check_elements(elements)
    rows, notes = _rows(field.type, asked)
    plain = not isinstance(x, GeometricTensor)
    certificate = _certified(model, field, plain, rows, notes, asked is None, radius, lookahead)
    if rows != (None,) or certificate.certified:
        return certificate
    sample, notes = _sample(field.type.fibergroup, certificate.not_covered)
    with preserved(NetworkConstants(model), field.tensor):
        sampled = _certified(model, field, plain, sample, notes, True, radius, lookahead)
    return sampled if sampled.certified else certificate


def _certified(
    model: nn.Module,
    field: GeometricTensor,
    plain: bool,
    rows: tuple[GroupElement | None, ...],
    notes: list[tuple[str, str]],
    everything: bool,
    radius: float,
    lookahead: int | None,
) -> NetworkCertificate:
    """The certificate for the elements of some rows."""
    ledger = Ledger(tuple(EVERY if g is None else name_of(g) for g in rows), len(field.tensor), radius)
    tensor = field.tensor.detach().clone()
    action = Action(rows, field.type, field.type.gspace.dimensionality > 0)
    eagerly = torch.compiler.set_stance("force_eager")  # what is compiled cannot be watched
    with torch.inference_mode(False), torch.no_grad(), eagerly:
        start = _start(ledger, action, tensor)
        trace = Trace(model, ledger, start, lookahead=lookahead)
        trace.learn(tensor, start)
        with trace.watching():
            out = model(tensor if plain else GeometricTensor(tensor, field.type))
        with preserved(trace.constants, tensor):
            run = Guarded(model, field.type, plain)
            return _conclude(trace, out, run, field.tensor.detach().clone(), rows, notes, everything)


def _field(model: nn.Module, x: object, in_type: FieldType | None) -> GeometricTensor:
    if in_type is not None:
        instance("in_type", in_type, FieldType, "Pass the type of the input's channels, such as gspace.type(...).")
        given = x.type if isinstance(x, GeometricTensor) else in_type
        channels = x.shape[1] if isinstance(x, Tensor) and x.dim() > 1 else in_type.size
        if given != in_type or channels != in_type.size:
            found = given if given != in_type else f"{channels} channels"
            raise ArgumentError("x", found, f"an input of type {in_type}", "Pass its own type, or a plain tensor.")
    typed = getattr(model, "in_type", None) if in_type is None else in_type
    if isinstance(x, Tensor) and isinstance(typed, FieldType):
        x = GeometricTensor(x, typed)
    if not isinstance(x, GeometricTensor) or not x.tensor.is_floating_point() or len(x.tensor) == 0:
        expected = "a batch of features with a field type, in floating point"
        remedy = "Pass in_type=..., the type of its channels, or a GeometricTensor if the network takes one."
        raise ArgumentError("x", x, expected, remedy)
    if not bool(torch.isfinite(x.tensor).all()):
        raise ArgumentError("x", "infinities or NaN", "finite numbers", "Look at where they come from.")
    return x


def _check_mode(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module.training and isinstance(module, EVALUATED):
            expected = "a model whose batch norms and dropouts are in evaluation mode"
            raise ArgumentError(
                "model", f"{type(module).__name__} {name!r} in training mode", expected, "Call model.eval()."
            )


def _rows(
    field_type: FieldType, asked: Sequence[GroupElement] | None
) -> tuple[tuple[GroupElement | None, ...], list[tuple[str, str]]]:
    """The element of each row, and what is left out from the start."""
    space = field_type.gspace
    if asked is not None:
        for element in asked:
            if element.group != space.fibergroup:
                remedy = "Take elements of x.type.fibergroup."
                raise ArgumentError("elements", str(element), f"elements of {space.fibergroup}", remedy)
        return tuple(asked), []
    if space.dimensionality > 0:
        elements = tuple(pixel_elements(space))
        everything = space.fibergroup.elements
        if everything is not None and len(everything) == len(elements):
            return elements, []
        why = f"elements of {space.fibergroup} that do not move pixels onto pixels: they would be interpolated"
        return elements, [("input", why)]
    return (None,) if space.fibergroup.elements is None else tuple(space.fibergroup.elements), []


def _sample(group: Group, gaps: Sequence[tuple[str, str]]) -> tuple[tuple[GroupElement, ...], list[tuple[str, str]]]:
    """Elements that stand for an infinite group that cannot be bounded all at once, and what they leave out."""
    elements = tuple(group.testing_elements())
    return elements, [(layer, f"elements of {group} beside these {len(elements)}: {why}") for layer, why in gaps]


def _start(ledger: Ledger, action: Action, tensor: Tensor) -> Fact:
    """What is known of the input: only that computing g x rounds."""
    for row in range(len(ledger.names)):
        reason = action.obstacle(row)
        if reason is not None:
            ledger.refuse("input", reason, row)
    terms = {}
    own = _rounding(ledger, action, tensor, ledger.radius)
    if bool((own > 0).any()) or any(map(ledger.dead, range(len(ledger.names)))):
        entry = Entry("g x", ROUNDING, own, torch.zeros_like(own, dtype=torch.bool))
        terms[ledger.enter(entry)] = entry.own
    return Fact(action, terms, torch.ones(ledger.samples, dtype=torch.float64))


def _conclude(
    trace: Trace,
    out: object,
    run: Guarded,
    x: Tensor,
    rows: tuple[GroupElement | None, ...],
    notes: list[tuple[str, str]],
    everything: bool,
) -> NetworkCertificate:
    if not isinstance(out, GeometricTensor | Tensor):
        expected = "a model that returns one field or tensor"
        raise ArgumentError("model", type(out).__name__, expected, "Certify the part of it that does.")
    ledger = trace.ledger
    tensor = out.tensor if isinstance(out, GeometricTensor) else out
    fact = trace.fact(tensor)
    gaps = ledger.gaps() + notes
    tensor = tensor.clone()  # the model may write into it when it runs again
    out = GeometricTensor(tensor, out.type) if isinstance(out, GeometricTensor) else tensor
    if fact is None:
        gaps += scripted(run.model) or [("output", "it was not followed from the input")]
    elif isinstance(out, GeometricTensor) and not fact.gaps and not fact.action.agrees(out.type):
        gaps.append(("output", "it was given a field type that transforms differently from what was computed"))
        fact = None
    elif fact.gaps:
        gaps = [*fact.gaps, *gaps]
    if fact is None or fact.gaps or ledger.escapes:
        return void(gaps)
    fact = _with_output(ledger, fact, tensor)
    refused = refusal(trace, run, x, out, fact.lipschitz)
    if refused is not None:
        return void([refused, *gaps])
    start, bound, estimated = trace.start.action, fact.error, False
    found, images = compare(ledger, run, (start, fact.action), x, out, bound)
    if trace.lookahead is not None:
        bound, estimated = _with_end(ledger, run, start, x, fact, tensor, found, images)
    if ledger.radius:
        compare_around(ledger, run, (start, fact.action), x, out, bound)
    return assembled(ledger, fact, bound, tensor, rows, ledger.gaps() + notes, everything, estimated)


def _with_end(
    ledger: Ledger,
    run: Guarded,
    start: Action,
    x: Tensor,
    fact: Fact,
    out: Tensor,
    found: Tensor,
    images: dict[int, Tensor],
) -> tuple[Tensor, bool]:
    """The bound of the layers, or the error that was found at the end where that is smaller; is rounding measured?"""
    bound = fact.error
    rounding = rounding_at_the_end(run, start, x, fact.action, out, images)
    for row, element in enumerate(start.elements):
        carried = _rounding_terms(ledger, fact, row)
        if row in images:
            end = found[row] * (1 + SLACK) + (carried if rounding is None else rounding[row])
        elif element is None and not ledger.local and not ledger.dead(row):
            every = error_on_a_net(run, start, x, fact, out)
            if every is None:
                continue
            end = every + 2 * carried  # from what was computed to exact numbers, and back
        else:
            continue
        if ledger.radius:
            # || f(g y) - g f(y) || at y, near x, is off by 2 L ||y - x||, and what rounding does there
            end = end + 2 * ledger.neighbourhood(fact.lipschitz) + carried
        bound[row] = torch.minimum(bound[row], end)
    return bound, bool(rounding)


def _rounding_terms(ledger: Ledger, fact: Fact, row: int) -> Tensor:
    """What rounding does to the output at worst, carried through the layers."""
    parts = (values[row] for key, values in fact.terms.items() if ledger.entries[key].kind == ROUNDING)
    return sum(parts, torch.zeros(ledger.samples, dtype=torch.float64))


def _rounding(ledger: Ledger, action: Action, tensor: Tensor, apart: Tensor | float) -> Tensor:
    """Rounding of computing g x, by row and sample, for all x no further apart; nothing where a row is given up."""
    zero = torch.zeros(len(tensor), dtype=torch.float64)
    rows = range(len(ledger.names))
    return torch.stack([zero if ledger.dead(row) else rounding_of_action(action, tensor, row, apart) for row in rows])


def _with_output(ledger: Ledger, fact: Fact, tensor: Tensor) -> Fact:
    """The fact with a term for the rounding of g f(x)."""
    own = _rounding(ledger, fact.action, tensor, ledger.neighbourhood(fact.lipschitz))
    if not bool((own > 0).any()):
        return fact
    entry = Entry("g f(x)", ROUNDING, own, torch.zeros_like(own, dtype=torch.bool))
    number = ledger.enter(entry)
    return Fact(fact.action, {**fact.terms, number: entry.own}, fact.lipschitz)
