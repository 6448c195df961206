"""The commands on model factories: spectrum, certify, soften, harden."""

from __future__ import annotations

import os
import pickle
import re
import sys

import pytest
import torch

from escnn_soft import Cutoff, SoftR2Conv, harden, soft_status, soften
from escnn_soft.checkpoints import read_state as read
from escnn_soft.cli import main, models
from escnn_soft.cli.models import write
from escnn_soft.cli.parser import FORMATS
from escnn_soft.export import PROGRAMS
from tests.convert.models import output, sequential
from tests.disturbance import disturb

NET = "tests.convert.models:sequential"
SHAPE = ["--shape", "1,3,9,9"]


def lines(capsys) -> str:
    return capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_there_and_back_through_checkpoints(suffix, tmp_path, capsys) -> None:
    hard, soft, back = (tmp_path / f"{name}.{suffix}" for name in ("hard", "soft", "back"))
    model = disturb(sequential())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    write(model, hard)
    words = ["--softness", "0.5", "--per-layer", "0=cutoff:1", "--output", str(soft)]
    assert main(["soften", NET, "--checkpoint", str(hard), *words]) == 0
    assert "0  SoftR2Conv  softness Cutoff(bound=1.0)" in lines(capsys)
    twin = soften(sequential(), 0.5, per_layer={"0": Cutoff(1.0)})
    twin.load_state_dict(read(soft))
    assert torch.allclose(output(twin.eval()), output(model.eval()), atol=1e-6)
    write(disturb(twin), soft)
    assert main(["harden", NET, "--checkpoint", str(soft), "--output", str(back)]) == 0
    # only a .safetensors file says at which softness it was trained
    assert ("give it as --softness" in lines(capsys)) == (suffix == "pt")
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


def test_harden_says_how_much_it_drops(tmp_path, capsys) -> None:
    soft = disturb(soften(sequential(), 0.5))
    write(soft, tmp_path / "soft.pt")
    words = ["--checkpoint", str(tmp_path / "soft.pt"), "--softness", "0.5", "--output", str(tmp_path / "hard.pt")]
    assert main(["harden", NET, *words]) == 0
    text = lines(capsys)
    for layer in soft_status(soft).layers:
        assert f"breaking {layer.breaking:.1%} of energy" in text
    energy, share = (float(part) / 100 for part in re.search(r"dropped: (.*)% of the .*, (.*)% of", text).groups())
    hard = harden(soft)
    kernels = [(a.expand_parameters()[0], b.expand_parameters()[0]) for a, b in zip(soft[::3], hard[::3], strict=True)]
    lost = sum(float((a - b).square().sum()) for a, b in kernels)
    whole = sum(float(a.square().sum()) for a, _ in kernels)
    assert energy == pytest.approx(lost / whole, rel=0.02)  # of C8 the harmonics are almost orthonormal on pixels
    assert share == pytest.approx(energy**0.5, abs=1e-3)


