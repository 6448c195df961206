"""Arguments, exit codes and one-line errors."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import torch

from escnn_soft.cli import conversion, inspect
from escnn_soft.cli.models import UsageError, parse_number
from escnn_soft.cli.settings import CLASS_SIZE, Settings, quick
from escnn_soft.errors import EscnnSoftError

__all__ = ["build_parser", "main"]

_EXTRAS = ("matplotlib", "mlxtend", "tqdm")
"""What the demo needs beyond the library's own dependencies."""

_PACKAGES = ("safetensors", "onnx", "onnxscript", "onnxruntime")
"""What some formats need beyond them."""

_DEMO = """Train one small steerable digit classifier strict (softness 0), soft and unconstrained (softness 1), on real
MNIST digits whose rotation symmetry is partly broken, and write a page that compares them. The full run takes about
three minutes on two cores, --quick well under one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: words of the command line; those of the process by default.

    Returns:
        0; 1 after a failed check, or for want of a package or of memory; 2 if what the command line names does not
        exist, cannot be read or does not fit; 130 after Ctrl-C. A wrong command line exits with 2 by itself,
        ``--help`` with 0.

    Raises:
        ModuleNotFoundError: if something is missing that is neither one of the demo's extras nor a format's package.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except UsageError as error:
        return _fail(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except ModuleNotFoundError as error:
        if error.name in _PACKAGES:
            return _fail(f"this format needs {error.name}, which is not installed: pip install {error.name}")
        if options.command != "demo" or (error.name or "").partition(".")[0] not in _EXTRAS:
            raise
        return _fail(f"the demo needs {error.name}, which is not installed: pip install {' '.join(_EXTRAS)}")
    except BrokenProcessPool:
        return _fail("a training process was killed, perhaps for want of memory: try --workers 1")
    except (EscnnSoftError, OSError) as error:
        return _fail(f"error: {error}", 2)


def build_parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    parser = argparse.ArgumentParser(prog="escnn-soft", description="Soft equivariance for escnn.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    full = Settings()
    demo = commands.add_parser(
        "demo",
        help="train one classifier along the dial and write a page about it",
        description=_DEMO,
    )
    add = demo.add_argument
    add("--quick", action="store_true", help="fewer stops, seeds and epochs; noisier")
    add("--output", type=Path, default=Path("demo"), metavar="DIR", help="folder to write to (default: %(default)s)")
    seeds = f"repetitions with other splits and first weights (default: {full.seeds}, --quick: {quick().seeds})"
    add("--seeds", type=_whole(1, 100), default=argparse.SUPPRESS, metavar="N", help=seeds)
    workers = "trainings at the same time, one thread each (default: %(default)s)"
    add("--workers", type=_whole(1, 64), default=2, metavar="N", help=workers)
    task = demo.add_argument_group("the task, for those who want another")
    degrees = parse_number(float, 0, 180, "an angle from 0 to 180 degrees")
    angle = "digits are turned by up to A degrees either way (default: %(default)g)"
    task.add_argument("--angle", type=degrees, default=full.angle, metavar="A", help=angle)
    most = CLASS_SIZE - full.tests
    images = f"training images of each digit, up to {most} (default: %(default)s)"
    task.add_argument("--images", type=_whole(1, most), default=full.images, metavar="N", help=images)
    epochs = f"passes over the training images (default: {full.epochs}, --quick: {quick().epochs})"
    task.add_argument("--epochs", type=_whole(1, 1000), default=argparse.SUPPRESS, metavar="N", help=epochs)
    demo.set_defaults(run=_demo)
    inspect.add_commands(commands)
    conversion.add_commands(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    base = quick() if options.quick else Settings()
    given = {name: getattr(options, name) for name in ("seeds", "angle", "images", "epochs") if hasattr(options, name)}
    torch.set_num_threads(1)  # on layers this small a second thread costs more than it brings
    # only now: this pulls in matplotlib, mlxtend and tqdm, which are an extra
    importlib.import_module("escnn_soft.cli.demo").run(replace(base, **given), options.output, options.workers)
    return 0


def _fail(message: str, code: int = 1) -> int:
    print(f"escnn-soft: error: {message}" if code == 1 else f"escnn-soft: {message}", file=sys.stderr)
    return code


def _whole(low: int, high: int) -> Callable[[str], float]:
    return parse_number(int, low, high, f"a whole number from {low} to {high}")
