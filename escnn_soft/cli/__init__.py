"""The command line: ``escnn-soft COMMAND`` or ``python -m escnn_soft COMMAND``."""

from __future__ import annotations

from escnn_soft.cli.main import main

__all__ = ["main"]
