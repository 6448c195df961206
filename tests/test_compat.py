"""escnn works, and computes the same coefficients every time, with scikit-learn installed and nothing cached."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from escnn.group import _numerical, o2_group, octa_group
from escnn.group.irrep import _restrict_irrep

import escnn_soft

ROOT = Path(escnn_soft.__file__).parents[1]
LAYERS = ["D4 regular", "O(2) band-limited 2"]

# escnn caches its coefficients beside its own files: send every joblib.Memory it makes to an empty folder instead.
PROCESS = """
import sys

import joblib

folder, seed, *names = sys.argv[1:]


class ColdMemory(joblib.Memory):
    def __init__(self, location=None, **options):
        super().__init__(folder, **options)


joblib.Memory = ColdMemory

import numpy as np
import escnn_soft
from escnn import gspaces, nn

D4, O2 = gspaces.flipRot2dOnR2(4), gspaces.flipRot2dOnR2(-1, maximum_frequency=4)
FIELDS = {
    "D4 regular": (D4, D4.regular_repr),
    "O(2) band-limited 2": (O2, O2.fibergroup.bl_regular_representation(2)),
}
np.random.seed(int(seed))  # two processes never draw the same by accident
for name in names:
    gspace, representation = FIELDS[name]
    field = nn.FieldType(gspace, [representation])
    layer = nn.R2Conv(field, field, 3, initialize=False)
    (basis,) = (value for key, value in layer.state_dict().items() if key.endswith("sampled_basis"))
    np.save(f"{folder}/{name}.npy", basis.numpy())
"""


@pytest.fixture(scope="module")
def cold_bases(tmp_path_factory):
    """The sampled kernel bases of each layer, from two processes that begin without a cache and in opposite orders."""
    folders = [tmp_path_factory.mktemp("cold") for _ in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder), str(seed), *names],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, (folder, names) in enumerate(zip(folders, [LAYERS, LAYERS[::-1]], strict=True))
    ]
    for process in processes:
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages
    for folder in folders:
        found = list(folder.rglob("_clebsh_gordan_tensor/*/output.pkl"))
        assert found, "the cache was not redirected, so not cold"
        assert all("mended" in path.parts for path in found), "coefficients found before the mending would be used"
    return [{name: np.load(folder / f"{name}.npy") for name in LAYERS} for folder in folders]


def test_scikit_learn_is_installed():
    assert find_spec("sklearn") is not None, "without scikit-learn these tests show nothing: install the extra 'test'"


def test_escnn_does_not_use_scikit_learn():
    assert _numerical.randomized_svd is None


@pytest.mark.parametrize("name", LAYERS)
def test_cold_processes_agree(cold_bases, name):
    first, second = (bases[name] for bases in cold_bases)
    assert len(first) > 0
    np.testing.assert_array_equal(first, second)


def test_numpys_generator_is_given_back():
    irrep = o2_group(1).irrep(1, 1)
    before = np.random.get_state()[1].copy()
    first = _numerical.compute_irrep_embeddings_general(irrep, irrep)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.random(3)
    np.testing.assert_array_equal(_numerical.compute_irrep_embeddings_general(irrep, irrep), first)


def test_restricted_irreps_do_not_depend_on_what_was_drawn_before():
    group = octa_group()
    irrep = group.irrep(2)
    bases = []
    for seed in (1, 2):
        np.random.seed(seed)
        basis, _ = _restrict_irrep.func(irrep.id, (False, 4), type(group).__name__, **group._keys)  # past the cache
        bases.append(basis)
    np.testing.assert_array_equal(*bases)
