"""Models named on the command line: a factory, a softness, a checkpoint. No file is ever unpickled."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import torch
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.nn import Module

from escnn_soft.convert import soften
from escnn_soft.dial import Budget, Cutoff, Exponential, Policy, as_policy
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.layers import SoftLayer

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
    "read",
    "write",
]

_REMEDY = "Write it with safetensors.torch.save_file, or torch.save(model.state_dict(), file)."


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
    if softness is not None and not any(isinstance(layer, SoftLayer) for layer in model.modules()):
        model = soften(model, softness)
    if options.checkpoint is not None:
        _load(model, options.checkpoint)
    with torch.no_grad():  # escnn's own layers would keep their expanded kernels with the graph
        return model.eval()


def random_input(model: Module, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal numbers in the parameters' dtype; ``UsageError`` if the field type has other channels."""
    if isinstance(model, EquivariantModule) and (len(shape) < 2 or shape[1] != model.in_type.size):
        size = model.in_type.size
        raise UsageError(f"the network's inputs have {size} channels: --shape N,{size},...")
    dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; files that would run code are refused with an ``ArgumentError``."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ArgumentError("checkpoint", str(path), f"a safetensors file ({error})", _REMEDY) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError):
        expected = "a file of tensors only (anything else could run code when it is read)"
        raise ArgumentError("checkpoint", str(path), expected, _REMEDY) from None
    if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
        raise ArgumentError("checkpoint", str(path), "a state_dict", _REMEDY)
    return state


def write(model: Module, path: Path) -> None:
    """Save a model's state as .safetensors, or else in torch's own format; shared tensors once for each layer."""
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)


def _load(model: Module, path: Path) -> None:
    try:
        model.load_state_dict(read(path))
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        remedy = "Name the function that built it, and its --softness if it is a soft network's."
        raise ArgumentError("checkpoint", str(path), f"the network's parameters ({lines[:300]})", remedy) from None
