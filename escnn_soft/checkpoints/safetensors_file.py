"""Softened models as one safetensors file: the tensors, and beside them what they mean."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft._drafts import whole_file
from escnn_soft.checkpoints.load_softness import load_softness
from escnn_soft.checkpoints.softness_config import read_tables, softness_config
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftnessScheduler, dials

__all__ = ["fill", "load_softened", "read_config", "read_state", "save_softened", "write_state"]

AnyModule = TypeVar("AnyModule", bound=Module)

_KEY = "escnn_soft"
"""Where in the file's metadata the configuration stands."""

_REMEDY = "Write it with save_softened(model, path), or torch.save(model.state_dict(), path)."


def save_softened(
    model: Module, path: str | PathLike[str], scheduler: SoftnessScheduler | None = None
) -> dict[str, Any]:
    """Write a model's state and softness into one safetensors file.

    The file holds the ``state_dict`` and, in its metadata, what :func:`softness_config` says. It is read by
    :func:`load_softened`, by the command line (``--checkpoint``), and by anything that reads safetensors. A file that
    is there is replaced once the new one is complete.

    Args:
        model: any module; softened or not.
        path: of the file, ``.safetensors``.
        scheduler: whose schedule and step to keep too.

    Returns:
        The configuration that was written.

    Raises:
        ArgumentError: if the path has another ending, its folder is not there, or the softness cannot be written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import load_softened, soften
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> soft = soften(nn.R2Conv(field, field, 3), 0.3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_softened(soft, f"{folder}/model.safetensors")
        ...     again = load_softened(f"{folder}/model.safetensors", nn.R2Conv(field, field, 3))
        >>> again.softness, bool((again.soft_weights == soft.soft_weights).all())
        (0.3, True)
    """
    instance("model", model, Module, "Pass the model that is to be kept.")
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ArgumentError("path", str(path), "a name that ends in .safetensors", "Add the ending.")
    config = softness_config(model, scheduler)
    write_state(model.state_dict(), path, config)
    return config


def load_softened(path: str | PathLike[str], model: AnyModule, config: Mapping[str, Any] | None = None) -> AnyModule:
    """Give a model the softness and the parameters that :func:`save_softened` wrote, in place.

    Nothing is unpickled: a file can hold numbers and JSON, and no code.

    Args:
        path: of the file.
        model: as your code builds it, soft or not, see :func:`load_softness`.
        config: the softness, for a file that holds none, as the ``save_pretrained`` of other libraries writes it.

    Returns:
        The model itself, in the mode it had.

    Raises:
        ArgumentError: if the file is none, or its softness or parameters are those of another model. The model's
            parameters are as they were then, and its softness too, unless only the parameters did not fit.
        OSError: if there is no such file.
    """
    instance("model", model, Module, "Pass the model that the file was written for.")
    state, own = read_state(path), read_config(path)
    if config is not None and own is not None and config != own:
        text = f"{path} was saved with another softness than the config that was given; the latter is used."
        warnings.warn(text, stacklevel=2)
    config = own if config is None else config
    if config is not None and any(read_tables(config)):  # a hard model's state means the same at every softness
        load_softness(model, config)
    elif config is None and dials(model) and not _says_its_softness(state):
        text = f"{path} does not say at which softness it was saved: the model keeps its own. Pass config=..."
        warnings.warn(text, stacklevel=2)
    fill(model, state, path)
    return model


def fill(model: Module, state: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Load a state into a model, all of it or nothing.

    Args:
        model: the model.
        state: tensors by name.
        path: where they come from, for the error.

    Raises:
        ArgumentError: if the model has other parameters. They are as they were then.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        model.load_state_dict(before, strict=False)  # torch has written what did fit
        lines = " ".join(str(error).split())
        remedy = "Build the model that the file was saved from, at its softness."
        raise ArgumentError("checkpoint", str(path), f"the model's parameters ({lines[:200]})", remedy) from None


def _says_its_softness(state: Mapping[str, Tensor]) -> bool:
    """Whether torch's notes in a state name its softness, by which loading warns of another one."""
    return any("softness" in notes for notes in getattr(state, "_metadata", {}).values())


# ---------------------------------------------------------------------- files


def write_state(state: Mapping[str, Tensor], path: str | PathLike[str], config: Mapping[str, Any] | None) -> None:
    """Write tensors as .safetensors, or else in torch's own format, which has no room for a configuration.

    Args:
        state: tensors by name; what shares memory is written once for each name.
        path: of the file.
        config: goes into the metadata.

    Raises:
        ArgumentError: if the folder is not there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ArgumentError("path", str(path), "a file in an existing folder", "Make the folder first.")
    apart = OrderedDict((name, value.detach().clone().contiguous()) for name, value in state.items())
    vars(apart).update(vars(state) if isinstance(state, OrderedDict) else {})  # torch's notes, and our softness there
    with whole_file(path) as draft:
        if path.suffix == ".safetensors":
            said = {} if config is None else {_KEY: json.dumps(config)}
            save_file(apart, draft, metadata={"format": "pt", **said})
        else:
            torch.save(apart, draft)


def read_state(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Args:
        path: of a .safetensors file, or of one of torch's.

    Returns:
        Tensors by name.

    Raises:
        ArgumentError: if the file is neither, or would run code when it is read.
        OSError: if there is no such file.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        with _opened(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # on noise torch's reader fails in every way a parser can
        expected = "a file of tensors only (anything else could run code when it is read)"
        raise ArgumentError("checkpoint", str(path), expected, _REMEDY) from None
    if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
        raise ArgumentError("checkpoint", str(path), "a state_dict", _REMEDY)
    return state


def read_config(path: str | PathLike[str]) -> dict[str, Any] | None:
    """The softness that a file says its tensors belong to; None if it says nothing.

    Args:
        path: of a checkpoint.

    Returns:
        What :func:`load_softness` takes.

    Raises:
        ArgumentError: if what it says is no JSON, or the file is broken.
        OSError: if there is no such file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return None
    with _opened(path) as file:
        text = (file.metadata() or {}).get(_KEY)
    try:
        config = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        config = text
    if not isinstance(config, dict | None):
        raise ArgumentError("checkpoint", str(path), f"JSON under {_KEY} in its metadata", _REMEDY)
    return config


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, open for reading."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ArgumentError("checkpoint", str(path), f"a safetensors file ({error})", _REMEDY) from None
