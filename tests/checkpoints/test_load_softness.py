"""A configuration is checked against the model before anything changes, and files are never trusted."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from escnn import gspaces, nn
from safetensors.torch import load_file, save_file

import escnn_soft as es
from escnn_soft.checkpoints import read_config, read_state, write_state
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.layers import dials, graded_kernel

C4, D4 = gspaces.rot2dOnR2(4), gspaces.flipRot2dOnR2(4)
IMAGE, HIDDEN = C4.type(*[C4.trivial_repr] * 3), C4.type(*[C4.regular_repr] * 2)


def steerable() -> nn.SequentialModule:
    return nn.SequentialModule(nn.R2Conv(IMAGE, HIDDEN, 3), nn.ReLU(HIDDEN), nn.R2Conv(HIDDEN, HIDDEN, 3))


def plain() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))


def fields() -> torch.nn.Sequential:
    return es.soften(plain(), 0.2, gspace=C4, field_types={"0": (IMAGE, HIDDEN), "2": (HIDDEN, HIDDEN)})


@pytest.fixture
def config() -> dict:
    return es.softness_config(es.soften(steerable(), 0.3, per_layer={"2": es.Budget(0.1)}))


@dataclass(frozen=True)
class Halving(es.Policy):
    """A policy of one's own."""

    steps: int

    def gains(self, dial):
        return 0.5 ** (self.steps * dial)


def states(model: torch.nn.Module) -> tuple:
    return [type(m) for m in model.modules()], {n: dial.softness for n, dial in dials(model).items()}


# ---------------------------------------------------------------------- what it holds


def test_a_configuration_is_json_and_comes_back(config) -> None:
    again = json.loads(json.dumps(config, allow_nan=False))
    assert again == config
    assert es.softness_config(es.load_softness(steerable(), again)) == config


def test_filters_of_fields_come_back_with_their_types() -> None:
    soft = fields()
    config = json.loads(json.dumps(es.softness_config(soft)))
    again = es.load_softness(plain(), config)
    assert es.softness_config(again) == config
    again.load_state_dict(soft.state_dict())
    x = torch.randn(1, 3, 7, 7)
    assert torch.equal(again(x), soft(x))


@pytest.mark.parametrize("chain", [[2], [2, 1]])
def test_chains_come_back(chain) -> None:
    soft = es.soften(steerable(), 0.3, chain=chain)
    again = es.load_softness(steerable(), json.loads(json.dumps(es.softness_config(soft))))
    assert again[0].chain == soft[0].chain
    assert es.soft_status(again).layers[0].softness == 0.3


def test_chains_of_tuples_come_back() -> None:
    field = D4.type(D4.regular_repr)
    soft = es.soften(nn.R2Conv(field, field, 3), 0.3, chain=[(None, 4), (None, 2)])
    again = es.load_softness(nn.R2Conv(field, field, 3), json.loads(json.dumps(es.softness_config(soft))))
    assert again.chain == ((None, 4), (None, 2))


def test_only_the_layers_that_were_soft_are() -> None:
    soft = es.soften(steerable(), 0.3, filter_fn=lambda module, name: name == "2")
    again = es.load_softness(steerable(), es.softness_config(soft))
    assert list(dials(again)) == ["2"]


@pytest.mark.parametrize("schedule", [es.LinearSchedule(1.0, 0.0, 10), es.CosineSchedule(0.5, 0.1, 7, es.Budget)])
def test_a_schedule_goes_on_where_it_was(schedule) -> None:
    soft = es.soften(steerable(), 0.0)
    scheduler = es.SoftnessScheduler(soft, schedule)
    for _ in range(3):
        scheduler.step()
    config = json.loads(json.dumps(es.softness_config(soft, scheduler)))
    again = es.load_softness(steerable(), config)
    resumed = es.load_scheduler(again, config)
    assert resumed.schedule == schedule
    for _ in range(2):
        assert resumed.get_last_softness() == scheduler.get_last_softness() == again[0].softness
        resumed.step()
        scheduler.step()


def test_a_policy_of_ones_own_is_found_by_its_name() -> None:
    soft = es.soften(steerable(), Halving(4))
    config = json.loads(json.dumps(es.softness_config(soft)))
    assert es.load_softness(steerable(), config)[0].softness == Halving(4)