FACTORIES = """
import sys
from tests.convert.models import sequential

def raising():
    raise ValueError("first line\\nsecond line")

def leaving():
    sys.exit(3)

def network():
    return sequential()

def breaking():
    net = sequential()
    net.forward = lambda x: 1 / 0
    return net

instance = sequential()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "factories_of_mine.py").write_text(FACTORIES)
    (tmp_path / "wrong_syntax.py").write_text("def net(:")
    (tmp_path / "wrong_import.py").write_text("import package_that_is_not_there")
    (tmp_path / "wrong_module.py").write_text("raise KeyError('x')")
    (tmp_path / "junk").write_bytes(b"junk" * 100)
    (tmp_path / "junk.pt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "folder").mkdir()
    yield tmp_path
    for name in ("factories_of_mine", "wrong_syntax", "wrong_import", "wrong_module"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("command", ["spectrum", "certify", "soften", "harden", "convert"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wrong_syntax:net"], "module 'wrong_syntax' cannot be imported: SyntaxError: invalid syntax"),
        (["wrong_import:net"], "module 'wrong_import' needs package_that_is_not_there, which is not installed"),
        (["wrong_module:net"], "cannot be imported: KeyError: 'x'"),
        (["factories_of_mine:raising"], "factories_of_mine:raising() fails: ValueError: first line. Call it in Python"),
        (["factories_of_mine:leaving"], "factories_of_mine:leaving() fails: SystemExit: 3"),
        (["factories_of_mine:sys"], "Expected a torch module but got"),
        *(
            (["factories_of_mine:network", "--checkpoint", name], "checkpoint")
            for name in ("junk", "junk.pt", "junk.safetensors", "text.txt", "archive.zip", "factories_of_mine.py")
        ),
        (["factories_of_mine:network", "--checkpoint", "folder"], "cannot read --checkpoint folder: Is a directory"),
        (["factories_of_mine:network", "--checkpoint", "none"], "cannot read --checkpoint none: No such file"),
        (["factories_of_mine:network", "--checkpoint", "folder/none.safetensors"], "No such file"),
    ],
)
def test_what_the_user_gave_wrong_takes_one_line(command, words, message, folder, capsys) -> None:
    more = {"soften": ["--softness", "0.5"], "convert": ["--to", "export", *SHAPE]}.get(command, [])
    output = [] if command in ("spectrum", "certify") else ["--output", "out"]
    checkpoint = [] if "--checkpoint" in words else ["--checkpoint", "none"]
    assert main([command, *words, *checkpoint, *more, *output]) == 2
    error = capsys.readouterr().err
    assert error.startswith("escnn-soft: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "out").exists()


def test_a_file_that_may_not_be_read_or_written(folder, monkeypatch, capsys) -> None:
    write(sequential(), folder / "net.pt")

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(models, "read_state", denied)
    assert main(["spectrum", NET, "--checkpoint", "net.pt"]) == 2
    assert capsys.readouterr().err == "escnn-soft: error: cannot read --checkpoint net.pt: Permission denied\n"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["soften", NET, "--softness", "0.5", "--output", "out.pt"]) == 2
    assert capsys.readouterr().err == "escnn-soft: error: --output out.pt may not be written: permission denied\n"


def test_a_network_may_be_given_itself_and_may_fail_later(folder, capsys) -> None:
    assert main(["spectrum", "factories_of_mine:instance"]) == 0
    assert main(["certify", "factories_of_mine:breaking", *SHAPE]) == 2
    error = capsys.readouterr().err
    assert "does not take an input of this --shape: ZeroDivisionError: division by zero" in error
    assert main(["certify", NET, "--shape", "1,3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["soften", "torch.nn:ReLU", "--softness", "0.5", "--output", "out.pt"]) == 2
    assert "Expected a model with hard steerable layers but got model=ReLU()" in capsys.readouterr().err


def test_the_formats_of_the_command_line_are_those_that_there_are() -> None:
    assert {"safetensors": FORMATS["safetensors"], **{name: p.description for name, p in PROGRAMS.items()}} == FORMATS


def test_a_softness_on_the_command_line_is_used_whatever_the_network_and_the_file(tmp_path, capsys) -> None:
    soft = disturb(soften(sequential(), 0.5))
    files = tmp_path / "soft.safetensors", tmp_path / "soft.pt"
    for file in files:
        write(soft, file)
    words = ["--checkpoint", str(files[0]), "--softness", "0.2"]
    assert main(["spectrum", "tests.cli.test_models:already_soft", *words]) == 0
    assert capsys.readouterr().out.count("softness 0.2") == 2
    assert main(["spectrum", NET, "--checkpoint", str(files[0])]) == 0
    assert capsys.readouterr().out.count("softness 0.5") == 2
    with pytest.warns(UserWarning, match=r"saved at softness 0.5 .* layers at 0.9"):
        assert main(["spectrum", "tests.cli.test_models:already_soft", "--checkpoint", str(files[1])]) == 0


def already_soft():
    return soften(sequential(), 0.9)


class Tensors(torch.nn.Module):
    """From tensors to tensors, and no in_type of its own, as most networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = soften(sequential(), 0.5)

    def forward(self, x):
        return self.body(self.body.in_type(x)).tensor


def test_networks_of_plain_tensors_are_certified_by_their_first_layers_type(capsys) -> None:
    assert main(["certify", "tests.cli.test_models:Tensors", *SHAPE]) == 0
    out = capsys.readouterr().out
    assert "input taken as that of body: [C8_on_R2" in out
    assert "relative" in out
    assert main(["certify", "torch.nn:ReLU", *SHAPE]) == 2
    assert "no layer of escnn's" in capsys.readouterr().err
