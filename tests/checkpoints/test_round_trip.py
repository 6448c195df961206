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


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """What every kind of softness makes of fixed numbers under every policy, here and elsewhere."""
    folder = tmp_path_factory.mktemp("saved")
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
            es.save_softened(filled(model), folder / f"{stem}.safetensors")
            here[stem] = value(model)
    run("-m", "tests.checkpoints.elsewhere", str(folder))
    return here, torch.load(folder / "outputs.pt", weights_only=True)


def test_every_kind_and_policy_was_tried(outputs) -> None:
    here, elsewhere = outputs
    assert here.keys() == elsewhere.keys()
    assert len(here) == len(KINDS) * len(POLICIES) - len(REFUSED)


@pytest.mark.parametrize("name", POLICIES)
def test_the_function_is_the_same_bit_for_bit(outputs, name) -> None:
    here, elsewhere = outputs
    stems = [stem for stem in here if stem.endswith(f"--{name}")]
    assert len(stems) > len(KINDS) - 3
    for stem in stems:
        for built, y in elsewhere[stem].items():
            if stem.startswith(TO_ROUNDING):
                assert torch.allclose(y, here[stem], rtol=1e-5, atol=1e-7), (stem, built)
            else:
                assert torch.equal(y, here[stem]), (stem, built)


def test_policies_make_a_difference(outputs) -> None:
    here, _ = outputs
    for kind in KINDS.keys() - {"ProjectedLayer"}:  # its weights follow at the next step
        stem = kind.replace(" ", "_")
        assert not torch.allclose(here[f"{stem}--strict"], here[f"{stem}--graded"]), kind
