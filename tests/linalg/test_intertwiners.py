"""Intertwiners: complete, orthonormal, and the same whatever LAPACK returns."""

import numpy as np
import pytest
from escnn import group

from escnn_soft.linalg import extend_orthonormal, intertwiners


def test_all_copies_are_found_and_orthonormal() -> None:
    g = group.ico_group()
    rho = [g.regular_representation(e) for e in g.generators]
    for psi in g.irreps():
        copies = intertwiners(rho, [psi(e) for e in g.generators])
        assert len(copies) == psi.size  # the regular representation holds each real-type irrep d times
        images = np.concatenate(copies, axis=1)
        assert np.abs(images.T @ images - np.eye(images.shape[1])).max() < 1e-12
        for r, e in zip(rho, g.generators, strict=True):
            assert all(np.abs(r @ a - a @ psi(e)).max() < 1e-12 for a in copies)


def test_complex_type_counts_copies_not_null_vectors() -> None:
    g = group.cyclic_group(5)
    psi = g.irrep(1)  # its commutant is two-dimensional
    copies = intertwiners([g.regular_representation(e) for e in g.generators], [psi(e) for e in g.generators])
    assert [a.shape for a in copies] == [(5, 2)]


def test_result_does_not_depend_on_the_null_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    g = group.octa_group()
    rho = [np.kron(g.irrep(1)(e), g.irrep(2)(e)) for e in g.generators]
    psi = [g.irrep(3)(e) for e in g.generators]
    expected = intertwiners(rho, psi)
    eigh = np.linalg.eigh

    def mixed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(matrix)
        null = values < 1e-6
        q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(null.sum(), null.sum())))
        vectors[:, null] = vectors[:, null] @ q
        return values, vectors

    monkeypatch.setattr(np.linalg, "eigh", mixed)
    for a, b in zip(expected, intertwiners(rho, psi), strict=True):
        assert np.abs(a - b).max() < 1e-10


def test_candidates_in_the_span_add_nothing() -> None:
    accepted = [np.eye(4)[:, :2]]
    assert extend_orthonormal(accepted, [np.eye(4)[:, 1::-1], 1e-9 * np.ones((4, 2))]) == []
    assert len(extend_orthonormal(accepted, [np.eye(4)[:, 2:]])) == 1
