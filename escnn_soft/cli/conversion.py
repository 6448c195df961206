"""``escnn-soft soften``, ``harden`` and ``convert``: checkpoints of one kind into another, and into other formats."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from escnn_soft.checkpoints import read_config
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
from escnn_soft.export import PROGRAMS, save_program

__all__ = ["add_commands"]

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
    if options.softness is None and read_config(options.checkpoint) is None:
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
    PROGRAMS[options.to].check()  # before anything is built
    model = built(options)
    x = random_input(model, (max(2, options.shape[0]), *options.shape[1:]))  # of a batch of 1, the 1 would be kept
    difference = save_program(model, x, options.output, options.to)
    print(f"{options.output}: differs from the network by {difference:.1e} of its largest output")
    return 0


def _check_output(options: argparse.Namespace) -> None:
    """Refuse to overwrite a file, before anything is built."""
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise UsageError(f"--output {options.output} is no file in an existing folder")
    if options.output.exists() and not options.force:
        raise UsageError(f"{options.output} exists: --force overwrites it")
