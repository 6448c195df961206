"""Around an input: no rule takes an own error that is 0 on x, where activations vanish, for one that is 0 beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from escnn import nn

from escnn_soft import SoftLinear, SoftMatrixLinear, certify
from escnn_soft.certification.rules import Call, Rule
from escnn_soft.certification.rules.constants import Table
from escnn_soft.certification.rules.head import Head
from escnn_soft.certification.rules.plain_layers import PlainLayer
from escnn_soft.certification.rules.registered import Registered
from escnn_soft.certification.trace import Trace
from escnn_soft.groups import escnn_matrix_representation
from escnn_soft.testing import search_violation
from tests.cases import point
from tests.certification.checks import random_field, shake
from tests.certification.test_operations import CASES, modelled
from tests.certification.test_rules import D4, MODULES, REGULAR, VECTORS

POINTS = point("C4").type(*[point("C4").regular_repr] * 2)
INVARIANTS = point("C4").type(*[point("C4").trivial_repr] * 2)
ROTATIONS = D4.fibergroup.subgroup((None, 4))[0]
SUBFIELDS = D4.type(D4.fibergroup.induced_representation((None, 4), ROTATIONS.irrep(1)))


class Wrapped(torch.nn.Module):
    """A plain layer between fields; plain tensors come out where there is no type of them."""

    def __init__(self, layer, in_type, out_type=None) -> None:
        super().__init__()
        self.layer, self.in_type, self.out_type = layer, in_type, out_type

    def forward(self, x):
        out = self.layer(x.tensor)
        return out if self.out_type is None else self.out_type(out)


class Between(nn.EquivariantModule):
    """A plain layer between the fields that are declared."""

    def __init__(self, layer, in_type, out_type) -> None:
        super().__init__()
        self.layer, self.in_type, self.out_type = layer, in_type, out_type

    def forward(self, x):
        return self.out_type(self.layer(x.tensor))

    def evaluate_output_shape(self, input_shape):
        raise NotImplementedError


class Invariant(torch.nn.Module):
    """Plain layers on images of which the group moves nothing."""

    def __init__(self, *layers) -> None:
        super().__init__()
        self.in_type, self.layers = REGULAR, torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.tensor.mean((1, 2, 3)).view(-1, 1, 1, 1))


def centred() -> torch.nn.BatchNorm2d:
    """A batch norm that adds nothing, so that its own error vanishes at 0."""
    layer = torch.nn.BatchNorm2d(REGULAR.size)
    layer.bias.requires_grad_(False)
    return layer


class Gates(torch.nn.Module):
    """Fields with gates from the same input."""

    in_type = out_type = VECTORS

    def __init__(self) -> None:
        super().__init__()
        gates = D4.type(*[D4.trivial_repr] * len(VECTORS))
        self.gates, self.gated = nn.R2Conv(VECTORS, gates, 3, padding=1), nn.GatedNonLinearity2((gates, VECTORS))

    def forward(self, x):
        return self.gated(self.gates(x), x)


def matrix_layer(field) -> Wrapped:
    rho = len(field) * escnn_matrix_representation(field.representations[0])
    return Wrapped(SoftMatrixLinear(rho, rho, softness=0.5), field, field)


OTHERS = {
    "batch norm of mixed channels": lambda: Wrapped(torch.nn.BatchNorm2d(REGULAR.size), REGULAR, REGULAR),
    "batch norm that adds nothing": lambda: Wrapped(centred(), REGULAR, REGULAR),
    "plain convolution": lambda: Between(torch.nn.Conv2d(REGULAR.size, REGULAR.size, 3, padding=1), REGULAR, REGULAR),
    "plain linear map": lambda: Between(torch.nn.Linear(POINTS.size, POINTS.size), POINTS, POINTS),
    "soft linear map": lambda: SoftLinear(POINTS, POINTS, softness=0.5),
    "matrix layer": lambda: matrix_layer(POINTS),
    "matrix layer of invariants": lambda: matrix_layer(INVARIANTS),
    "restriction": lambda: nn.RestrictionModule(VECTORS, (None, 4)),
    "induced norm": lambda: nn.InducedNormPool(SUBFIELDS),
    "gates of their own": Gates,
    "table with channels mixed": lambda: modelled(
        replace(CASES["table multiplied"], function=lambda t, m: t * m.table[:, :5], field=VECTORS, out=VECTORS),
        soft=False,
    ),
    "heads": lambda: Invariant(
        torch.nn.Conv2d(1, 4, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1)
    ),
}  # fmt: skip
FIELDS = {f"torch's {name}": case.field for name, case in CASES.items()} | {"table with channels mixed": VECTORS}
MODELS = {
    **MODULES,
    **{f"torch's {name}": lambda case=case: modelled(case, soft=False) for name, case in CASES.items()},
    **OTHERS,
}


def made(name: str) -> tuple[torch.nn.Module, nn.FieldType, tuple[int, ...]]:
    """A model, the type of its input, and the size of its images."""
    torch.manual_seed(0)
    model = MODELS[name]()
    shake(model)
    for module in model.modules():
        if isinstance(module, nn.MaskModule):
            module.mask.uniform_()
    field = FIELDS.get(name) or model.in_type
    sizes = (9, 9) if field.gspace.dimensionality else ()
    return model.double().eval(), field, sizes


class Dying(torch.nn.Module):
    """A layer after activations that vanish for small inputs, and for no others."""

    def __init__(self, model, field) -> None:
        super().__init__()
        space = field.gspace
        self.in_type, hidden = space.type(space.trivial_repr), space.type(*[space.trivial_repr] * 2)
        self.cut, self.relu = nn.R2Conv(self.in_type, hidden, 1), nn.ReLU(hidden)
        self.into, self.model = nn.R2Conv(hidden, field, 3, padding=1, bias=False), model
        with torch.no_grad():
            for parameter in self.cut.parameters():
                parameter.fill_(1.0)
            self.cut.bias.fill_(-0.3)
        self.double().eval()

    def forward(self, x):
        return self.model(self.into(self.relu(self.cut(x))))


@contextmanager
def recorded() -> Iterator[list[tuple[Rule, Call]]]:
    """The calls that rules cover, in this context."""
    calls, passed = [], Trace._passed

    def noted(self, name, rule, call, *rest):
        calls.append((rule.at(call), call))
        return passed(self, name, rule, call, *rest)

    Trace._passed = noted
    try:
        yield calls
    finally:
        Trace._passed = passed


def calls_of(name: str) -> list[tuple[Rule, Call]]:
    model, field, sizes = made(name)
    with recorded() as calls:
        certify(model, random_field(field, 2, *sizes, dtype=torch.float64))
    return calls


def own_errors(rule: Rule, call: Call) -> list[object]:
    rows = range(len(call.action.elements))
    return [rule.own(call, row) for row in rows if rule.refusal(call, row) is None]


@pytest.mark.parametrize("name", list(MODELS))
def test_own_errors_are_said_of_every_input(name) -> None:
    for rule, call in calls_of(name):
        elsewhere = replace(call, inputs=tuple(torch.zeros_like(x) for x in call.inputs))
        assert own_errors(rule, call) == own_errors(rule, elsewhere)


def everything(kind: type[Rule]) -> set[type[Rule]]:
    return {kind}.union(*map(everything, kind.__subclasses__()))


def test_no_rule_is_left_out() -> None:
    seen = {type(rule) for name in MODELS for rule, _ in calls_of(name)}
    never = {Rule, Table, Head, PlainLayer, Registered}  # the last one says nothing of a neighbourhood
    assert everything(Rule) - never - seen == set()


@pytest.mark.parametrize("at", ["zero", "dead", "random"])
@pytest.mark.parametrize("name", list(MODELS))
def test_no_bound_is_exceeded_in_a_neighbourhood(name, at) -> None:
    model, field, sizes = made(name)
    if (at == "dead" and not sizes) or name == "restriction":
        pytest.skip("it has no images, or fields of another group come out")
    model, field = (
        (Dying(model, field), field.gspace.type(field.gspace.trivial_repr)) if at == "dead" else (model, field)
    )
    x = random_field(field, 1, *sizes, dtype=torch.float64, scale=1.0 if at == "random" else 0.0)
    cert = certify(model, x, radius=2.0)
    if not cert.covered:
        assert cert.not_covered
        return
    elements = None if at == "random" else list(cert.covered)[1:3]
    found = search_violation(model, cert, x, elements=elements, steps=6, restarts=2)
    assert not found.violated, (cert, found)


@pytest.mark.parametrize("name", ["mask", "torch's table multiplied", "batch norm that adds nothing"])
def test_bounds_are_attained_around_zero(name) -> None:
    model, field, sizes = made(name)
    x = random_field(field, 1, *sizes, dtype=torch.float64, scale=0.0)
    cert = certify(model, x, radius=1.0)
    found = search_violation(model, cert, x, steps=60, restarts=3)
    assert 0.8 < found.tightness <= 1.0
