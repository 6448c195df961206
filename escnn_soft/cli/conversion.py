"""``escnn-soft soften``, ``harden`` and ``convert``: checkpoints of one kind into another, and into other formats."""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import torch
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.nn import Module

from escnn_soft.cli.exportable import plain
from escnn_soft.cli.formats import PROGRAMS, Program
from escnn_soft.cli.models import (
    UsageError,
    add_model,
    built,
    parse_setting,
    parse_shape,
    parse_softness,
    random_input,
    write,
)
from escnn_soft.convert import harden, soft_status, soften
from escnn_soft.errors import ArgumentError, EscnnSoftError

__all__ = ["add_commands"]

TOLERANCE = 1e-4
"""Largest difference between a written network and the original, relative to the largest output."""

_CONVERT = """Build a network, load its checkpoint, and write it in another format. safetensors holds the network's
own parameters. All other formats hold a program that runs without escnn, made of the plain torch network after
export(); batches may have any size. What was written is read again and has to compute the same on random inputs, or
nothing is kept."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three commands to the parser."""
    soft = commands.add_parser(
        "soften",
        help="turn a checkpoint of an escnn network into one of its soft twin",
        description="""Build an escnn network, load its checkpoint, soften it, and write the soft network's checkpoint.
        It computes the same function. In Python: escnn_soft.soften(model, softness).""",
    )
    add_model(soft, softness=False)
    value = "a number in [0, 1], exponential:S, cutoff:SIGMA or budget:ETA"
    soft.add_argument("--softness", dest="dial", type=parse_softness, required=True, metavar="S", help=value)
    layer = "softness of one layer, or of those that match a shell pattern; may be repeated"
    soft.add_argument("--per-layer", type=parse_setting, action="append", default=[], metavar="LAYER=S", help=layer)
    soft.set_defaults(run=_soften)
    hard = commands.add_parser(
        "harden",
        help="turn a checkpoint of a soft network into one of escnn's own",
        description="""Build a soft network, or an escnn network and soften it, load a soft checkpoint, keep the
        equivariant part, and write the checkpoint of the escnn network. In Python: escnn_soft.harden(model).""",
    )
    add_model(hard)
    hard.set_defaults(run=_harden)
    convert = commands.add_parser(
        "convert",
        help="write a network as safetensors, or as a program that runs without escnn",
        description=_CONVERT,
    )
    add_model(convert)
    formats = "; ".join(f"{name}: {program.description}" for name, program in PROGRAMS.items())
    kinds = f"safetensors: the parameters, for this library; {formats}"
    convert.add_argument("--to", choices=["safetensors", *PROGRAMS], required=True, help=kinds)
    shape = "shape of an input of the network, for every format but safetensors"
    convert.add_argument("--shape", type=parse_shape, metavar="N,C,H,W", help=shape)
    convert.set_defaults(run=_convert)
    checkpoint = "checkpoint to write: .safetensors, or any other name for torch's format"
    for parser, output in ((soft, checkpoint), (hard, checkpoint), (convert, "file to write")):
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=output)
        parser.add_argument("--force", action="store_true", help="overwrite the file if there is one")


def _soften(options: argparse.Namespace) -> int:
    _check_output(options)
    model = built(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = soften(model, options.dial, per_layer=dict(options.per_layer), inplace=True)
    print(soft_status(model))
    for warning in caught:
        print(f"note: {warning.message}")
    write(model, options.output)
    return 0


def _harden(options: argparse.Namespace) -> int:
    if options.softness is None and options.checkpoint is None:
        raise UsageError("give the --checkpoint of a soft network, or --softness")
    _check_output(options)
    if options.softness is None:
        options.softness = parse_softness("0")  # has no part in what is kept
    model = built(options)
    before = soft_status(model)
    model = harden(model, inplace=True)
    print(before)
    write(model, options.output)
    return 0


def _convert(options: argparse.Namespace) -> int:
    _check_output(options)
    if options.to == "safetensors":
        if options.output.suffix != ".safetensors":
            raise UsageError(f"--to safetensors wants a name with that ending, such as {options.output}.safetensors")
        write(built(options), options.output)
        print(f"{options.output}: the network's parameters")
        return 0
    if options.shape is None:
        raise UsageError(f"--to {options.to} needs the --shape of an input, such as 1,3,33,33")
    program = PROGRAMS[options.to]
    program.check()
    model = built(options)
    x = random_input(model, (max(2, options.shape[0]), *options.shape[1:]))  # of a batch of 1, the 1 would be kept
    expected = _answer(model, x)
    draft = options.output.with_name(f".{options.output.name}.part")
    try:
        difference = _written(program, plain(model), x, expected, draft)
        if not difference <= TOLERANCE:
            raise ArgumentError(
                "difference", difference, f"a file that computes the same (up to {TOLERANCE:g})", "Nothing was kept."
            )
        draft.replace(options.output)
    finally:
        draft.unlink(missing_ok=True)
    print(f"{options.output}: differs from the network by {difference:.1e} of its largest output")
    return 0


def _written(program: Program, model: Module, x: Tensor, expected: Tensor, path: Path) -> float:
    """Write a network and read it again: the largest relative difference, on a batch and on its first entry."""
    try:
        program.write(model, x, path)
        function = program.read(path)
        with torch.no_grad():
            pairs = [(function(x), expected), (function(x[:1]), expected[:1])]
    except Exception as error:  # each exporter has its own kinds, which share no base
        first = str(error).strip().partition("\n")[0]
        remedy = "Try another format, or export the network from Python."
        raise ArgumentError("network", type(model).__name__, f"one that can be written so ({first})", remedy) from error
    if any(got.shape != wanted.shape for got, wanted in pairs):
        return math.inf
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return max(float((got - wanted).abs().max()) / scale for got, wanted in pairs)


def _answer(model: Module, x: Tensor) -> Tensor:
    """What a network makes of an input."""
    try:
        with torch.no_grad():
            y = model(model.in_type(x) if isinstance(model, EquivariantModule) else x)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, EscnnSoftError) as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(f"the network does not take an input of this --shape: {first}") from error
    y = getattr(y, "tensor", y)
    if not isinstance(y, Tensor):
        raise ArgumentError("output", type(y).__name__, "a network that returns one tensor", "Wrap it in one.")
    return y


def _check_output(options: argparse.Namespace) -> None:
    """Refuse to overwrite a file, before anything is built."""
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise UsageError(f"--output {options.output} is no file in an existing folder")
    if options.output.exists() and not options.force:
        raise UsageError(f"{options.output} exists: --force overwrites it")