# ---------------------------------------------------------------------- another model, another file


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(format=2), "of format 1 but got config"),
        (lambda c: c.pop("layers"), "a dictionary by name but got config\\['layers'\\]=None"),
        (lambda c: c["layers"].update(other=c["layers"]["0"]), "the name of a layer of the model.*'other'"),
        (lambda c: c["layers"].update({"1": c["layers"]["0"]}), "layer '1'.*ReLU"),
        (lambda c: c["layers"].pop("0"), None),
        (lambda c: c["layers"]["0"].update(fields="irrep_1 -> regular"), "layer '0'"),
        (lambda c: c["layers"]["0"].update(kind="SoftLinear"), "layer '0'"),
        (lambda c: c["layers"]["0"].update(chain=[3]), "chain"),
        (lambda c: c["layers"]["0"].update(chain=7), "with names, kind, projected"),
        (lambda c: c["layers"]["0"].pop("bias"), "with names, kind, projected"),
        (lambda c: c["layers"]["0"]["softness"].update(policy="os.system"), "the name of a class among.*Graded"),
        (lambda c: c["layers"]["0"]["softness"].update(softness=1.5), r"a number in \[0, 1\]"),
        (lambda c: c["layers"]["0"]["softness"].update(more=1), "with the fields"),
        (lambda c: c["layers"]["2"].update(projected=True), "does not depend on the weights"),
        (lambda c: c["filters"].update({"0.weights": {}}), "a dictionary with owners, place, symmetry"),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_what_does_not_fit_is_refused_and_nothing_changes(config, change, expected, soft) -> None:
    change(config)
    model = es.soften(steerable(), 0.9) if soft else steerable()
    before = states(model)
    if expected is None and not soft:
        pytest.skip("a hard layer may stay hard")
    with pytest.raises(EscnnSoftError, match=expected) as caught:
        es.load_softness(model, config)
    assert states(model) == before
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.update(symmetry=[None, "4"]), "the id of a subgroup of O"),
        (lambda f: f.update(symmetry=[None, 8]), None),
        (lambda f: f.update(symmetry="shifts"), "both field types"),
        (lambda f: f.update(symmetry=[None, 10**9]), "the id of a subgroup of O"),
        (lambda f: f.update(place=1), "other parametrizations|filter that the model has"),
        (lambda f: f.update(owners=["0", "1"]), "by no other name"),
        (lambda f: f["in_type"].update(fields=[[-1, 3]]), "how many fields"),
        (lambda f: f["in_type"].update(fields=[[0, 10**12]]), "how many fields"),
        (lambda f: f["in_type"].update(fields=[[5, 1]]), "how many fields"),
        (lambda f: f["in_type"].update(fields=[[0, 2]]), "channels|filter that the model has"),
        (lambda f: f["in_type"]["representations"][0].update(irreps=[[99999]]), "how many fields"),
        (lambda f: f["in_type"]["representations"][0].update(change_of_basis=[[2.0]]), "how many fields"),
        (lambda f: f.update(in_type=None), "both field types"),
        (lambda f: f.update(what="table"), "table|filter that the model has"),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_filters_that_do_not_fit_are_refused_and_nothing_changes(change, expected, soft) -> None:
    config = es.softness_config(fields())
    change(config["filters"]["0.weight"])
    model = fields() if soft else plain()
    before = states(model)
    with pytest.raises(EscnnSoftError, match=expected):
        es.load_softness(model, config)
    assert states(model) == before


def test_a_hard_layer_that_cannot_have_the_bias_is_refused() -> None:
    field = D4.type(D4.irrep(1, 1))
    config = es.softness_config(es.SoftR2Conv(field, field, 3, softness=0.5))
    with pytest.raises(ArgumentError, match=r"'bias': True.*'bias': False"):
        es.load_softness(nn.R2Conv(field, field, 3), config)


def test_a_filter_put_on_by_hand_without_types_is_refused() -> None:
    conv = torch.nn.Conv2d(3, 8, 3)
    graded = graded_kernel(conv, IMAGE, HIDDEN)
    torch.nn.utils.parametrize.register_parametrization(conv, "weight", es.SoftFilter(graded, 0.5, conv.weight))
    with pytest.raises(ArgumentError, match=r"the filter of a Conv2d between field types.*filter=.weight"):
        es.softness_config(conv)


def test_a_policy_that_is_no_dataclass_is_refused() -> None:
    class Odd(es.Policy):
        def gains(self, dial):
            return torch.ones_like(dial)

    with pytest.raises(ArgumentError, match="a dataclass of numbers"):
        es.softness_config(es.soften(steerable(), Odd()))


# ---------------------------------------------------------------------- states at another softness


