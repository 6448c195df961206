"""Runs a command: exit codes and one-line errors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING

from escnn_soft.cli.arguments import UsageError
from escnn_soft.cli.parser import build_parser
from escnn_soft.errors import EscnnSoftError

if TYPE_CHECKING:  # imported by name, when they run
    from escnn_soft.cli import conversion as conversion
    from escnn_soft.cli import demo as demo
    from escnn_soft.cli import inspect as inspect

__all__ = ["main"]

_EXTRAS = ("matplotlib", "mlxtend", "tqdm")
"""What the demo needs beyond the library's own dependencies."""

_NUMPY = '"numpy<2"'
"""Without it pip takes an mlxtend that brings numpy 2, with which lie_learn does not run."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What some formats need beyond them."""

_GIVEN = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of the system that are about the files which the command line names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: words of the command line; those of the process by default.

    Returns:
        0; 1 after a failed check, and for what could not be done; 2 if what the command line names does not exist,
        cannot be read or does not fit; 130 after Ctrl-C. A wrong command line exits with 2 by itself, ``--help`` and
        ``--version`` with 0.

    Raises:
        ModuleNotFoundError: if something is missing that is neither one of the demo's extras nor a format's package.
    """
    options = build_parser().parse_args(arguments)
    module, _, function = options.run.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(options)
    except (UsageError, EscnnSoftError, *_GIVEN) as error:
        return _fail(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except ModuleNotFoundError as error:
        if error.name in _PACKAGES:
            return _fail(f"error: this format needs {error.name}, which is not installed: pip install {error.name}")
        if options.command != "demo" or (error.name or "").partition(".")[0] not in _EXTRAS:
            raise
        missing = f"the demo needs {error.name}, which is not installed"
        return _fail(f"error: {missing}: pip install {' '.join(_EXTRAS)} {_NUMPY}")
    except BrokenExecutor:
        return _fail("error: a training process was killed, perhaps for want of memory: try --workers 1")
    except OSError as error:
        return _fail(f"error: {error}")


def _fail(message: str, code: int = 1) -> int:
    print(f"escnn-soft: {' '.join(message.split())}", file=sys.stderr)
    return code
