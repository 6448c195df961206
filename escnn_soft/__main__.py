"""``python -m escnn_soft``: the same as the console script ``escnn-soft``."""

from __future__ import annotations

import sys

from escnn_soft.cli import main

if __name__ == "__main__":
    sys.exit(main())
