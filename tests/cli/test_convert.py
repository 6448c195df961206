"""``escnn-soft convert``: other formats, checked against the network that they come from."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from escnn import nn

from escnn_soft import soften
from escnn_soft.checkpoints import read_state as read
from escnn_soft.cli import main
from escnn_soft.cli.models import write
from escnn_soft.export import PROGRAMS
from tests.convert.models import HIDDEN, IMAGE, PICTURES, Classifier, output, randomised, sequential
from tests.disturbance import disturb
from tests.processes import run

NETS = "tests.cli.test_convert"
SHAPE = ["--shape", "1,3,9,9"]


def soft():
    return disturb(soften(sequential(), 0.5), generator=torch.Generator().manual_seed(0))


def classifier():
    return disturb(soften(Classifier(), 0.5), generator=torch.Generator().manual_seed(0))


def reflecting():
    """A hard layer whose padding mode escnn's own export forgets."""
    return randomised(nn.SequentialModule(nn.R2Conv(IMAGE, HIDDEN, 3, padding=1, padding_mode="circular")))


def double():
    return soft().double()


class Steps(torch.nn.Module):
    """Its control flow depends on the numbers: no single graph."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(9, 9)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else x


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


def needs(to: str) -> None:
    for package in PROGRAMS[to].packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


BUILDS = (soft, classifier, sequential, Classifier, reflecting)


@pytest.mark.parametrize(
    ("to", "build"),
    [(to, build) for to in PROGRAMS for build in BUILDS] + [("export", double), ("torchscript", double)],
)
def test_programs_compute_what_the_network_computes(to, build, tmp_path, capsys) -> None:
    needs(to)
    target = tmp_path / "net"
    assert main(["convert", f"{NETS}:{build.__name__}", "--to", to, *SHAPE, "--output", str(target)]) == 0
    assert f"{target}: differs from the network by" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [target]
    model = build().eval()
    x = torch.cat([PICTURES, PICTURES.flip(0), PICTURES]).to(next(model.parameters()))  # another batch size
    with torch.no_grad():
        assert (PROGRAMS[to].read(target)(x) - output(model, x)).abs().max() < 1e-5


@pytest.mark.parametrize("to", PROGRAMS)
def test_programs_hold_the_checkpoints_parameters(to, tmp_path) -> None:
    needs(to)
    model = disturb(soften(sequential(), 0.5), scale=1.0)
    write(model, tmp_path / "soft.pt")
    words = ["--checkpoint", str(tmp_path / "soft.pt"), "--softness", "0.5", "--to", to, *SHAPE]
    target = tmp_path / "net"
    assert main(["convert", f"{NETS}:sequential", *words, "--output", str(target)]) == 0
    with torch.no_grad():
        assert (PROGRAMS[to].read(target)(PICTURES) - output(model.eval())).abs().max() < 1e-5


def test_a_torch_checkpoint_becomes_safetensors(tmp_path, capsys) -> None:
    model, target = disturb(soften(sequential(), 0.5), scale=1.0), tmp_path / "net.safetensors"
    torch.save(model.state_dict(), tmp_path / "net.pt")
    words = ["--softness", "0.5", "--checkpoint", str(tmp_path / "net.pt"), "--to", "safetensors"]
    assert main(["convert", f"{NETS}:sequential", *words, "--output", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    twin = soften(sequential(), 0.5)
    twin.load_state_dict(read(target))
    assert torch.equal(output(twin), output(model))


def test_runs_in_a_process_of_its_own(tmp_path) -> None:
    target = tmp_path / "net.ts"
    words = ["--to", "torchscript", *SHAPE, "--output", str(target)]
    assert "differs from the network by" in run("-m", "escnn_soft", "convert", f"{NETS}:soft", *words)
    program = (
        f"import sys, torch; torch.jit.load({str(target)!r})(torch.zeros(4, 3, 9, 9)); print('escnn' in sys.modules)"
    )
    alone = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert alone.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["soften", "harden", "convert"])
def test_files_are_not_overwritten_without_force(command, tmp_path, capsys) -> None:
    target = tmp_path / "net"
    target.write_text("mine")
    words = {"soften": ["--softness", "0.5"], "harden": ["--softness", "0.5"], "convert": ["--to", "export", *SHAPE]}
    command_line = [command, f"{NETS}:sequential", *words[command], "--output", str(target)]
    assert main(command_line) == 2
    assert f"{target} exists: --force overwrites it" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert main([*command_line, "--force"]) == 0
    assert target.read_bytes() != b"mine"


def test_a_program_that_computes_something_else_is_not_kept(tmp_path, monkeypatch, capsys) -> None:
    target = tmp_path / "net.pt2"
    target.write_text("mine")
    monkeypatch.setattr(PROGRAMS["export"], "read", lambda path: lambda x: torch.zeros_like(output(soft().eval(), x)))
    words = ["--to", "export", *SHAPE, "--output", str(target), "--force"]
    assert main(["convert", f"{NETS}:soft", *words]) == 2
    assert "a file that computes the same" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_onnx_in_double_precision_is_refused_by_its_runtime(tmp_path, capsys) -> None:
    needs("onnx")
    assert main(["convert", f"{NETS}:double", "--to", "onnx", *SHAPE, "--output", str(tmp_path / "net")]) == 2
    assert "a network that can be written so ([ONNXRuntimeError]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_without_a_graph_is_refused(tmp_path, capsys) -> None:
    target = tmp_path / "net"
    words = ["--to", "export", *SHAPE, "--output", str(target)]
    assert main(["convert", f"{NETS}:Steps", *words]) == 2
    error = capsys.readouterr().err
    assert "a network that can be written so" in error
    assert error.count("\n") == 1
    assert main(["convert", f"{NETS}:Pair", *words]) == 2
    assert "a network that returns one tensor" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: --to, --output"),
        (["--to", "keras", "--output", "x"], "invalid choice: 'keras'"),
        (["--to", "onnx", "--output", "x"], "--to onnx needs the --shape of an input, such as 1,3,33,33"),
        (["--to", "safetensors", "--output", "x"], "a name with that ending, such as x.safetensors"),
        (["--to", "export", *SHAPE, "--output", "none/x"], "--output none/x is no file in an existing folder"),
        (["--to", "export", *SHAPE, "--output", "."], "--output . is no file in an existing folder"),
        (["--to", "export", "--shape", "1,4,9,9", "--output", "x"], "inputs have 3 channels: --shape N,3,..."),
        (["--to", "export", "--shape", "1,3,9", "--output", "x"], "does not take an input of this --shape: "),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["convert", f"{NETS}:soft", *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named_before_anything_is_built(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, sys)
    assert main(["convert", "no.module:net", "--to", "onnx", *SHAPE, "--output", str(tmp_path / "x")]) == 1
    assert "needs onnxruntime, which is not installed: pip install onnxruntime" in capsys.readouterr().err