def test_a_state_that_was_saved_at_another_softness_warns(tmp_path) -> None:
    soft = es.soften(steerable(), 0.3)
    torch.save(soft.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    with pytest.warns(UserWarning, match=r"saved at softness 0.3 .* layers at 0.5"):
        es.soften(steerable(), 0.5).load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es.soften(steerable(), 0.3).load_state_dict(state)
        steerable().train().load_state_dict(es.harden(soft).state_dict())  # train() drops what escnn expands first
        es.soften(steerable(), 0.3).load_state_dict(steerable().state_dict())  # escnn's: no softness to speak of


def test_so_does_that_of_a_filter() -> None:
    with pytest.warns(UserWarning, match=r"saved at softness 0.2 .* layers at 0.7"):
        es.soften(plain(), 0.7, gspace=C4).load_state_dict(es.soften(plain(), 0.2, gspace=C4).state_dict())


# ---------------------------------------------------------------------- files


def test_a_file_without_a_softness_warns_and_takes_a_config(tmp_path, config) -> None:
    soft = es.load_softness(steerable(), config)
    save_file({name: value.clone() for name, value in soft.state_dict().items()}, tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match="does not say at which softness"):
        es.load_softened(tmp_path / "a.safetensors", es.soften(steerable(), 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = es.load_softened(tmp_path / "a.safetensors", steerable(), config)
    assert again[2].softness == es.Budget(0.1)


def test_a_file_with_another_config_than_given_warns(tmp_path, config) -> None:
    soft = es.load_softness(steerable(), config)
    es.save_softened(soft, tmp_path / "a.safetensors")
    config["layers"]["0"]["softness"]["softness"] = 0.6
    with pytest.warns(UserWarning, match="another softness than the config"):
        again = es.load_softened(tmp_path / "a.safetensors", steerable(), config)
    assert again[0].softness == 0.6


def test_parameters_of_another_model_are_refused_and_the_models_own_stay(tmp_path) -> None:
    soft = es.soften(steerable(), 0.3)
    es.save_softened(soft, tmp_path / "a.safetensors")
    state = load_file(tmp_path / "a.safetensors")
    state["0.soft_weights"] = state["0.soft_weights"][:-1]
    state["2.weights"] += 1
    save_file(state, tmp_path / "b.safetensors", metadata={"escnn_soft": json.dumps(es.softness_config(soft))})
    model = steerable().train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ArgumentError, match=r"the model's parameters.*soft_weights"):
        es.load_softened(tmp_path / "b.safetensors", model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_the_ending_and_the_folder_are_checked(tmp_path) -> None:
    with pytest.raises(ArgumentError, match=r"ends in .safetensors"):
        es.save_softened(steerable(), tmp_path / "a.pt")
    with pytest.raises(ArgumentError, match="existing folder"):
        es.save_softened(steerable(), tmp_path / "no" / "a.safetensors")


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


class Malicious:
    def __reduce__(self):
        return (print, ("this must not run",))


BROKEN = {
    "empty": b"",
    "junk": b"junk",
    "noise": bytes(range(256)) * 40,
    "huge header": struct.pack("<Q", 2**62) + b"{}",
    "no json": header(b"not json"),
    "wrong json": header(b"[1, 2]"),
    "lying offsets": header(b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'),
    "config no json": header(b'{"__metadata__":{"escnn_soft":"{"}}'),
    "config no dictionary": header(b'{"__metadata__":{"escnn_soft":"[1]"}}'),
    "config deep": header(b'{"__metadata__":{"escnn_soft":"' + b"[" * 100_000 + b'"}}'),
    "config of another": header(b'{"__metadata__":{"escnn_soft":"{\\"format\\": 1}"}}'),
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": pickle.dumps({"a": Malicious()}),
    "pickle of numbers": pickle.dumps([1, 2]),
}


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, capsys, name, ending) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(BROKEN[name])
    with pytest.raises(ArgumentError, match=r"checkpoint|config") as caught:
        es.load_softened(path, steerable())
    assert str(path) in str(caught.value) or "config" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("size", [8, 100, 2000])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_cut_files_are_refused(tmp_path, size, ending) -> None:
    path, soft = tmp_path / f"a.{ending}", es.soften(steerable(), 0.3)
    if ending == "pt":
        torch.save(soft.state_dict(), path)
    else:
        es.save_softened(soft, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArgumentError, match="checkpoint"):
        es.load_softened(path, steerable())


# ---------------------------------------------------------------------- found by an attacker


def test_layers_of_another_group_are_refused() -> None:
    d2 = gspaces.flipRot2dOnR2(2)
    field, other = C4.type(C4.regular_repr), d2.type(d2.regular_repr)  # both of four channels, "regular -> regular"
    config = es.softness_config(es.SoftR2Conv(field, field, 3, softness=0.5))
    for build in (es.SoftR2Conv, nn.R2Conv):
        with pytest.raises(ArgumentError, match="'space': 'C4_on_R2"):
            es.load_softness(build(other, other, 3), config)


def tied(kind: type[nn.R2Conv]) -> torch.nn.Sequential:
    layer = kind(HIDDEN, HIDDEN, 3)
    return torch.nn.Sequential(layer, nn.ReLU(HIDDEN), layer)


def untied(kind: type[nn.R2Conv]) -> torch.nn.Sequential:
    return torch.nn.Sequential(kind(HIDDEN, HIDDEN, 3), nn.ReLU(HIDDEN), kind(HIDDEN, HIDDEN, 3))


@pytest.mark.parametrize("kind", [nn.R2Conv, es.SoftR2Conv])
@pytest.mark.parametrize(("saved", "loaded"), [(tied, untied), (untied, tied)])
def test_shared_layers_are_shared_in_both(kind, saved, loaded) -> None:
    config = es.softness_config(saved(es.SoftR2Conv))
    model = loaded(kind)
    before = states(model)
    with pytest.raises(ArgumentError, match=r"config|names"):
        es.load_softness(model, config)
    assert states(model) == before
    assert es.softness_config(es.load_softness(saved(kind), config)) == config


class Clamp(torch.nn.Module):
    def forward(self, weight):
        return weight.clamp(-0.1, 0.1)


def test_the_order_of_parametrizations_counts() -> None:
    parametrize = torch.nn.utils.parametrize.register_parametrization
    soft, again = es.soften(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3)), 0.3, gspace=C4), torch.nn.Conv2d(2, 3, 3)
    parametrize(soft[0], "weight", Clamp())
    parametrize(again, "weight", Clamp())
    with pytest.raises(ArgumentError, match="through 0 other parametrizations before"):
        es.load_softness(torch.nn.Sequential(again), es.softness_config(soft))


def test_the_scheduler_of_a_part_is_refused() -> None:
    soft = es.soften(steerable(), 0.3)
    with pytest.raises(ArgumentError, match="of all dials of this model"):
        es.softness_config(soft, es.SoftnessScheduler(soft[0], es.LinearSchedule(1.0, 0.0, 10)))


def test_torchs_own_files_say_their_softness_too(tmp_path) -> None:
    soft = es.soften(steerable(), 0.3)
    torch.save(soft.state_dict(), tmp_path / "a.pt")
    write_state(soft.state_dict(), tmp_path / "b.pt", None)
    for name in ("a.pt", "b.pt"):
        with pytest.warns(UserWarning, match=r"saved at softness 0.3 .* layers at 0.5"):
            es.load_softened(tmp_path / name, es.soften(steerable(), 0.5))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            es.load_softened(tmp_path / name, es.soften(steerable(), 0.3))


def test_a_resumed_schedule_does_not_warn() -> None:
    def scheduled():
        soft = es.soften(steerable(), 0.0)
        return soft, es.SoftnessScheduler(soft, es.LinearSchedule(1.0, 0.0, 10))

    (soft, scheduler), (again, resumed) = scheduled(), scheduled()
    scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.load_state_dict(soft.state_dict())
        resumed.load_state_dict(scheduler.state_dict())
    assert again[0].softness == soft[0].softness == 0.9


def test_states_that_do_not_depend_on_the_softness_do_not_warn() -> None:
    soft = es.projected(es.soften(steerable(), 0.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es.projected(es.soften(steerable(), 0.7)).load_state_dict(soft.state_dict())
        es.soften(steerable(), 0.7).load_state_dict(
            OrderedDict({k: v for k, v in es.soften(steerable(), 0.3).state_dict().items() if k.startswith("1")}),
            strict=False,
        )


def test_projected_layers_come_where_a_budget_was() -> None:
    config = es.softness_config(es.projected(es.soften(steerable(), 0.3)))
    model = es.soften(steerable(), es.Budget(0.1), filter_fn=lambda module, name: name == "2")
    assert es.softness_config(es.load_softness(model, config)) == config


def test_a_hard_models_file_loads_into_a_soft_one(tmp_path) -> None:
    hard = steerable()
    es.save_softened(hard, tmp_path / "a.safetensors")
    soft = es.load_softened(tmp_path / "a.safetensors", es.soften(steerable(), 0.4))
    assert soft[0].softness == 0.4
    assert torch.equal(soft[0].weights, hard[0].weights)


def test_learned_gains_stay_the_same_parameters() -> None:
    soft = es.soften(steerable(), es.Learned(0.3))
    logits = soft[0].level_logits
    es.load_softness(soft, es.softness_config(es.soften(steerable(), es.Learned(0.7))))
    assert soft[0].level_logits is logits


def test_files_are_whole_have_usual_permissions_and_links_stay(tmp_path) -> None:
    (tmp_path / "usual").touch()
    es.save_softened(steerable(), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "a.safetensors")
    es.save_softened(es.soften(steerable(), 0.3), tmp_path / "link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert read_config(tmp_path / "a.safetensors")["layers"]
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OSError, match="nowhere"):
        es.load_softened("nowhere.safetensors", steerable())


def test_what_is_written_is_what_is_read(tmp_path, config) -> None:
    soft = es.load_softness(steerable(), config)
    assert es.save_softened(soft, tmp_path / "a.safetensors") == config == read_config(tmp_path / "a.safetensors")
    assert read_state(tmp_path / "a.safetensors").keys() == soft.state_dict().keys()
