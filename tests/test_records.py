"""Every result can be written down as plain JSON, and says what people log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from escnn import group, gspaces, nn

import escnn_soft as es
from escnn_soft import bounds, certification, convert, grading, metrics, testing
from escnn_soft._record import Record, as_json
from escnn_soft.groups import lorentz_group, vector
from tests.workflows.carriers import CARRIERS, filled

C4 = gspaces.rot2dOnR2(4)
TURNS = metrics.transformations(C4)
IMAGES = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))


def layer(name: str = "R2Conv C8") -> Any:
    return filled(CARRIERS[name]())


def strided() -> torch.nn.Module:
    return es.soften(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, stride=2)), 0.5, gspace=C4)


def network() -> certification.NetworkCertificate:
    image, hidden = C4.type(C4.trivial_repr), C4.type(C4.regular_repr)
    model = nn.SequentialModule(filled(es.SoftR2Conv(image, hidden, 3, softness=0.5)), nn.ReLU(hidden)).eval()
    return es.certify(model, image(IMAGES))


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Logits of a model that is not invariant."""
    return x[:, 0, :2, :2].flatten(1)


LABELS = [(IMAGES, torch.tensor([0, 1]))]
PATHS = [(torch.ones(1, 2), torch.ones(1, 3, 2))]

RESULTS: dict[str, Callable[[], Record]] = {
    "status": lambda: es.soft_status(strided()),
    "status on images": lambda: es.soft_status(strided(), (1, 1, 8, 8)),
    "status of a policy": lambda: es.soft_status(layer("R2Conv D4 budget")),
    "spectrum": lambda: layer().spectrum(),
    "spectrum of a matrix group": lambda: layer("MatrixLinear").spectrum(),
    "certificate": lambda: layer().certificate(),
    "certificate of an infinite group": lambda: layer("Linear SO(3)").certificate(),
    "certificate without a supremum": lambda: es.SoftMatrixLinear(V := vector(lorentz_group()), V).certificate(),
    "network certificate": network,
    "network certificate of nothing": lambda: es.certify(
        nn.R2Conv(C4.type(C4.trivial_repr), C4.type(C4.trivial_repr), 3, stride=2).eval(),
        C4.type(C4.trivial_repr)(torch.randn(1, 1, 6, 6)),
        C4.fibergroup.elements,
    ),
    "calibration": lambda: es.calibrate(strided(), IMAGES, 0.5, steps=1),
    "equivariance error": lambda: metrics.invariance_error(pooled, IMAGES, TURNS),
    "prediction change": lambda: metrics.prediction_change(pooled, IMAGES, TURNS),
    "score": lambda: metrics.accuracy(pooled, LABELS, TURNS),
    "trajectory score": lambda: metrics.trajectory_score(
        lambda x: x[:, None].expand(-1, 3, 2), PATHS, metrics.point_rotations([90])
    ),
    "search": lambda: testing.search_violation(drawn := layer("Linear D4"), drawn.certificate(), steps=1),
    "report": lambda: testing.assert_certificate_holds(layer("Linear D4").double()),
}


@cache
def result(name: str) -> Record:
    return RESULTS[name]()


def parts(record: Record) -> Iterator[Record]:
    """A result and the results inside it."""
    yield record
    for value in (getattr(record, name.partition(".")[0]) for name in [f.name for f in fields(record)]):
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Record):
                yield from parts(each)


def kinds(cls: type = Record) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from kinds(each)


@pytest.mark.parametrize("name", list(RESULTS))
def test_every_result_is_strict_json_and_comes_back_as_it_went(name) -> None:
    record = result(name).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert all(value is None or type(value) in (str, bool, int, float, list, dict) for value in record.values())


@pytest.mark.parametrize("name", list(RESULTS))
def test_keys_are_the_fields_that_show_and_the_recorded_properties(name) -> None:
    for part in parts(result(name)):
        shown = [f.name for f in fields(part) if f.repr]
        assert list(part.to_dict()) == [*shown, *(path.replace(".", "_") for path in part.recorded)]


def test_no_kind_of_result_is_left_out() -> None:
    """Neither here nor by a class that a verb returns and that is no record."""
    met = {type(part) for name in RESULTS for part in parts(result(name))} | {bounds.PixelErrors, grading.Level}
    ours = {kind for kind in kinds() if kind.__module__.startswith("escnn_soft.")}
    assert met == ours
    rooms = (bounds, certification, convert, metrics, testing)
    words = ("Certificate", "Status", "Error", "Errors", "Score", "Change", "Calibration", "Break", "Report", "Term")
    named = {getattr(room, name) for room in rooms for name in room.__all__ if name.endswith(words)}
    assert named <= ours


def test_what_people_log_is_there() -> None:
    soft = layer()
    certificate, record = soft.certificate(), soft.certificate().to_dict()
    assert record["relative_sup"] == certificate.relative.sup
    assert record["relative_rms"] == certificate.relative.rms
    assert record["sup"] == certificate.sup > 0
    assert record["bias"]["rms"] == certificate.bias.rms
    assert record["grid"]["relative_sup"] == certificate.grid.relative.sup
    spectrum, energies = soft.spectrum(), soft.spectrum().to_dict()
    for written, level in zip(energies["levels"], spectrum.levels, strict=True):
        assert (written["name"], written["energy"], written["gain"]) == (level.name, level.energy, level.gain)
    assert 0 < energies["breaking_share"] < 1
    status = result("status").to_dict()
    assert status["layers"][0]["softness"] == 0.5
    assert status["grid"][0]["reason"].startswith("stride 2")
    assert result("status of a policy").to_dict()["layers"][0]["softness"] == "Budget(eta=0.1)"
    calibration = result("calibration").to_dict()
    assert set(calibration["layers"][0]) == {"name", "softness", "bound"}
    score = result("score").to_dict()
    assert score["combined"] == pytest.approx((score["plain"] * score["transformed"]) ** 0.5)
    net = result("network certificate").to_dict()
    assert net["relative"] == result("network certificate").relative
    assert sum(term["contribution"] for term in net["terms"]) == pytest.approx(net["layerwise"])
    assert len(net["covered"]) == len(net["samples"]) == 4


def test_what_does_not_exist_is_none() -> None:
    record = result("certificate without a supremum").to_dict()
    assert record["sup"] is record["rms"] is record["relative_sup"] is None
    assert "not orthogonal" in record["reason"]
    nothing = result("network certificate of nothing").to_dict()
    assert nothing["bound"] is None
    assert not nothing["certified"]


def test_other_values_become_plain_or_words() -> None:
    @dataclass(frozen=True)
    class Odd(Record):
        a: Any

    turn = group.so3_group(1).sample()
    values = [np.float32(0.5), np.int64(3), np.bool_(True), float("nan"), (1, (None, 4)), {1: -np.inf}, turn, "a  b"]
    record = [Odd(value).to_dict()["a"] for value in values]
    assert record[:6] == [0.5, 3, True, None, [1, [None, 4]], {"1": None}]
    assert type(record[2]) is bool
    assert "\n" not in record[6]
    assert record[7] == "a  b"
    assert as_json(Odd(Odd(1))) == {"a": {"a": 1}}
