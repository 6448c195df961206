"""Every verb on every kind of softness: each cell works or says why not, and verbs that state one number agree.

A kind of layer that is added to the package fails :func:`test_every_kind_has_its_column` until it stands here.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from escnn import gspaces
from torch import Tensor
from torch.nn import Module

import escnn_soft as es
from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.certification import network_budget
from escnn_soft.cli import main
from escnn_soft.convert import ProjectedLayer
from escnn_soft.dial import SoftModule
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.functions import pixel_elements
from escnn_soft.grading import SpectralGrading
from escnn_soft.groups import lorentz_group, vector
from escnn_soft.layers import dials
from tests.kinds import KINDS, PLAIN, POINT_KINDS, TWINS, example, value
from tests.workflows.carriers import C8, CARRIERS, filled

REFUSED: dict[tuple[str, str], str] = {
    **{("bake", kind): r"a model with filters.*export\(\)" for kind in (*TWINS, "ProjectedLayer")},
    **{("projected", kind): "soft layers of escnn's.*trained as they are" for kind in (*PLAIN, "ProjectedLayer")},
    **{("projected", kind): "no plain torch layer" for kind in POINT_KINDS},
    **{("export", kind): "no plain torch layer" for kind in POINT_KINDS},
    ("certificate", "table of positions"): r"a tensor that maps between fields.*spectrum\(\)",
    **{("certify", kind): "features with a field type.*Pass in_type=" for kind in (*PLAIN, *POINT_KINDS)},
    **{("budget", kind): "features with a field type.*Pass in_type=" for kind in (*PLAIN, *POINT_KINDS)},
    ("budget", "ProjectedLayer"): "a softness that does not depend on the weights",
    ("budget", "table of positions"): "a softness that needs no bound",
    ("Budget", "table of positions"): "a softness that needs no bound",
    ("Budget", "ProjectedLayer"): "a softness that does not depend on the weights",
    ("Learned", "ProjectedLayer"): "a softness that does not depend on the weights",
    ("command line, certify", "table of positions"): "",
}
"""What is not to be had, with what the error says of it: the reason and the way out."""


@cache
def built(kind: str) -> Module:
    model = filled(KINDS[kind]()).eval()
    es.set_softness(model, 0.5)
    return model


def made(kind: str) -> Module:
    """A model of a kind, of one's own."""
    return copy.deepcopy(built(kind))


def same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-5 * b.norm() + 1e-6)


# ---------------------------------------------------------------------- the verbs, each with what it promises


def turn_by_assignment(model: Module) -> None:
    for dial in dials(model).values():
        dial.softness = 0.3
        assert dial.softness == 0.3


def turn_by_set_softness(model: Module) -> None:
    es.set_softness(model, 0.3)
    assert all(dial.softness == 0.3 for dial in dials(model).values())


def schedule(model: Module) -> None:
    scheduler = es.SoftnessScheduler(model, es.LinearSchedule(1.0, 0.0, steps=10))
    for _ in range(5):
        scheduler.step()
    assert scheduler.get_last_softness() == 0.5
    assert all(dial.softness == 0.5 for dial in dials(model).values())


def take_policies(policy: es.Policy) -> Callable[[Module], None]:
    def take(model: Module) -> None:
        es.set_softness(model, policy)
        assert torch.isfinite(value(model)).all()
        for dial in dials(model).values():
            if policy.bounded and not isinstance(dial, es.SoftTensorProduct):
                assert dial.certificate().relative.sup <= policy.eta * (1 + 1e-5)

    return take


def status(model: Module) -> None:
    report = es.soft_status(model)
    assert [each.softness for each in report.layers] == [dial.softness for dial in dials(model).values()]
    for each, dial in zip(report.layers, dials(model).values(), strict=True):
        spectrum = dial.spectrum()
        assert each.breaking == pytest.approx(min(1.0, spectrum.breaking / spectrum.energy), rel=1e-6)
        assert each.kind in str(report)
        assert each.fields


def spectrum(model: Module) -> None:
    for dial in dials(model).values():
        some = dial.spectrum()
        assert some.energy > 0
        assert [level.dial for level in some.levels] == sorted(level.dial for level in some.levels)
    es.set_softness(model, 0.0)
    settle(model)
    assert all(dial.spectrum().breaking <= 1e-10 * dial.spectrum().energy for dial in dials(model).values())


def settle(model: Module) -> None:
    """Weights in projected training follow the dial at the next step of the optimiser; all others at once."""
    if any(isinstance(dial, ProjectedLayer) for dial in dials(model).values()):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        handle = es.project_after_step(model, optimizer)
        optimizer.step()
        handle.remove()


def certificate(model: Module) -> None:
    for softness in (0.5, 0.0):
        es.set_softness(model, softness)
        settle(model)
        for dial in dials(model).values():
            some, certified = dial.spectrum(), dial.certificate()
            if isinstance(certified, Certificate):
                assert_one_truth(some.levels, certified)
                if certified.bias is not None and some.bias:
                    assert_one_truth(some.bias, certified.bias)
            else:
                assert isinstance(certified, MatrixCertificate)
                assert certified.norm**2 == pytest.approx(some.energy, rel=1e-5)
                assert certified.breaking**2 == pytest.approx(some.breaking, rel=1e-5, abs=1e-10)
            if softness == 0:
                assert certified.relative.sup < 1e-5


