"""Policies: both ends of the dial, monotone, and never splitting a level."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from escnn_soft.dial import Cutoff, Exponential, Graded, as_policy

DIAL = torch.tensor([0.0, 0.5, 1.0, 1.0 + 1e-12, 2.5, 7.0], dtype=torch.float64)
SOFTNESS = st.floats(0, 1)


def test_ends_of_the_dial() -> None:
    assert Exponential(0).gains(DIAL).tolist() == [1, 0, 0, 0, 0, 0]
    assert Exponential(1).gains(DIAL).tolist() == [1] * 6
    assert Cutoff(0).gains(DIAL).tolist() == [1, 0, 0, 0, 0, 0]
    assert Cutoff(math.inf).gains(DIAL).tolist() == [1] * 6


@given(SOFTNESS, SOFTNESS)
def test_exponential_is_monotone_and_bounded(a, b) -> None:
    low, high = (Exponential(s).gains(DIAL) for s in sorted((a, b)))
    assert ((low <= high) & (low >= 0) & (high <= 1)).all()


@given(SOFTNESS)
def test_exponential_is_continuous(s) -> None:
    step = 1e-9
    near = Exponential(min(1.0, s + step)).gains(DIAL)
    assert (near - Exponential(s).gains(DIAL)).abs().max() <= step**0.5 + 1e-12  # steepest for sigma = 0.5 at s = 0


@given(st.floats(0, 10), st.floats(0, 10))
def test_cutoff_is_monotone(a, b) -> None:
    low, high = (Cutoff(s).gains(DIAL) for s in sorted((a, b)))
    assert (low <= high).all()


def test_cutoff_does_not_split_levels_that_rounding_separates() -> None:
    assert Cutoff(1.0).gains(DIAL).tolist() == [1, 1, 1, 1, 0, 0]


def test_policies_are_values() -> None:
    assert as_policy(0.5) == Graded(0.5)
    assert hash(as_policy(1)) == hash(Graded(1.0))
    assert Cutoff(1) == Cutoff(1.0) != Cutoff(2.0)
    assert as_policy(Cutoff(1)) == Cutoff(1)
    assert repr(Cutoff(1)) == "Cutoff(bound=1.0)"
