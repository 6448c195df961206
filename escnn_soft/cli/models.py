"""Models named on the command line: a factory, a softness, a checkpoint. No file is ever unpickled."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.checkpoints import fill, load_softness, read_config, read_state, softness_config, write_state
from escnn_soft.cli.arguments import UsageError
from escnn_soft.convert import set_softness, soften
from escnn_soft.dial import Budget, Cutoff, Exponential, Policy, as_policy
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import dials

__all__ = [
    "answer",
    "built",
    "network_input",
    "policy",
    "random_input",
    "write",
]

_TRACE = "Call it in Python to see where"


def built(options: argparse.Namespace, softness: tuple[str, float] | None = None) -> Module:
    """The network that the command line names, in evaluation mode.

    Args:
        options: what :func:`add_model` parsed.
        softness: at which a hard network is softened where neither the command line nor the checkpoint says it.

    Returns:
        The network, softened if asked for, with the checkpoint's parameters if there is one.

    Raises:
        UsageError: if there is no such function or it fails, or the checkpoint cannot be read.
        ArgumentError: if it returns no module, or the checkpoint does not fit.
        ModuleNotFoundError: if the checkpoint's format needs a package that is not installed.
    """
    model = _made(*options.model)
    asked = getattr(options, "softness", None)
    state, said = (None, None) if options.checkpoint is None else _read(options.checkpoint)
    if said is not None:  # it goes first: the file's numbers mean nothing at another softness
        load_softness(model, said)
    elif (first := softness if asked is None else asked) is not None and not dials(model):
        model = soften(model, policy(first))
    if state is not None:
        fill(model, state, options.checkpoint)
    if asked is not None:
        set_softness(model, policy(asked))
    with torch.no_grad():  # escnn's own layers would keep their expanded kernels with the graph
        return model.eval()


def policy(softness: tuple[str, float]) -> Policy:
    """The policy of a kind and a number, as the command line has them."""
    kinds: dict[str, Callable[[float], Policy]] = {
        "": as_policy,
        "exponential": Exponential,
        "cutoff": Cutoff,
        "budget": Budget,
    }
    kind, number = softness
    return kinds[kind](number)


def _made(module: str, function: str) -> Module:
    """What a function of the user's returns, which may fail in any way: ``UsageError`` says how, in one line."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    name = f"{module}:{function}"
    try:
        factory: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module + ".").startswith(error.name + "."):
            hint = f": write {module.removesuffix('.py')}:{function}" if module.endswith(".py") else ""
            raise UsageError(f"there is no module {module!r}{hint}") from None
        raise UsageError(f"module {module!r} needs {error.name}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"module {module!r} cannot be imported: {_words(error)}. {_TRACE}") from error
    try:
        for part in function.split("."):
            factory = getattr(factory, part)
    except AttributeError:
        raise UsageError(f"module {module!r} has no function {function!r}") from None
    try:
        model = factory() if callable(factory) and not isinstance(factory, Module) else factory
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name}() fails: {_words(error)}. {_TRACE}") from error
    if not isinstance(model, Module):
        raise ArgumentError(f"{name}()", model, "a torch module", "Return the network from the function.")
    return model


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors of a checkpoint and the softness it names; ``UsageError`` if it cannot be read."""
    try:
        return read_state(path), read_config(path)
    except OSError as error:
        raise UsageError(f"cannot read --checkpoint {path}: {error.strerror or error}") from error


def _words(error: BaseException) -> str:
    """An error's class and the first line of what it says."""
    first = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first[:300]}" if first else type(error).__name__


def random_input(model: Module, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal numbers in the parameters' dtype; ``UsageError`` if the field type has other channels."""
    if isinstance(model, EquivariantModule) and (len(shape) < 2 or shape[1] != model.in_type.size):
        size = model.in_type.size
        raise UsageError(f"the network's inputs have {size} channels: --shape N,{size},...")
    dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network_input(model: Module, x: Tensor) -> Tensor | GeometricTensor:
    """A tensor as the network takes it: with its field type, if it has one."""
    return model.in_type(x) if isinstance(model, EquivariantModule) else x


def answer(model: Module, x: Tensor) -> Tensor:
    """What a network makes of an input; ``UsageError`` if it cannot take it, ``ArgumentError`` if it is no tensor."""
    try:
        with torch.no_grad():
            y = model(network_input(model, x))
    except Exception as error:
        raise UsageError(f"the network does not take an input of this --shape: {_words(error)}") from error
    y = getattr(y, "tensor", y)
    if not isinstance(y, Tensor):
        raise ArgumentError("output", y, "a network that returns one tensor", "Wrap it in one.")
    return y


def write(model: Module, path: Path) -> None:
    """Save a model's state as .safetensors, its softness beside it, or in torch's own format, which has no room."""
    said = softness_config(model) if path.suffix == ".safetensors" and dials(model) else None
    write_state(model.state_dict(), path, said)
