"""The bound of `certify` on random networks and images, measured without allowance for rounding."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from escnn_soft.certification import certify
from escnn_soft.testing import assert_error_within, geometric_tensors, gspaces, networks

NETWORKS = networks() | gspaces(0, kinds=["cyclic", "dihedral"], max_rotations=4).flatmap(networks)


@given(data=st.data())
def test_the_bound_of_a_network_holds(data) -> None:
    network = data.draw(NETWORKS)
    x = data.draw(geometric_tensors(network.in_type, sides=(5, 7), dtypes=[torch.float64]))
    certificate = certify(network, x)
    assert not certificate.not_covered  # sides are odd
    assert math.isfinite(certificate.bound)
    assert 0.0 <= assert_error_within(network, x, certificate.bound, rtol=0.0) <= 1.0
