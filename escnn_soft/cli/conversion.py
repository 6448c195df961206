"""``escnn-soft soften`` and ``escnn-soft harden``: checkpoints of hard networks into soft ones' and back."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from escnn_soft.cli.models import UsageError, add_model, built, parse_setting, parse_softness, write
from escnn_soft.convert import harden, soft_status, soften

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands to the parser."""
    soft = commands.add_parser(
        "soften",
        help="turn a checkpoint of an escnn network into one of its soft twin",
        description="""Build an escnn network, load its checkpoint, soften it, and write the soft network's checkpoint.
        It computes the same function. In Python: escnn_soft.soften(model, softness).""",
    )
    add_model(soft, softness=False)
    value = "a number in [0, 1], cutoff:SIGMA or budget:ETA"
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
    for parser in (soft, hard):
        output = "checkpoint to write: .safetensors, or any other name for torch's format"
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=output)


def _soften(options: argparse.Namespace) -> int:
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
    if options.softness is None:
        options.softness = parse_softness("0")  # has no part in what is kept
    model = built(options)
    before = soft_status(model)
    model = harden(model, inplace=True)
    print(before)
    write(model, options.output)
    return 0
