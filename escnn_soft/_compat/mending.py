"""Keeps escnn 1.0.11 working, and its numbers the same everywhere: importing this module mends it, once.

escnn finds Clebsch-Gordan coefficients and irrep decompositions numerically, as null spaces, and every one of its
``weights`` is a coordinate in the basis so found. A null space has many bases, and which one comes out is a matter of
chance:

* With scikit-learn installed, ``escnn.group._numerical.null`` calls its ``randomized_svd``, unseeded and with an
  ``np.matrix``: scikit-learn 1.9 and later raise ``TypeError``, earlier ones answer differently in every process.
* LAPACK's singular vectors of equal singular values follow the kernels that OpenBLAS chooses for the processor.
* The orthogonal matrix that decomposes a representation is searched for from a random point.
* O(2), which no finite set generates, is constrained at elements drawn from numpy's global generator.
* SO(3) and O(3) have closed forms, which escnn takes from py3nj where that is installed, with other signs.

So null spaces and orthogonal matrices become functions of the subspace alone (:mod:`escnn_soft._compat.subspace`), the
coefficients of SO(3) and O(3) come from Racah's formula whatever is installed (:mod:`escnn_soft._compat.racah`), and
the generator is seeded for the length of each call and then put back.

escnn keeps on disk what it has found. What it found before it was mended is a matter of chance too, so what it finds
now goes to a folder of its own beside that, one for each way in which we have mended it.

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
from escnn.group import GroupElement, IrreducibleRepresentation, _clebsh_gordan, _numerical, groups_dict, irrep
from escnn.group.groups import o3group, so3group

from escnn_soft._compat.racah import clebsch_gordan
from escnn_soft._compat.subspace import canonical_basis, orthogonal_member

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


_escnns_null, _escnns_factors = _numerical.null, _numerical._factor_out_endomorphisms


def _null(a: Any, use_sparse: bool, eps: float = 1e-12) -> Any:
    """``escnn.group._numerical.null``, in the basis that depends on the null space alone."""
    return canonical_basis(_escnns_null(a, use_sparse, eps))


def _factor_out_endomorphisms(basis: Any, psi: IrreducibleRepresentation) -> Any:
    """``escnn.group._numerical._factor_out_endomorphisms``, after an SVD of escnn's has mixed the basis once more."""
    return _escnns_factors(canonical_basis(basis), psi)


def _find_orthogonal_matrix(basis: Any, shape: tuple[int, int], verbose: bool = False) -> tuple[Any, float]:
    """``escnn.group._numerical.find_orthogonal_matrix``, without a search."""
    return orthogonal_member(basis, shape), 0.0


def _unless_none(function: Callable[..., Any]) -> Callable[..., Any]:
    """``_clebsh_gordan_tensor``, without looking for a null space that is empty by the characters.

    In a product of irreps of a finite group psi occurs if and only if the sum of the product of the three characters is
    not zero. Most triples have none, and escnn solves a system for each.

    Args:
        function: escnn's.

    Returns:
        The same function, in less time.
    """

    @functools.wraps(function)
    def call(J: Any, l: Any, j: Any, group_class: str, **keys: Any) -> Any:
        group = groups_dict[group_class]._generator(**keys)
        irreps = [group.irrep(*id_) for id_ in (J, l, j)]
        characters = [_characters(psi) for psi in irreps]
        if all(known is not None for known in characters) and abs(np.prod(characters, axis=0).sum()) < 0.5:
            first, second, third = (psi.size for psi in irreps)
            return np.zeros((first, second, 0, third))
        return function(J, l, j, group_class, **keys)

    return call


def _characters(psi: IrreducibleRepresentation) -> Any:
    """The character of an irrep at each element of a finite group, found once; None for an infinite one."""
    memory = vars(psi)
    if "_found_characters" not in memory:
        finite = psi.group.order() > 0
        memory["_found_characters"] = np.array([np.trace(psi(g)) for g in psi.group.elements]) if finite else None
    return memory["_found_characters"]


for _memory in (_clebsh_gordan.cache, irrep.cache):
    _memory.store_backend.location = str(Path(_memory.store_backend.location) / "canonical")
_numerical.randomized_svd = None  # so that null takes scipy.linalg.svd
_numerical.null = _null
_numerical._factor_out_endomorphisms = _factor_out_endomorphisms
_numerical.find_orthogonal_matrix = _find_orthogonal_matrix
_numerical.compute_irrep_embeddings_general = _seeded(_numerical.compute_irrep_embeddings_general)
_clebsh_gordan._clebsh_gordan_tensor = _unless_none(_seeded(_clebsh_gordan._clebsh_gordan_tensor))
so3group._clebsh_gordan_tensor_so3 = o3group._clebsh_gordan_tensor_so3 = clebsch_gordan
GroupElement.__deepcopy__ = lambda self, memo: self
