"""Models named on the command line: a factory, a softness, a checkpoint. No file is ever unpickled."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.nn import Module

from escnn_soft.checkpoints import fill, load_softness, read_config, read_state, softness_config, write_state
from escnn_soft.convert import set_softness, soften
from escnn_soft.dial import Budget, Cutoff, Exponential, Policy, as_policy
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.layers import dials

__all__ = [
    "UsageError",
    "add_model",
    "built",
    "parse_factory",
    "parse_number",
    "parse_setting",
    "parse_shape",
    "parse_softness",
    "random_input",
    "write",
]


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def add_model(parser: argparse.ArgumentParser, *, softness: bool = True) -> None:
    """Give a command the arguments that name a model."""
    model = "function that builds the network, e.g. mypackage.nets:resnet; the current folder is searched first"
    parser.add_argument("model", metavar="MODULE:FUNCTION", type=parse_factory, help=model)
    checkpoint = "parameters to load: .safetensors, or a torch file that holds tensors only"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=checkpoint)
    if softness:
        soft = "soften the network before loading: a number in [0, 1], exponential:S, cutoff:SIGMA or budget:ETA"
        parser.add_argument("--softness", type=parse_softness, metavar="S", help=soft)


def parse_factory(text: str) -> tuple[str, str]:
    """An argparse type: the module and the function in ``module:function``."""
    module, colon, function = text.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), *function.split(".")])):
        raise argparse.ArgumentTypeError(f"expected module:function but got {text!r}")
    return module, function


def parse_softness(text: str) -> Policy:
    """An argparse type: a softness."""
    kinds: dict[str, Callable[[float], Policy]] = {
        "": as_policy,
        "exponential": Exponential,
        "cutoff": Cutoff,
        "budget": Budget,
    }
    kind, _, value = text.rpartition(":")
    try:
        return kinds[kind](float(value))
    except (KeyError, ValueError, EscnnSoftError):
        expected = "a number in [0, 1], exponential:S, cutoff:SIGMA or budget:ETA"
        raise argparse.ArgumentTypeError(f"expected {expected} but got {text!r}") from None


def parse_setting(text: str) -> tuple[str, Policy]:
    """An argparse type: a layer and its softness."""
    name, equals, softness = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected LAYER=SOFTNESS but got {text!r}")
    return name, parse_softness(softness)


def parse_number(kind: Callable[[str], float], low: float, high: float, expected: str) -> Callable[[str], float]:
    """An argparse type: a number of a kind in [low, high]."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected {expected} but got {text!r}")
        return value

    return parse


def parse_shape(text: str) -> tuple[int, ...]:
    """An argparse type: positive whole numbers with commas between."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected positive whole numbers such as 1,3,33,33 but got {text!r}")
    return tuple(int(part) for part in parts)


def built(options: argparse.Namespace) -> Module:
    """The network that the command line names, in evaluation mode.

    Args:
        options: what :func:`add_model` parsed.

    Returns:
        The network, softened if asked for, with the checkpoint's parameters if there is one.

    Raises:
        UsageError: if there is no such function.
        ArgumentError: if it returns no module, or the checkpoint does not fit.
        ModuleNotFoundError: if the function's module needs another that is not installed.
    """
    module, function = options.model
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        factory = importlib.import_module(module)
        for part in function.split("."):
            factory = getattr(factory, part)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise  # the module is there; something that it needs is missing
        raise UsageError(f"there is no module {module!r}") from None
    except AttributeError:
        raise UsageError(f"module {module!r} has no function {function!r}") from None
    model = factory() if callable(factory) else factory
    if not isinstance(model, Module):
        raise ArgumentError(f"{module}:{function}()", model, "a torch module", "Return the network from the function.")
    softness = getattr(options, "softness", None)
    # what the file says of its softness goes first: its numbers mean nothing at another one
    said = None if options.checkpoint is None else read_config(options.checkpoint)
    if softness is not None and said is None and not dials(model):
        model = soften(model, softness)
    if options.checkpoint is not None:
        state = read_state(options.checkpoint)
        if said is not None:
            load_softness(model, said)
        fill(model, state, options.checkpoint)
    if softness is not None and said is not None:
        set_softness(model, softness)
    with torch.no_grad():  # escnn's own layers would keep their expanded kernels with the graph
        return model.eval()


def random_input(model: Module, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal numbers in the parameters' dtype; ``UsageError`` if the field type has other channels."""
    if isinstance(model, EquivariantModule) and (len(shape) < 2 or shape[1] != model.in_type.size):
        size = model.in_type.size
        raise UsageError(f"the network's inputs have {size} channels: --shape N,{size},...")
    dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def write(model: Module, path: Path) -> None:
    """Save a model's state as .safetensors, its softness beside it, or in torch's own format, which has no room."""
    said = softness_config(model) if path.suffix == ".safetensors" and dials(model) else None
    write_state(model.state_dict(), path, said)
