"""The command line: ``escnn-soft demo`` or ``python -m escnn_soft demo``."""

from __future__ import annotations

from escnn_soft.cli.main import main

__all__ = ["main"]
