"""Looks for escnn, which no requirement of ours brings, before anything imports it.

escnn's metadata asks for py3nj, which has no wheels and needs a Fortran compiler, and which escnn does without. Were
escnn among our requirements, installing us would build py3nj. So pyproject.toml lists everything else that escnn asks
for, and escnn itself is installed without its requirements.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from escnn_soft.errors import MissingPackageError

__all__ = ["require_escnn"]

_RANGE = "escnn>=1.0.11,<1.1"
_OLDEST, _TOO_NEW = (1, 0, 11), (1, 1)


def require_escnn() -> None:
    """Refuse to go on without an escnn that the mends in this package fit."""
    spec = find_spec("escnn")
    if spec is None or spec.origin is None:  # a mere folder named escnn has no origin
        raise _refusal(None)
    with suppress(PackageNotFoundError):  # a checkout on the path, or a frozen program, states no version
        found = version("escnn")
        if not _OLDEST <= tuple(int(number) for number in re.findall(r"\d+", found)[:3]) < _TOO_NEW:
            raise _refusal(found)


def _refusal(found: str | None) -> MissingPackageError:
    return MissingPackageError(
        "escnn",
        found,
        f"{_RANGE}, on which escnn_soft is built,",
        "Install it without its own requirements: they came with escnn_soft, all but py3nj, which needs a Fortran "
        "compiler and is not used.\n\n    pip install --no-deps escnn==1.0.11",
    )


require_escnn()
