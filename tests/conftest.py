"""Threads, seeds and Hypothesis profiles for every test."""

import gc
import random

import numpy as np
import pytest
import torch
from escnn.group.groups import ico, octa, so3_utils
from escnn.nn.modules.basismanager.basisexpansion_singleblock import _stored_filters

from benchmarks._torchvision import make_torchvision_importable
from escnn_soft.testing import register_profiles
from tests.rotations import remembered

gc.disable()  # while everything is imported and collected
torch.set_num_threads(1)
make_torchvision_importable()  # for timm, transformers and lightning
for built in (ico._build_ico_irrep_picklable, octa._build_octa_irrep_picklable):
    built._verbose = 0  # or escnn prints in the middle of a doctest
so3_utils._to_scipy_rot = remembered(so3_utils._to_scipy_rot)  # half of the time of tests on polyhedral groups
register_profiles()  # HYPOTHESIS_PROFILE=thorough make test


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what stays: walking through all of torch again and again takes a tenth of it."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def _escnns_bases_in_single_precision():
    """escnn shares bases between layers, so a test that casts one of escnn's own layers would cast them for others."""
    yield
    for basis in _stored_filters.values():
        if basis.sampled_basis.dtype is not torch.float32:
            basis.float()


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed is slow without accelerators
