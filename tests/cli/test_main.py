"""The command line: help, exit codes, and errors of one line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import escnn_soft
from escnn_soft.cli import main
from escnn_soft.cli.settings import Settings, quick
from escnn_soft.errors import ArgumentError


class Recorder:
    """Stands in for the demo: keeps its arguments, and raises what it is given."""

    error: BaseException | None = None
    settings: Settings
    output: Path
    workers: int

    def __call__(self, settings, output, workers):
        self.settings, self.output, self.workers = settings, output, workers
        if self.error is not None:
            raise self.error


@pytest.fixture
def demo(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(importlib.import_module("escnn_soft.cli.demo"), "run", recorder)
    threads = torch.get_num_threads()
    yield recorder
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["demo", "--seeds", "0"], "--seeds: expected a whole number from 1 to 100 but got '0'"),
        (["demo", "--seeds", "two"], "--seeds: expected a whole number from 1 to 100 but got 'two'"),
        (["demo", "--workers", "-1"], "--workers: expected a whole number from 1 to 64 but got '-1'"),
        (["demo", "--images", "301"], "--images: expected a whole number from 1 to 300 but got '301'"),
        (["demo", "--epochs", "1.5"], "--epochs: expected a whole number from 1 to 1000 but got '1.5'"),
        (["demo", "--angle", "181"], "--angle: expected an angle from 0 to 180 degrees but got '181'"),
        (["demo", "--angle", "nan"], "--angle: expected an angle from 0 to 180 degrees but got 'nan'"),
        (["demo", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_command_lines_exit_with_2(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"]])
def test_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "demo" in capsys.readouterr().out


def test_help_of_the_demo_names_options_and_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option in ("--quick", "--output", "--seeds", "--workers", "--angle", "--images", "--epochs"):
        assert option in text
    assert f"(default: {Settings().seeds}, --quick: {quick().seeds})" in text
    assert "(default: demo)" in text


def test_defaults(demo):
    assert main(["demo"]) == 0
    assert (demo.settings, demo.output, demo.workers) == (Settings(), Path("demo"), 2)


def test_options_change_the_settings(demo):
    assert main(["demo", "--quick", "--seeds", "7", "--angle", "90", "--images", "20", "--output", "x"]) == 0
    assert demo.settings == replace(quick(), seeds=7, angle=90.0, images=20)
    assert demo.output == Path("x")


def test_workers_have_one_thread_each(demo):
    assert main(["demo", "--workers", "3"]) == 0
    assert demo.workers == 3
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "escnn-soft: stopped\n"),
        (
            BrokenProcessPool(),
            1,
            "escnn-soft: error: a training process was killed, perhaps for want of memory: try --workers 1\n",
        ),
        (
            ArgumentError("a", 1, "a 2", "Pass 2."),
            2,
            "escnn-soft: error: Expected a 2 but got a=1 (type=int). Pass 2.\n",
        ),
        (
            PermissionError(13, "Permission denied", "out"),
            2,
            "escnn-soft: error: [Errno 13] Permission denied: 'out'\n",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "escnn-soft: error: [Errno 28] No space left on device\n",
        ),
    ],
)
def test_errors_take_one_line(demo, error, code, message, capsys):
    demo.error = error
    assert main(["demo"]) == code
    assert capsys.readouterr().err == message


def test_our_own_bugs_keep_their_traceback(demo):
    demo.error = ModuleNotFoundError("No module named 'escn'", name="escn")
    with pytest.raises(ModuleNotFoundError, match="escn"):
        main(["demo"])


def test_output_that_is_a_file(tmp_path, capsys):
    blocked = tmp_path / "demo"
    blocked.write_text("")
    assert main(["demo", "--output", str(blocked)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("escnn-soft: error: ")
    assert str(blocked) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("missing", ["mlxtend", "matplotlib", "tqdm"])
def test_missing_extra_says_what_to_install(missing, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("escnn_soft.cli.", "escnn_soft.plots"))]:
        if name not in ("escnn_soft.cli.main", "escnn_soft.cli.parser", "escnn_soft.cli.settings"):
            monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert missing in error
    assert error.endswith('pip install matplotlib mlxtend tqdm "numpy<2"\n')
    assert error.count("\n") == 1


def test_runs_as_a_module():
    root = str(Path(escnn_soft.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "escnn_soft", "demo", "--seeds", "0"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "escnn-soft demo: error: argument --seeds" in done.stderr


def test_the_command_line_alone_imports_no_extra():
    root = str(Path(escnn_soft.__file__).parents[1])
    program = "import sys, escnn_soft.cli; print({'mlxtend', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
