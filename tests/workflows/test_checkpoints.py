"""Checkpoints of whole models: between modes, classes, formats and processes; and what their numbers mean."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn.utils import prune
from torch.nn.utils.parametrize import register_parametrization

from escnn_soft import harden, set_softness, soften
from tests.convert.models import HARD_LAYERS, Classifier, output, randomised, sequential
from tests.disturbance import disturb
from tests.processes import python
from tests.workflows.carriers import CARRIERS, filled
from tests.workflows.carriers import output as output_of

CHECKPOINTS = Path(__file__).with_name("checkpoints")
FROZEN = CHECKPOINTS / "frozen_outputs.json"
MODES = {"fresh": lambda m: m, "train": lambda m: m.eval().train(), "eval": lambda m: m.eval()}


def soft(build=sequential):
    return disturb(soften(build(), 0.5))


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("source", MODES)
@pytest.mark.parametrize("kind", ["soft", "hard", "hardened"])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_strict_state_between_every_pair_of_modes(build, kind, source, target) -> None:
    first = MODES[source]({"soft": soft, "hard": lambda b: b(), "hardened": lambda b: harden(soft(b))}[kind](build))
    second = disturb(MODES[target](soft(build)), scale=1.0)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1.0)
    output(second)
    second.load_state_dict(first.state_dict(), strict=True)
    assert (output(second.eval()) - output(first.eval())).abs().max() < 1e-6


@pytest.mark.parametrize("source", MODES)
@pytest.mark.parametrize("name", HARD_LAYERS)
def test_strict_state_of_each_of_escnns_layers_in_every_mode(name, source) -> None:
    hard = MODES[source](randomised(HARD_LAYERS[name]()))
    x = hard.in_type(torch.randn(2, hard.in_type.size, *[5] * hard.in_type.gspace.dimensionality))
    expected = hard(x).tensor
    for change in MODES.values():
        soft = change(disturb(soften(HARD_LAYERS[name](), 0.5), scale=1.0))
        soft.load_state_dict(hard.state_dict(), strict=True)
        assert (soft(x).tensor - expected).abs().max() < 1e-5
        again = harden(soft)
        fresh = HARD_LAYERS[name]().train().train(again.training)
        fresh.load_state_dict(again.state_dict(), strict=True)
        assert (fresh(x).tensor - expected).abs().max() < 1e-5


def test_pickled_state(tmp_path) -> None:
    model, twin = soft(), soft()
    disturb(twin, scale=1.0)
    twin.load_state_dict(pickle.loads(pickle.dumps(model.state_dict())))
    assert torch.equal(output(twin), output(model))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    disturb(twin, scale=1.0).load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(output(twin), output(model))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_safetensors(build, train, tmp_path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model, twin = soft(build).train(train), disturb(soft(build), scale=1.0).train(train)
    safetensors.save_model(model, tmp_path / "model.safetensors")  # shared modules are stored once
    safetensors.load_model(twin, tmp_path / "model.safetensors")
    assert torch.equal(output(twin.eval()), output(model.eval()))


def test_safetensors_of_a_plain_state(tmp_path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model, twin = soft(), disturb(soft(), scale=1.0)
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    twin.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    assert torch.equal(output(twin), output(model))


def test_another_process_computes_the_same(tmp_path) -> None:
    model = soft().eval()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.save(output(model).detach(), tmp_path / "output.pt")
    python(
        f"""
        import torch
        from escnn_soft import soften
        from tests.convert.models import output, sequential
        torch.randn(17)  # elsewhere, something else was drawn before
        model = soften(sequential(), 0.5)
        model.load_state_dict(torch.load({str(tmp_path / "state.pt")!r}, weights_only=True))
        expected = torch.load({str(tmp_path / "output.pt")!r}, weights_only=True)
        assert torch.allclose(output(model.eval()), expected, atol=1e-6)
        """
    )


# ---------------------------------------------------------------------- what numbers mean, everywhere and for ever


@pytest.mark.parametrize("name", CARRIERS)
def test_parameters_mean_what_they_meant_when_this_was_written(name) -> None:
    assert_frozen({name: output_of(filled(CARRIERS[name]()))})


@pytest.mark.parametrize(
    ("processor", "instructions"), [("Prescott", "DEFAULT"), ("Haswell", "AVX2"), ("SkylakeX", "AVX512")]
)
def test_parameters_mean_the_same_on_every_processor(processor, instructions, tmp_path) -> None:
    known = ["DEFAULT", "AVX2", "AVX512"]
    here = torch.backends.cpu.get_cpu_capability()
    if known.index(instructions) > (known.index(here) if here in known else 0):
        pytest.skip(f"this processor has no {instructions}, which the kernels for {processor} are written in")
    without_numeric_coefficients = ("filter", "MatrixB", "R2Conv C", "TensorProduct C")
    names = [name for name in CARRIERS if not name.startswith(without_numeric_coefficients)]
    assert_frozen(outputs_of_a_cold_process(tmp_path, *names, OPENBLAS_CORETYPE=processor))


def test_parameters_mean_the_same_with_py3nj(tmp_path) -> None:
    (tmp_path / "py3nj.py").write_text(PY3NJ)
    names = [name for name in CARRIERS if "O(3)" in name]
    assert_frozen(outputs_of_a_cold_process(tmp_path, *names, PYTHONPATH=str(tmp_path)))


PY3NJ = """
# Stands in for the package, which needs a Fortran compiler: the same function of doubled quantum numbers.
import numpy as np
from sympy import Rational
from sympy.physics.wigner import clebsch_gordan as exact


