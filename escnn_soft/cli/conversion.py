"""``escnn-soft soften``, ``harden`` and ``convert``: checkpoints of one kind into another, and into other formats."""

from __future__ import annotations

import argparse
import math
import os
import warnings

from torch.nn import Module

from escnn_soft.checkpoints import read_config
from escnn_soft.cli.arguments import UsageError
from escnn_soft.cli.models import answer, built, policy, random_input, write
from escnn_soft.convert import harden, soft_status, soften
from escnn_soft.export import PROGRAMS, save_program
from escnn_soft.layers import dials

__all__ = ["run_convert", "run_harden", "run_soften"]


def run_soften(options: argparse.Namespace) -> int:
    """Write the checkpoint of a soft network."""
    _check_output(options)
    model = built(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        settings = {name: policy(softness) for name, softness in options.per_layer}
        model = soften(model, policy(options.dial), per_layer=settings, inplace=True)
    print(soft_status(model))
    for warning in caught:
        print(f"note: {warning.message}")
    write(model, options.output)
    if options.output.suffix != ".safetensors":
        print(f"note: {options.output} holds no softness: give --softness when it is read, or write .safetensors")
    return 0


def run_harden(options: argparse.Namespace) -> int:
    """Write the checkpoint of escnn's network, and print what it leaves out."""
    if options.softness is None and options.checkpoint is None:
        raise UsageError("give the --checkpoint of a soft network, or --softness")
    _check_output(options)
    told = options.softness is not None or read_config(options.checkpoint) is not None
    with warnings.catch_warnings():
        if not told:  # the softness of the file has no part in what is kept
            warnings.filterwarnings("ignore", "This state was saved at softness")
        model = built(options, ("", 0.0))
    print(soft_status(model))
    if told or any(dial.softness != 0.0 for dial in dials(model).values()):
        share, breaking = _dropped(model)
        print(f"dropped: {share:.2%} of the energy (squared norm) of the kernels, {math.sqrt(share):.2%} of their norm")
        print(f"of it {breaking:.2%} breaks the symmetry; the rest is symmetric, but beyond escnn's basis")
    else:
        print("dropped: how much depends on the softness of training, give it as --softness to see it")
    model = harden(model, inplace=True)
    write(model, options.output)
    return 0


def _dropped(model: Module) -> tuple[float, float]:
    """Shares of the energy of the kernels: that escnn's own basis does not hold, and that breaks the symmetry."""
    spectra = [dial.spectrum() for dial in dials(model).values()]
    energy, breaking = (sum(getattr(spectrum, name) for spectrum in spectra) for name in ("energy", "breaking"))
    kept = sum(level.energy for spectrum in spectra for level in spectrum.levels if level.equivariant)
    return (min(max(1 - kept / energy, 0.0), 1.0), breaking / energy) if energy > 0 else (0.0, 0.0)


def run_convert(options: argparse.Namespace) -> int:
    """Write a network in another format, if it then computes the same."""
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
    answer(model, x)  # whatever goes wrong here is the network's, or the shape's
    difference = save_program(model, x, options.output, options.to)
    print(f"{options.output}: differs from the network by {difference:.1e} of its largest output")
    return 0


def _check_output(options: argparse.Namespace) -> None:
    """Refuse to overwrite a file, before anything is built."""
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise UsageError(f"--output {options.output} is no file in an existing folder")
    if options.output.exists() and not options.force:
        raise UsageError(f"{options.output} exists: --force overwrites it")
    if not os.access(options.output if options.output.exists() else options.output.parent, os.W_OK):
        raise UsageError(f"--output {options.output} may not be written: permission denied")
