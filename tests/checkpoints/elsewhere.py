"""A process that knows the code and the files of ``test_round_trip``, and nothing else.

``python -m tests.checkpoints.elsewhere FOLDER`` loads ``KIND--POLICY.safetensors`` into models as code builds them,
and writes what they make of fixed numbers.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch

import escnn_soft as es
from tests.kinds import KINDS, TWINS, Table, value

UNTOLD = ("SoftR2ConvTransposed",)
"""Its fields have no invariant direction, so that escnn's layer has no bias, with bias=True or without."""

SLOW = "SoftR3Ico"
"""A second to soften: hard models of these under one policy only."""


def soft(kind: str) -> torch.nn.Module:
    """A model of a kind as its own code builds it, at another softness."""
    return KINDS[kind]()


def hard(kind: str) -> torch.nn.Module | None:
    """The model before it was softened; None where code cannot but build it soft."""
    if kind == "table of positions":
        return Table()
    if kind in UNTOLD:
        return None
    if kind == "ProjectedLayer":
        return es.harden(KINDS["SoftR2Conv, on the pixels"]())
    return es.harden(KINDS[kind]()) if kind.startswith("filter") or kind in TWINS else None


def main(folder: str) -> None:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for kind in KINDS:
        once, twin = soft(kind).eval(), hard(kind)
        for file in Path(folder).glob(f"{kind.replace(' ', '_')}--*.safetensors"):
            models = {"soft": once}
            if twin is not None and (not kind.startswith(SLOW) or file.stem.endswith("--graded")):
                models["hard"] = copy.deepcopy(twin).eval()
            found[file.stem] = {name: value(es.load_softened(file, model)) for name, model in models.items()}
    torch.save(found, Path(folder) / "outputs.pt")


if __name__ == "__main__":
    main(sys.argv[1])
