"""Writing a network as a file that runs without escnn, and checking that it computes the same."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance, number
from escnn_soft._drafts import whole_file
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.export.plain import plain
from escnn_soft.export.programs import PROGRAMS, Program

__all__ = ["TOLERANCE", "save_program"]

TOLERANCE = 1e-4
"""Largest difference between a written network and the original, relative to the largest output."""

_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, EscnnSoftError)
"""How a network refuses an input of another shape."""


def save_program(
    model: Module, x: Tensor | GeometricTensor, path: str | PathLike[str], to: str, *, tolerance: float = TOLERANCE
) -> float:
    """Write a network as a program of its own: no escnn, no softness, plain kernels.

    Soft layers are expanded at their present softness, escnn's layers exported, and what comes out is written, read
    again, and compared with the network on ``x`` and on its first entry. A file that is there is replaced once the
    new one is complete and right.

    Args:
        model: a network from a tensor, or a field, to a tensor or a field; it stays as it is.
        x: an input of at least two entries, on the CPU; batches may have any size afterwards.
        path: of the file.
        to: ``"onnx"`` (one file, needs onnx, onnxscript and onnxruntime), ``"export"`` (``torch.export``'s archive) or
            ``"torchscript"`` (traced).
        tolerance: largest difference that is borne, relative to the largest output.

    Returns:
        The difference that was found.

    Raises:
        ArgumentError: if there is no such format, the input does not fit, the exporter refuses the network, or the
            file computes something else. No file is left then.
        ModuleNotFoundError: if the format's packages are missing.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv, export
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=0.3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     difference = export.save_program(layer, torch.randn(2, 4, 7, 7), f"{folder}/layer.pt2", to="export")
        >>> difference < 1e-5
        True
    """
    instance("model", model, Module, "Pass the network that is to be written.")
    if to not in PROGRAMS:
        raise ArgumentError("to", to, f"one of {', '.join(map(repr, PROGRAMS))}", "Choose one of these.")
    tolerance = number("tolerance", tolerance, minimum=0.0, maximum=1.0, error=ArgumentError, remedy="E.g. 1e-4.")
    path, program = Path(path), PROGRAMS[to]
    if not path.parent.is_dir():
        raise ArgumentError("path", str(path), "a file in an existing folder", "Make the folder first.")
    program.check()
    x = x.tensor if isinstance(x, GeometricTensor) else x
    instance("x", x, Tensor, "Pass a tensor or a GeometricTensor.")
    if len(x) < 2:
        expected = "a batch of at least two entries (that of one would stay one)"
        raise ArgumentError("x.shape", tuple(x.shape), expected, "Repeat the input.")
    modes = {module: module.training for module in model.modules()}
    try:
        expected_output = _answer(model.eval(), x)
        network = plain(model)
    finally:
        for module, training in modes.items():  # parts come after the whole, and go back to their own
            module.train(training)
    with whole_file(path) as draft:
        difference = _written(program, network, x, expected_output, draft)
        if not difference <= tolerance:
            expected = f"a file that computes the same (up to {tolerance:g})"
            raise ArgumentError("difference", difference, expected, "Nothing was kept.")
    return difference


def _written(program: Program, network: Module, x: Tensor, expected: Tensor, path: Path) -> float:
    """Write a plain network and read it again: the largest relative difference, on a batch and on its first entry."""
    try:
        program.write(network, x, path)
        function = program.read(path)
        with torch.no_grad():
            pairs = [(function(x), expected), (function(x[:1]), expected[:1])]
    except Exception as error:  # each exporter has its own kinds, which share no base
        first = str(error).strip().partition("\n")[0]
        remedy = "Try another format, or write export.plain(model) yourself."
        raise ArgumentError(
            "model", type(network).__name__, f"a network that can be written so ({first})", remedy
        ) from error
    if any(got.shape != wanted.shape for got, wanted in pairs):
        return math.inf
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return max(float((got - wanted).abs().max()) / scale for got, wanted in pairs)


def _answer(model: Module, x: Tensor) -> Tensor:
    """What a network makes of an input."""
    try:
        with torch.no_grad():
            y = model(model.in_type(x) if isinstance(model, EquivariantModule) else x)
    except _REFUSALS as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        expected = f"an input that the network takes ({first})"
        raise ArgumentError("x.shape", tuple(x.shape), expected, "Pass a batch of inputs.") from error
    y = getattr(y, "tensor", y)
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise ArgumentError(
            "output", y, "a network that returns one tensor of numbers in floating point", "Wrap it in one."
        )
    return y
