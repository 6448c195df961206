"""A softened model, saved and loaded by a process that knows the code alone, is the same function bit for bit."""

from __future__ import annotations

import math

import pytest
import torch

import escnn_soft as es
from escnn_soft.errors import SoftnessError
from tests.kinds import KINDS, value
from tests.processes import run
from tests.workflows.carriers import filled

POLICIES: dict[str, float | es.Policy] = {
    "strict": 0.0,
    "graded": 0.3,
    "open": 1.0,
    "exponential": es.Exponential(0.5),
    "cutoff": es.Cutoff(1.0),
    "infinite": es.Cutoff(math.inf),
    "budget": es.Budget(0.1),
    "learned": es.Learned(),
}
REFUSED = {("ProjectedLayer", "budget"), ("ProjectedLayer", "learned"), ("table of positions", "budget")}

TO_ROUNDING = ("SoftMatrixLinear", "SoftMatrixBilinear")
"""A matrix group's irreps are compared in the form in which a process met them first, and forms differ by rounding."""


def test_every_kind_under_every_policy_is_the_same_function_elsewhere(tmp_path) -> None:
    here: dict[str, torch.Tensor] = {}
    for kind, build in KINDS.items():
        model = filled(build()).eval()
        for name, policy in POLICIES.items():
            if (kind, name) in REFUSED:
                with pytest.raises(SoftnessError):
                    es.set_softness(model, policy)
                continue
            es.set_softness(model, policy)
            stem = f"{kind.replace(' ', '_')}--{name}"
            es.save_softened(filled(model), tmp_path / f"{stem}.safetensors")
            here[stem] = value(model)
    run("-m", "tests.checkpoints.elsewhere", str(tmp_path))
    elsewhere = torch.load(tmp_path / "outputs.pt", weights_only=True)

    assert here.keys() == elsewhere.keys()
    assert len(here) == len(KINDS) * len(POLICIES) - len(REFUSED)
    for stem, expected in here.items():
        for built, y in elsewhere[stem].items():
            if stem.startswith(TO_ROUNDING):
                assert torch.allclose(y, expected, rtol=1e-5, atol=1e-7), (stem, built)
            else:
                assert torch.equal(y, expected), (stem, built)
    for kind in KINDS.keys() - {"ProjectedLayer"}:  # its weights follow at the next step
        stem = kind.replace(" ", "_")
        assert not torch.allclose(here[f"{stem}--strict"], here[f"{stem}--graded"]), "policies make a difference"
