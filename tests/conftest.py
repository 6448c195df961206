"""Threads, seeds and Hypothesis profiles for every test."""

import os
import random

import numpy as np
import pytest
import torch
from hypothesis import register_random, settings

torch.set_num_threads(1)

# HYPOTHESIS_PROFILE=thorough make test
settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class _TorchRandom:
    """torch's global generator as Hypothesis wants it: an example replayed draws the same tensors."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_TORCH_RANDOM = _TorchRandom()  # Hypothesis holds only a weak reference
register_random(_TORCH_RANDOM)


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
