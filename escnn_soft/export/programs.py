"""The formats a network can be written in: each knows how to write a network, and how to run what it wrote."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

__all__ = ["PROGRAMS", "Program"]

Function = Callable[[Tensor], Tensor]


class Program(ABC):
    """A file that holds a network's computation and its numbers, so that it runs without this library.

    Attributes:
        packages: what writing and running it takes beyond torch.
        description: for the help.
    """

    packages: tuple[str, ...] = ()
    description: str

    def check(self) -> None:
        """Import what is needed, before anything is built; a package that is missing is a ModuleNotFoundError."""
        for name in self.packages:
            importlib.import_module(name)

    def write(self, model: Module, x: Tensor, path: Path) -> None:
        """Write a network in evaluation mode; the batch of ``x`` has more than one entry, and stands for any size."""
        with _quiet(), torch.no_grad():
            self._write(model, x, path)

    @abstractmethod
    def _write(self, model: Module, x: Tensor, path: Path) -> None:
        """Write a network, with whatever the exporter has to say."""

    @abstractmethod
    def read(self, path: Path) -> Function:
        """The function that a file computes which was just written."""


class Export(Program):
    """torch.export's archive."""

    description = "torch.export's archive, for torch.export.load"

    def _write(self, model: Module, x: Tensor, path: Path) -> None:
        with path.open("wb") as file:  # the name need not end in .pt2
            torch.export.save(_program(model, x), file)

    def read(self, path: Path) -> Function:
        """The archive's function."""
        with path.open("rb") as file:
            return torch.export.load(io.BytesIO(file.read())).module()


class Onnx(Program):
    """ONNX, in one file."""

    packages = ("onnx", "onnxscript", "onnxruntime")
    description = "ONNX, one file with the weights inside (up to 2 GB)"

    def _write(self, model: Module, x: Tensor, path: Path) -> None:
        program = torch.onnx.export(_program(model, x), (x,), dynamo=True, verbose=False)
        assert program is not None
        program.save(path, external_data=False)

    def read(self, path: Path) -> Function:
        """The file's function, by ONNX Runtime on the CPU."""
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (name,) = (value.name for value in session.get_inputs())
        return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


class TorchScript(Program):
    """TorchScript, by tracing."""

    description = "TorchScript (traced), for torch.jit.load and LibTorch"

    def _write(self, model: Module, x: Tensor, path: Path) -> None:
        torch.jit.save(torch.jit.trace(model, x, check_trace=False), path)

    def read(self, path: Path) -> Function:
        """The file's function."""
        return torch.jit.load(path)


PROGRAMS: dict[str, Program] = {"export": Export(), "onnx": Onnx(), "torchscript": TorchScript()}
"""By the name that ``--to`` takes."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what the exporters say about themselves, in every way they have."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _program(model: Module, x: Tensor) -> torch.export.ExportedProgram:
    """The network as one graph, for batches of any size."""
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
