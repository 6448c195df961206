"""Keeps escnn 1.0.11 working, and repeatable, on today's stack: mended once, when ``escnn_soft`` is imported.

escnn finds Clebsch-Gordan coefficients and irrep decompositions numerically, as null spaces, and every one of its
``weights`` is a coordinate in the basis so found. Two things make that basis a matter of chance:

* With scikit-learn installed, ``escnn.group._numerical.null`` calls its ``randomized_svd``, unseeded and with an
  ``np.matrix``: scikit-learn 1.9 and later raise ``TypeError``, earlier ones answer differently in every process.
  Taking the name away sends escnn to ``scipy.linalg.svd``, as it does where scikit-learn is missing.
* O(2), SO(3) and O(3), which no finite set generates, are constrained at elements drawn from numpy's global generator,
  and the orthogonal matrix that restricts an irrep to a finite subgroup is searched for from a point drawn from it.
  The generator is seeded for the length of each call and then put back, so that no coefficient depends on what else was
  drawn or computed before.

escnn keeps on disk what it has found. What it found before it was mended is a matter of chance too, so what it finds
now goes to a folder of its own beside that.

And ``deepcopy`` of a layer in space raises ``AttributeError``: its gspace holds a dictionary whose keys are group
elements, and copying one on the way round a cycle asks for its hash before it has its group. Elements never change, so
a copy may share them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from escnn.group import GroupElement, _clebsh_gordan, _numerical, irrep

_SEED = 0  # of what escnn samples


def _seeded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, run with numpy's global generator at a fixed state, which is restored afterwards."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        state = np.random.get_state()
        np.random.seed(_SEED)
        try:
            return function(*args, **kwargs)
        finally:
            np.random.set_state(state)

    return call


for _memory in (_clebsh_gordan.cache, irrep.cache):
    _memory.store_backend.location = str(Path(_memory.store_backend.location) / "mended")
_numerical.randomized_svd = None
_numerical.compute_irrep_embeddings_general = _seeded(_numerical.compute_irrep_embeddings_general)
_numerical.find_orthogonal_matrix = _seeded(_numerical.find_orthogonal_matrix)
_clebsh_gordan._clebsh_gordan_tensor = _seeded(_clebsh_gordan._clebsh_gordan_tensor)
GroupElement.__deepcopy__ = lambda self, memo: self
