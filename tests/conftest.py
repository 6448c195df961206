"""Threads, seeds and Hypothesis profiles for every test."""

import random

import numpy as np
import pytest
import torch

from escnn_soft.testing import register_profiles

torch.set_num_threads(1)
register_profiles()  # HYPOTHESIS_PROFILE=thorough make test


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
