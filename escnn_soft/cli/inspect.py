"""``escnn-soft spectrum`` and ``escnn-soft certify``."""

from __future__ import annotations

import argparse
import math
from fnmatch import fnmatchcase

from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.certification import certify
from escnn_soft.cli.models import UsageError, add_model, built, parse_number, parse_shape, random_input
from escnn_soft.convert import soft_status
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, dials

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands to the parser."""
    spectrum = commands.add_parser(
        "spectrum",
        help="how the kernels of a network spread over the levels",
        description="Print one line a steerable layer, and for each soft one the energy of its kernel level by level.",
    )
    add_model(spectrum)
    spectrum.add_argument("--layer", default="*", metavar="NAME", help="only layers of this name or shell pattern")
    spectrum.set_defaults(run=_spectrum)
    check = commands.add_parser(
        "certify",
        help="bound the equivariance error of a network",
        description="""Without --shape: the certified relative error of each soft layer's weights, for every group
        element. With it: a bound for the whole network on a random input. Exits with 1 if something is not covered or
        --at-most is exceeded.""",
    )
    add_model(check)
    check.add_argument("--shape", type=parse_shape, metavar="N,C,H,W", help="shape of a random input of the network")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="of the random input (default: %(default)s)")
    limit = "largest relative error that passes (default: any that is covered)"
    check.add_argument(
        "--at-most", type=parse_number(float, 0, math.inf, "a number >= 0"), default=math.inf, metavar="E", help=limit
    )
    check.set_defaults(run=_certify)


def _spectrum(options: argparse.Namespace) -> int:
    model = built(options)
    chosen = {name: dial for name, dial in dials(model).items() if fnmatchcase(name, options.layer)}
    if options.layer != "*" and not chosen:
        raise UsageError(f"the network has no soft layer {options.layer!r}")
    print(soft_status(model))
    for name, dial in chosen.items():
        print(f"\n{name or '(root)'}\n{dial.spectrum()!r}")
    return 0


def _certify(options: argparse.Namespace) -> int:
    model = built(options)
    if options.shape is None:
        layers = dials(model)
        if not layers:
            raise UsageError("the network has no soft layer: give --softness, or --shape for the whole network")
        worst = max(_error(name or "(root)", dial) for name, dial in layers.items())
    else:
        result = certify(model, _input(model, options.shape, options.seed))
        print(result)
        worst = result.relative if result.certified else math.inf
    if worst <= options.at_most and math.isfinite(worst):
        return 0
    print(f"failed: {worst:.3g} > {options.at_most:g}" if math.isfinite(worst) else "failed: not covered")
    return 1


def _input(model: Module, shape: tuple[int, ...], seed: int) -> Tensor | GeometricTensor:
    """A random input of the network, with its field type if it has one."""
    x = random_input(model, shape, seed)
    return model.in_type(x) if isinstance(model, EquivariantModule) else x


def _error(name: str, dial: Dialled) -> float:
    """The certified relative error of a dial's weights, printed; infinite where there is none."""
    try:
        error = dial.certificate().relative.sup
    except ArgumentError as reason:
        print(f"{name}: not covered: {reason}")
        return math.inf
    print(f"{name}: relative error at most {error:.3g}")
    return error