def assert_one_truth(levels: Any, certified: Certificate) -> None:
    """The energies of a spectrum, irrep by irrep, are those of a certificate's terms; rms is that of what breaks."""
    energies: dict[Any, float] = {}
    for level in levels:
        energies[level.irrep_id] = energies.get(level.irrep_id, 0.0) + level.energy
    terms = {term.irrep: term.energy for term in certified.terms}
    whole = sum(energies.values())
    assert set(energies) <= set(terms)
    for irrep, energy in terms.items():
        assert energy == pytest.approx(energies.get(irrep, 0.0), rel=1e-5, abs=1e-9 * whole)
    breaking = sum(level.energy for level in levels if level.irrep_id is not None and level.sigma > 0)
    lawless = energies.get(None, 0.0)
    assert certified.rms**2 == pytest.approx(2 * breaking + 4 * lawless, rel=1e-5, abs=1e-9 * whole)


def certify(model: Module) -> None:
    result = es.certify(model, example(model))
    assert result.certified or all(reason for _, reason in result.not_covered)


def set_budget(model: Module) -> None:
    x = example(model)
    in_space = getattr(getattr(model, "in_type", None), "gspace", None)
    elements = pixel_elements(in_space)[:4] if in_space is not None and in_space.dimensionality == 3 else None
    budgets = es.set_budget(model, 0.5, x, elements)
    assert list(budgets) == list(dials(model))
    assert es.certify(model, x, elements).relative <= 0.5


def harden(model: Module) -> None:
    hard = es.harden(model)
    assert not dials(hard)
    es.set_softness(model, 0.0)
    assert same(value(hard), value(model)) or beyond_the_band_limit(model)


def beyond_the_band_limit(model: Module) -> bool:
    """Whether the model's equivariant part holds what escnn's layer cannot: an equivariant remainder."""
    return any(
        level.remainder and level.sigma == 0 and level.energy > 1e-8
        for dial in dials(model).values()
        for level in dial.spectrum().levels
    )


def bake(model: Module) -> None:
    baked = es.bake(model)
    assert not dials(baked)
    assert same(value(baked), value(model))


def project(model: Module) -> None:
    assert same(value(es.projected(model)), value(model))


def export(model: Module) -> None:
    for module in list(model.modules()):
        if isinstance(module, SoftModule):
            plain = module.export()
            assert not dials(plain)
            if module is model:
                x = example(model)
                assert same(plain(x if isinstance(x, Tensor) else x.tensor), value(model))


def state(model: Module) -> None:
    expected, kept = value(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert not same(value(model), expected)
    model.load_state_dict(kept)
    assert torch.equal(value(model), expected)


class Build:
    """Where the command line finds the models."""


SLUGS = {kind: "".join(c if c.isalnum() else "_" for c in kind) for kind in KINDS}
for _kind, _slug in SLUGS.items():
    setattr(Build, _slug, staticmethod(lambda kind=_kind: made(kind)))


def command_line(verb: str) -> Callable[[Module], None]:
    def run(model: Module) -> None:
        kind = next(k for k, v in SLUGS.items() if v == model.slug)
        code = main([verb, f"tests.test_verbs:Build.{model.slug}"])
        assert code == (1 if (f"command line, {verb}", kind) in REFUSED else 0)

    return run


VERBS: dict[str, Callable[[Module], None]] = {
    "softness=": turn_by_assignment,
    "set_softness": turn_by_set_softness,
    "SoftnessScheduler": schedule,
    "Cutoff": take_policies(es.Cutoff(0.5)),
    "Budget": take_policies(es.Budget(0.1)),
    "Learned": take_policies(es.Learned(0.4)),
    "soft_status": status,
    "spectrum": spectrum,
    "certificate": certificate,
    "certify": certify,
    "budget": set_budget,
    "harden": harden,
    "bake": bake,
    "projected": project,
    "export": export,
    "command line, spectrum": command_line("spectrum"),
    "command line, certify": command_line("certify"),
    "state_dict": state,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_works_or_says_why_not(verb, kind, capsys, monkeypatch) -> None:
    monkeypatch.setattr(network_budget, "_HALVINGS", 2)
    model = made(kind)
    model.slug = SLUGS[kind]
    message = REFUSED.get((verb, kind))
    if message is None or verb.startswith("command line"):
        VERBS[verb](model)
        return
    before, settings = value(model), [dial.softness for dial in dials(model).values()]
    with pytest.raises(EscnnSoftError, match=f"(?s){message}"):
        VERBS[verb](model)
    assert [dial.softness for dial in dials(model).values()] == settings
    assert torch.equal(value(model), before)  # nothing has changed


def soft_classes(cls: type = SoftModule) -> Iterator[type]:
    for below in cls.__subclasses__():
        yield from soft_classes(below)
        module = sys.modules.get(below.__module__) if below.__module__.startswith("escnn_soft.") else None
        if getattr(module, below.__name__, None) is below and below.__name__.startswith(("Soft", "Projected")):
            yield below  # and no class of a doctest's


def test_every_kind_has_its_column() -> None:
    covered = {type(module) for build in KINDS.values() for module in build().modules()}
    bases = {base for cls in covered for base in cls.__mro__[1:]}
    assert {cls for cls in soft_classes() if cls not in bases} <= covered
    assert ProjectedLayer in covered


def test_a_kind_without_a_column_is_found(monkeypatch) -> None:
    class SoftNovelty(es.SoftLinear):
        pass

    SoftNovelty.__module__ = "escnn_soft.layers.linear"
    assert SoftNovelty not in set(soft_classes())
    monkeypatch.setattr(sys.modules["escnn_soft.layers.linear"], "SoftNovelty", SoftNovelty, raising=False)
    assert SoftNovelty in set(soft_classes())


# ---------------------------------------------------------------------- one certificate, whoever made the weight


def test_what_a_budget_holds_the_certificate_shows() -> None:
    space = gspaces.rot2dOnR2(8)
    model = es.soften(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5)), es.Budget(0.1), gspace=space)
    assert 0.09 < es.certificate(model[0]).relative.sup <= 0.1 * (1 + 1e-5)
    es.set_softness(model, 0.0)
    assert es.certificate(model[0]).relative.sup < 1e-6
    assert es.soft_status(model).layers[0].breaking < 1e-12


