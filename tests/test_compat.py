"""escnn works, and its coefficients depend on nothing but the group, with scikit-learn installed.

That processes on other processors, with nothing cached, agree is tested in workflows/test_checkpoints.py.
"""

from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
from escnn.group import (
    _clebsh_gordan,
    _numerical,
    cyclic_group,
    dihedral_group,
    direct_product,
    o2_group,
    o3_group,
    octa_group,
    so3_group,
)
from escnn.group.irrep import _restrict_irrep
from sympy.physics.wigner import clebsch_gordan as exact

from escnn_soft._compat import racah
from escnn_soft._compat.subspace import canonical_basis, orthogonal_member
from tests.processes import python


def test_scikit_learn_is_installed():
    assert find_spec("sklearn") is not None, "without scikit-learn these tests show nothing: install the extra 'test'"


def test_escnn_does_not_use_scikit_learn():
    assert _numerical.randomized_svd is None


def test_numpys_generator_is_given_back():
    irrep = o2_group(1).irrep(1, 1)
    before = np.random.get_state()[1].copy()
    first = _numerical.compute_irrep_embeddings_general(irrep, irrep)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.random(3)
    np.testing.assert_array_equal(_numerical.compute_irrep_embeddings_general(irrep, irrep), first)


@pytest.mark.parametrize(
    "group", [cyclic_group(5), dihedral_group(3), direct_product(cyclic_group(3), cyclic_group(3))]
)
def test_characters_say_which_coefficients_there_are(group):
    mended = _clebsh_gordan._clebsh_gordan_tensor
    irreps, empty = list(group.irreps()), 0
    for ids in product([psi.id for psi in irreps], repeat=3):
        words = (*ids, type(group).__name__)
        found, solved = mended(*words, **group._keys), mended.__wrapped__(*words, **group._keys)
        np.testing.assert_array_equal(found, solved)
        empty += found.shape[2] == 0
    assert 0 < empty < len(irreps) ** 3


def test_restricted_irreps_do_not_depend_on_what_was_drawn_before():
    group = octa_group()
    irrep = group.irrep(2)
    bases = []
    for seed in (1, 2):
        np.random.seed(seed)
        basis, _ = _restrict_irrep.func(irrep.id, (False, 4), type(group).__name__, **group._keys)  # past the cache
        bases.append(basis)
    np.testing.assert_array_equal(*bases)


# ---------------------------------------------------------------------- bases of subspaces


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (9, 4), (30, 30), (40, 0)])
def test_a_canonical_basis_depends_on_the_subspace_alone(shape) -> None:
    source = np.random.default_rng(0)
    basis = np.linalg.qr(source.standard_normal(shape))[0]
    turn = np.linalg.qr(source.standard_normal((shape[1], shape[1])))[0]
    first, second = canonical_basis(basis), canonical_basis(basis @ turn)
    np.testing.assert_allclose(first, second, atol=1e-12)
    np.testing.assert_allclose(first @ first.T, basis @ basis.T, atol=1e-12)
    np.testing.assert_allclose(first.T @ first, np.eye(shape[1]), atol=1e-12)


def test_what_is_no_orthonormal_basis_is_found_out() -> None:
    with pytest.raises(AssertionError, match="not orthonormal"):
        canonical_basis(np.zeros((3, 1)))


def test_the_orthogonal_intertwiner_depends_on_the_space_alone() -> None:
    group = octa_group()
    rho, target = group.irrep(1).tensor(group.irrep(1)), group.irrep(0) + group.irrep(1) + group.irrep(-1)
    target = target + group.irrep(2)  # the same irreps in another order
    constraint = np.concatenate([
        np.kron(np.eye(9), rho(g)) - np.kron(target(g).T, np.eye(9)) for g in group.generators
    ])  # fmt: skip  # columns stacked: vec(rho D - D psi)
    _, values, vectors = np.linalg.svd(constraint)
    basis = vectors[values < 1e-10].T
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((basis.shape[1],) * 2))[0]
    first, second = (orthogonal_member(b, (9, 9)) for b in (basis, basis @ turn))
    np.testing.assert_allclose(first, second, atol=1e-10)
    np.testing.assert_allclose(first @ first.T, np.eye(9), atol=1e-12)
    for g in group.elements:
        np.testing.assert_allclose(rho(g) @ first, first @ target(g), atol=1e-10)


# ---------------------------------------------------------------------- SO(3) in closed form


def test_racah_equals_sympy() -> None:
    for l, m, j in [(0, 0, 0), (1, 1, 0), (1, 2, 2), (2, 2, 4), (3, 2, 1), (4, 3, 5)]:
        for a in range(-l, l + 1):
            for b in range(max(-m, -j - a), min(m, j - a) + 1):
                assert racah._complex(l, a, m, b, j) == pytest.approx(float(exact(l, m, j, a, b, a + b)), abs=1e-15)


@pytest.mark.parametrize(("l", "m", "j"), [(0, 2, 2), (1, 1, 1), (1, 2, 3), (2, 2, 3), (4, 3, 2), (6, 6, 6)])
def test_escnns_coefficients_of_so3_and_o3_intertwine(l, m, j) -> None:
    rotations, group = so3_group(), o3_group()
    a = rotations._clebsh_gordan_coeff((l,), (m,), (j,))
    assert a.shape == (2 * l + 1, 2 * m + 1, 1, 2 * j + 1)
    columns = a.reshape(-1, 2 * j + 1)
    np.testing.assert_allclose(columns.T @ columns, np.eye(2 * j + 1), atol=1e-13)
    for g in rotations.testing_elements():
        moved = np.kron(rotations.irrep(l)(g), rotations.irrep(m)(g)) @ columns
        np.testing.assert_allclose(moved, columns @ rotations.irrep(j)(g), atol=1e-12)
    np.testing.assert_array_equal(group._clebsh_gordan_coeff((1, l), (0, m), (1, j)), a)


def test_no_warning_about_py3nj() -> None:
    program = "import warnings; warnings.simplefilter('error', UserWarning); import escnn_soft, escnn"
    assert python(program) == ""