def clebsch_gordan(*doubled):
    def one(j1, j2, j3, m1, m2, m3):
        return float(exact(*(Rational(int(n), 2) for n in (j1, j2, j3, m1, m2, m3))))

    return np.vectorize(one, otypes=[float])(*doubled)
"""


def outputs_of_a_cold_process(folder: Path, *names: str, **environment: str) -> dict[str, torch.Tensor]:
    """What the carriers compute in a process that finds nothing in escnn's cache."""
    file = folder / "outputs.pt"
    python(
        f"""
        import escnn_soft
        import escnn.group
        from escnn.group import _clebsh_gordan, irrep

        for memory in (_clebsh_gordan.cache, irrep.cache):  # beside escnn's own files, where we have sent them
            place = memory.store_backend
            place.location = place.location.replace(escnn.group.__cache_path__, {str(folder)!r})
            assert place.location.startswith({str(folder)!r})
        from tests.workflows.carriers import main
        main({str(file)!r}, *{names!r})
        """,
        environment,
    )
    found = list(folder.rglob("_clebsh_gordan_tensor/*/output.pkl"))
    assert bool(found) != ("PYTHONPATH" in environment), "the cache was not cold, or the closed form was not used"
    assert all("canonical" in path.parts for path in found), "coefficients found before the mending would be used"
    return {name: kept["output"] for name, kept in torch.load(file, weights_only=True).items()}


def assert_frozen(outputs: dict[str, torch.Tensor]) -> None:
    frozen = json.loads(FROZEN.read_text())
    for name, values in outputs.items():
        few = some_values(values)
        assert few == pytest.approx(frozen[name], abs=2e-6 * max(1.0, *map(abs, frozen[name]))), name


def some_values(values: torch.Tensor) -> list[float]:
    flat = values.double().flatten()
    return flat[:: max(1, flat.numel() // 16)][:16].tolist()


def freeze() -> None:
    """Write the frozen numbers anew: only when they are to mean something else from now on."""
    outputs = {name: some_values(output_of(filled(build()))) for name, build in CARRIERS.items()}
    FROZEN.write_text(json.dumps(outputs, indent=1) + "\n")


# ---------------------------------------------------------------------- checkpoints of earlier versions

UNKNOWN_FIELDS = ["Linear SO(3) product", "TensorProduct D3"]
"""Fields built from escnn's numeric coefficients, which a checkpoint does not hold."""


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.filterwarnings("ignore:.*this checkpoint holds another basis")
def test_checkpoints_of_version_0_1_load(name) -> None:
    kept = torch.load(CHECKPOINTS / "0.1.pt", weights_only=True)[name]
    model = CARRIERS[name]()
    model.load_state_dict(kept["state"])
    difference = float((output_of(model.eval()) - kept["output"]).norm() / kept["output"].norm())
    assert difference < 1e-5 or name in UNKNOWN_FIELDS


@pytest.mark.parametrize("name", UNKNOWN_FIELDS)
def test_what_a_checkpoint_cannot_know_is_said(name) -> None:
    kept = torch.load(CHECKPOINTS / "0.1.pt", weights_only=True)[name]
    with pytest.warns(UserWarning, match="may mean another function.*export"):
        CARRIERS[name]().load_state_dict(kept["state"])
    strict = {key: value for key, value in kept["state"].items() if "soft" not in key}
    CARRIERS[name]().load_state_dict(strict)  # escnn's own part is known: no warning, which would be an error


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["Linear D4", "MatrixLinear", "filter C4"])
def test_what_is_kept_for_evaluation_is_no_part_of_the_state(name, softness, train) -> None:
    first, second = filled(CARRIERS[name]()), CARRIERS[name]()
    set_softness(first, softness)
    expected = output_of(first.train(train))
    assert list(first.state_dict()) == list(second.state_dict())
    set_softness(second, softness)
    second.load_state_dict(first.state_dict())
    assert torch.equal(output_of(second.train(train)), expected)
    set_softness(first, 0.3)


def pruned(model):
    layers = [layer for layer in model.modules() if isinstance(getattr(layer, "soft_weights", None), torch.Tensor)]
    for layer in layers:
        prune.random_unstructured(layer, "soft_weights", amount=0.5)
    return model


class Doubled(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrised(model):
    register_parametrization(model, "soft_weights", Doubled())
    return model


@pytest.mark.parametrize("change", [pruned, parametrised])
@pytest.mark.parametrize("name", ["R2Conv C4", "Linear D4"])
def test_a_pruned_or_parametrised_layer_loads_its_own_state(name, change) -> None:
    torch.manual_seed(0)
    first, second = change(filled(CARRIERS[name]())).eval(), change(CARRIERS[name]()).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(output_of(second), output_of(first))
