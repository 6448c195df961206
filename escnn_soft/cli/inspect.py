"""``escnn-soft spectrum`` and ``escnn-soft certify``."""

from __future__ import annotations

import argparse
import math
from fnmatch import fnmatchcase

from escnn.nn import EquivariantModule, FieldType
from torch.nn import Module

from escnn_soft.certification import certify
from escnn_soft.cli.arguments import UsageError
from escnn_soft.cli.models import answer, built, network_input, random_input
from escnn_soft.convert import soft_status
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, dials

__all__ = ["run_certify", "run_spectrum"]


def run_spectrum(options: argparse.Namespace) -> int:
    """Print the status of the layers, and the levels of the soft ones."""
    model = built(options)
    chosen = {name: dial for name, dial in dials(model).items() if fnmatchcase(name, options.layer)}
    if options.layer != "*" and not chosen:
        raise UsageError(f"the network has no soft layer {options.layer!r}")
    print(soft_status(model))
    for name, dial in chosen.items():
        print(f"\n{name or '(root)'}\n{dial.spectrum()!r}")
    return 0


def run_certify(options: argparse.Namespace) -> int:
    """Print bounds; 1 if one is missing or too large."""
    model = built(options)
    if options.shape is None:
        layers = dials(model)
        if not layers:
            raise UsageError("the network has no soft layer: give --softness, or --shape for the whole network")
        worst = max(_error(name or "(root)", dial) for name, dial in layers.items())
    else:
        x = random_input(model, options.shape, options.seed)
        answer(model, x)  # whatever goes wrong here is the network's, or the shape's
        result = certify(model, network_input(model, x), in_type=_in_type(model))
        print(result)
        worst = result.relative if result.certified else math.inf
    if worst <= options.at_most and math.isfinite(worst):
        return 0
    print(f"failed: {worst:.3g} > {options.at_most:g}" if math.isfinite(worst) else "failed: not covered")
    return 1


def _in_type(model: Module) -> FieldType | None:
    """The type of a plain tensor that goes into a network: that of its first escnn layer, which is printed."""
    if isinstance(model, EquivariantModule):
        return None
    first = next(((name, part) for name, part in model.named_modules() if isinstance(part, EquivariantModule)), None)
    if first is None:
        raise UsageError("the network has no layer of escnn's, which would tell the types of its channels")
    name, layer = first
    print(f"input taken as that of {name}: {layer.in_type}")
    in_type: FieldType = layer.in_type
    return in_type


def _error(name: str, dial: Dialled) -> float:
    """The certified relative error of a dial's weights, printed; infinite where there is none."""
    try:
        error = dial.certificate().relative.sup
    except ArgumentError as reason:
        print(f"{name}: not covered: {reason}")
        return math.inf
    print(f"{name}: relative error at most {error:.3g}")
    return error
