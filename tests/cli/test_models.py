"""The commands on model factories: spectrum, certify, soften, harden."""

from __future__ import annotations

import pickle

import pytest
import torch

from escnn_soft import SoftR2Conv, harden, soften
from escnn_soft.checkpoints import read_state as read
from escnn_soft.cli import main
from escnn_soft.cli.models import write
from tests.convert.models import output, sequential
from tests.disturbance import disturb

NET = "tests.convert.models:sequential"
SHAPE = ["--shape", "1,3,9,9"]


def lines(capsys) -> str:
    return capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_there_and_back_through_checkpoints(suffix, tmp_path, capsys) -> None:
    if suffix == "safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    hard, soft, back = (tmp_path / f"{name}.{suffix}" for name in ("hard", "soft", "back"))
    model = disturb(sequential())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    write(model, hard)
    words = ["--softness", "0.5", "--per-layer", "0=cutoff:1", "--output", str(soft)]
    assert main(["soften", NET, "--checkpoint", str(hard), *words]) == 0
    assert "0  SoftR2Conv  softness Cutoff(bound=1.0)" in lines(capsys)
    twin = soften(sequential(), 0.5)
    twin.load_state_dict(read(soft))
    assert torch.allclose(output(twin.eval()), output(model.eval()), atol=1e-6)
    write(disturb(twin), soft)
    assert main(["harden", NET, "--checkpoint", str(soft), "--output", str(back)]) == 0
    again = sequential().train().eval()
    again.load_state_dict(read(back))
    assert torch.allclose(output(again), output(harden(twin).eval()), atol=1e-6)


def test_spectrum(tmp_path, capsys) -> None:
    write(disturb(soften(sequential(), 0.5)), tmp_path / "soft.pt")
    words = ["--checkpoint", str(tmp_path / "soft.pt"), "--softness", "0.5", "--layer", "3"]
    assert main(["spectrum", NET, *words]) == 0
    text = lines(capsys)
    assert "3  SoftR2Conv  softness 0.5" in text
    assert text.count("sigma") == 1
    assert main(["spectrum", NET]) == 0  # of a hard network: one line a layer
    assert "hard" in lines(capsys)


def test_certify_has_exit_codes(tmp_path, capsys) -> None:
    checkpoint = tmp_path / "soft.pt"
    write(disturb(soften(sequential(), 0.5)), checkpoint)
    soft = ["--checkpoint", str(checkpoint), "--softness", "0.5"]
    assert main(["certify", NET, *soft]) == 0
    assert "3: relative error at most" in lines(capsys)
    assert main(["certify", NET, *soft, "--at-most", "1e-3"]) == 1
    assert "failed: " in lines(capsys)
    assert main(["certify", NET, *SHAPE, "--at-most", "0.01"]) == 0  # quarter turns, exactly
    assert "covered: " in lines(capsys)
    assert main(["certify", NET, *soft, *SHAPE, "--at-most", "1e-6"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["certify", "nets"], "expected module:function but got 'nets'"),
        (["certify", "no.such.module:net"], "there is no module 'no.such.module'"),
        (["certify", "tests.convert.models:net"], "'tests.convert.models' has no function 'net'"),
        (["certify", NET], "no soft layer: give --softness"),
        (["certify", NET, "--shape", "1,x"], "expected positive whole numbers such as 1,3,33,33 but got '1,x'"),
        (["certify", NET, "--shape", "1,4,9,9"], "inputs have 3 channels: --shape N,3,..."),
        (["certify", NET, "--at-most", "nan"], "expected a number >= 0"),
        (
            ["spectrum", NET, "--softness", "1.5"],
            "expected a number in [0, 1], exponential:S, cutoff:SIGMA or budget:ETA",
        ),
        (["spectrum", NET, "--softness", "learned:1"], "but got 'learned:1'"),
        (["spectrum", NET, "--layer", "head"], "has no soft layer 'head'"),
        (["soften", NET, "--output", "x.pt"], "required: --softness"),
        (["soften", NET, "--softness", "0.5", "--output", "x", "--per-layer", "0"], "expected LAYER=SOFTNESS"),
        (["harden", NET, "--output", "x.pt"], "give the --checkpoint of a soft network"),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message, capsys) -> None:
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["spectrum", "certify", "soften", "harden", "convert"])
def test_help(command, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "MODULE:FUNCTION" in text
    assert "--checkpoint FILE" in text


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("code ran",)


def test_files_that_could_run_code_are_refused(tmp_path, capsys) -> None:
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps({"weights": Trap()}))
    torch.save({"weights": Trap()}, tmp_path / "trap.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name, message in {
        "trap.pkl": "tensors only",
        "trap.pt": "tensors only",
        "empty.pt": "tensors only",
        "list.pt": "a state_dict",
        "none.pt": "No such file",
    }.items():
        for command in (["spectrum", NET], ["convert", NET, "--to", "export", *SHAPE, "--output", str(tmp_path / "x")]):
            assert main([*command, "--checkpoint", str(tmp_path / name)]) == 2
            captured = capsys.readouterr()
            assert message in captured.err
            assert captured.err.count("\n") == 1
            assert "code ran" not in captured.out


def test_checkpoints_of_another_network_are_refused(tmp_path, capsys) -> None:
    write(SoftR2Conv(sequential()[0].in_type, sequential()[0].out_type, 3), tmp_path / "other.pt")
    assert main(["spectrum", NET, "--checkpoint", str(tmp_path / "other.pt")]) == 2
    assert "the model's parameters (Error(s) in loading state_dict" in capsys.readouterr().err
    assert main(["certify", "tests.convert.models:output.__name__", *SHAPE]) == 2
    assert "Return the network from the function" in capsys.readouterr().err