@pytest.mark.parametrize("space", [gspaces.rot2dOnR2(4), C8, gspaces.flipRot2dOnR2(6), gspaces.rot2dOnR2(-1)], ids=str)
def test_a_plain_convolution_and_its_filter_have_one_certificate(space) -> None:
    scalar = space.type(*[space.trivial_repr] * 2)
    conv = torch.nn.Conv2d(2, 2, 3)
    plain = es.certificate(conv, scalar, scalar)
    soft = es.soften(torch.nn.Sequential(conv), 1.0, gspace=space)
    assert es.certificate(soft[0]).terms == plain.terms
    (dial,) = dials(soft).values()
    assert isinstance(dial.filter.graded, SpectralGrading)


def hard_layers() -> dict[str, Callable[[], Any]]:
    from escnn import nn

    fields = {
        "C4": C4F, "C8": C8F, "D6": D6F, "SO(2)": SO2F,
    }  # fmt: skip
    limits = {
        "default": {},
        "cut-off 3": {"frequencies_cutoff": 3.0},
        "cut-off 1": {"frequencies_cutoff": 1.0},
        "filter": {"basis_filter": lambda a: a["irrep:frequency"] != 1},
        "rings": {"rings": [0.0, 1.0], "sigma": [0.4, 0.5]},
    }
    layers = {
        f"{space}, {limit}": lambda f=field, a=arguments: nn.R2Conv(f, f, 5, **a)
        for space, field in fields.items()
        for limit, arguments in limits.items()
    }
    octa = gspaces.rot3dOnR3()
    volume = octa.type(octa.irrep(0), octa.irrep(1))
    layers["SO(3)"] = lambda: nn.R3Conv(volume, volume, 3)
    layers["C8 transposed"] = lambda: nn.R2ConvTransposed(C8F, C8F, 5, frequencies_cutoff=3.0)
    return layers


def _fields(space: Any, *names: Any) -> Any:
    return space.type(*(space.irrep(*name) for name in names))


C4F = _fields(gspaces.rot2dOnR2(4), (0,), (1,))
C8F = _fields(C8, (0,), (1,), (2,))
D6F = _fields(gspaces.flipRot2dOnR2(6), (0, 0), (1, 1))
SO2F = _fields(gspaces.rot2dOnR2(-1, maximum_frequency=2), (0,), (1,))


@pytest.mark.parametrize("name", hard_layers())
def test_a_hard_layer_and_its_soft_twin_have_one_certificate(name) -> None:
    hard = filled(hard_layers()[name]())
    soft = es.soften(hard, 0.0)
    first, second = es.certificate(hard), es.certificate(soft)
    assert [term.irrep for term in first.terms] == [term.irrep for term in second.terms]
    for mine, theirs in zip(first.terms, second.terms, strict=True):
        assert mine.energy == pytest.approx(theirs.energy, rel=1e-6, abs=1e-10 * first.norm**2)
    assert first.relative.sup == pytest.approx(second.relative.sup, abs=1e-6)
    assert first.relative.sup < 1e-5


def test_arguments_are_checked_before_anything_changes() -> None:
    model = torch.nn.ModuleList([CARRIERS["Linear D4"](), es.SoftMatrixLinear(*[vector(lorentz_group())] * 2)])
    with pytest.raises(EscnnSoftError, match="has no supremum"):
        es.set_softness(model, es.Budget(0.1))
    with pytest.raises(EscnnSoftError, match="has no supremum"):
        es.SoftnessScheduler(model, lambda step: es.Budget(0.1))
    assert [dial.softness for dial in dials(model).values()] == [es.Exponential(0.5), 0.0]
    with pytest.raises(ArgumentError, match="a soft layer, a linear layer"):
        es.certificate(torch.nn.ReLU())
