"""escnn's layers between types with no equivariant map between them, which escnn itself refuses or cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import torch
from escnn.nn import EquivariantModule
from torch.nn import Parameter

__all__ = ["empty_allowed"]


@contextmanager
def empty_allowed(layer: EquivariantModule, *, empty: bool) -> Iterator[None]:
    """Inside, escnn's constructor may find an empty basis: the layer then has no weights.

    escnn raises when everything but the weights is in place, after it has printed a warning.

    Args:
        layer: what is constructed.
        empty: whether an empty basis is expected.

    Yields:
        Nothing.

    Raises:
        ValueError: escnn's own, about anything else.
    """
    if not empty:
        yield
        return
    try:
        with redirect_stdout(StringIO()):
            yield
    except ValueError as error:
        if "empty" not in str(error):
            raise
        layer.weights = Parameter(torch.zeros(0))
