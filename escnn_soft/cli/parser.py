"""What every command takes; a command's own module is imported when it runs, so that help and mistakes take no time."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from escnn_soft import __version__
from escnn_soft.cli.arguments import (
    SOFTNESS,
    add_model,
    parse_number,
    parse_setting,
    parse_shape,
    parse_softness,
)
from escnn_soft.cli.settings import CLASS_SIZE, Settings, quick

__all__ = ["FORMATS", "build_parser"]

FORMATS = {
    "safetensors": "the parameters, for this library",
    "export": "torch.export's archive, for torch.export.load",
    "onnx": "ONNX, one file with the weights inside (up to 2 GB)",
    "torchscript": "TorchScript (traced), for torch.jit.load and LibTorch",
}
"""What ``convert`` writes, by the name that ``--to`` takes."""

_DEMO = """Train one small steerable digit classifier strict (softness 0), soft and unconstrained (softness 1), on real
MNIST digits whose rotation symmetry is partly broken, and write a page that compares them. The full run takes about
three minutes on two cores, --quick well under one."""

_SPECTRUM = """Print one line a steerable layer, with the share of its kernel's energy (squared norm) that breaks the
symmetry, and for each soft one the energy of its kernel level by level."""

_CERTIFY = """Without --shape: the certified relative error of each soft layer's weights, for every group element. With
it: a bound for the whole network on a random input. Exits with 1 if something is not covered or --at-most is
exceeded."""

_SOFTEN = """Build an escnn network, load its checkpoint, soften it, and write the soft network's checkpoint. It
computes the same function. In Python: escnn_soft.soften(model, softness)."""

_HARDEN = """Build a soft network, or an escnn network and soften it, load a soft checkpoint, keep the equivariant part,
and write the checkpoint of the escnn network. Prints how much of the kernels' energy (squared norm) is dropped. In
Python: escnn_soft.soft_status(model) tells, before escnn_soft.harden(model) drops it."""

_CONVERT = """Build a network, load its checkpoint, and write it in another format. safetensors holds the network's
own parameters. All other formats hold a program that runs without escnn, made of the plain torch network after
export(); batches may have any size. What was written is read again and has to compute the same on random inputs, or
nothing is kept."""


def build_parser() -> argparse.ArgumentParser:
    """The command line's parser: ``run`` of what it returns is ``module:function``, to be called with the rest."""
    parser = argparse.ArgumentParser(prog="escnn-soft", description="Soft equivariance for escnn.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, module: str, words: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=description)
        command.set_defaults(run=f"escnn_soft.cli.{module}:run_{name}")
        return command

    _demo(add("demo", "demo", "train one classifier along the dial and write a page about it", _DEMO))
    _spectrum(add("spectrum", "inspect", "how the kernels of a network spread over the levels", _SPECTRUM))
    _certify(add("certify", "inspect", "bound the equivariance error of a network", _CERTIFY))
    _soften(add("soften", "conversion", "turn a checkpoint of an escnn network into one of its soft twin", _SOFTEN))
    _harden(add("harden", "conversion", "turn a checkpoint of a soft network into one of escnn's own", _HARDEN))
    words = "write a network as safetensors, or as a program that runs without escnn"
    _convert(add("convert", "conversion", words, _CONVERT))
    return parser


def _demo(demo: argparse.ArgumentParser) -> None:
    full = Settings()
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


def _spectrum(spectrum: argparse.ArgumentParser) -> None:
    add_model(spectrum)
    spectrum.add_argument("--layer", default="*", metavar="NAME", help="only layers of this name or shell pattern")


def _certify(check: argparse.ArgumentParser) -> None:
    add_model(check)
    check.add_argument("--shape", type=parse_shape, metavar="N,C,H,W", help="shape of a random input of the network")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="of the random input (default: %(default)s)")
    limit = "largest relative error that passes (default: any that is covered)"
    positive = parse_number(float, 0, math.inf, "a number >= 0")
    check.add_argument("--at-most", type=positive, default=math.inf, metavar="E", help=limit)


def _soften(soft: argparse.ArgumentParser) -> None:
    add_model(soft, softness=False)
    soft.add_argument("--softness", dest="dial", type=parse_softness, required=True, metavar="S", help=SOFTNESS)
    layer = "softness of one layer, or of those that match a shell pattern; may be repeated"
    soft.add_argument("--per-layer", type=parse_setting, action="append", default=[], metavar="LAYER=S", help=layer)
    _output(soft, "checkpoint to write: .safetensors, or any other name for torch's format")


def _harden(hard: argparse.ArgumentParser) -> None:
    add_model(hard)
    _output(hard, "checkpoint to write: .safetensors, or any other name for torch's format")


def _convert(convert: argparse.ArgumentParser) -> None:
    add_model(convert)
    kinds = "; ".join(f"{name}: {description}" for name, description in FORMATS.items())
    convert.add_argument("--to", choices=list(FORMATS), required=True, help=kinds)
    shape = "shape of an input of the network, for every format but safetensors"
    convert.add_argument("--shape", type=parse_shape, metavar="N,C,H,W", help=shape)
    _output(convert, "file to write")


def _output(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=words)
    parser.add_argument("--force", action="store_true", help="overwrite the file if there is one")


def _whole(low: int, high: int) -> Callable[[str], float]:
    return parse_number(int, low, high, f"a whole number from {low} to {high}")
