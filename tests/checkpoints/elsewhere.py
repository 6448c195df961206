"""A process that knows the code and the files of ``test_round_trip``, and nothing else.

``python -m tests.checkpoints.elsewhere FOLDER`` loads ``KIND--POLICY.safetensors`` into models as code builds them,
and writes what they make of fixed numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import escnn_soft as es
from tests.kinds import KINDS, TWINS, Table, value

UNTOLD = ("SoftR2ConvTransposed",)
"""Its fields have no invariant direction, so that escnn's layer has no bias, with bias=True or without."""


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
    for file in sorted(Path(folder).glob("*.safetensors")):
        kind = file.stem.rpartition("--")[0].replace("_", " ")
        models = {"soft": soft(kind), "hard": hard(kind)}
        found[file.stem] = {
            name: value(es.load_softened(file, model.eval())) for name, model in models.items() if model is not None
        }
    torch.save(found, Path(folder) / "outputs.pt")


if __name__ == "__main__":
    main(sys.argv[1])
