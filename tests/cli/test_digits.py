"""The demo's data: real digits, turned exactly as asked, in seeded and disjoint splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from escnn_soft.cli.digits import SIDE, Digits, load_digits, split, turn
from escnn_soft.errors import ArgumentError


def toy(size=7):
    """Ten classes; each image holds its own number."""
    labels = torch.arange(10).repeat_interleave(size)
    return Digits(torch.arange(10 * size).float()[:, None, None, None].expand(-1, 1, 2, 2), labels)


def numbers(digits):
    return digits.images[:, 0, 0, 0].int().tolist()


def test_split_is_stratified_and_disjoint():
    parts = split(toy(), images=3, tests=4, seed=0)
    assert torch.bincount(parts.train.labels).tolist() == [3] * 10
    assert torch.bincount(parts.test.labels).tolist() == [4] * 10
    assert sorted(numbers(parts.train) + numbers(parts.test)) == list(range(70))
    assert parts.train.labels.tolist() != sorted(parts.train.labels.tolist())  # shuffled
    for digits in (parts.train, parts.test):
        assert [number // 7 for number in numbers(digits)] == digits.labels.tolist()


def test_split_is_a_function_of_its_seed():
    torch.manual_seed(1)
    first = split(toy(), 3, 3, seed=5)
    torch.manual_seed(2)
    again, other = split(toy(), 3, 3, seed=5), split(toy(), 3, 3, seed=6)
    assert numbers(first.train) == numbers(again.train)
    assert numbers(first.test) == numbers(again.test)
    assert numbers(first.train) != numbers(other.train)


def test_split_refuses_what_is_not_there():
    with pytest.raises(ArgumentError, match="Expected at most 7 images of a digit but got images \\+ tests=8"):
        split(toy(), 4, 4, seed=0)


def test_turning_agrees_with_quarter_turns():
    image = np.random.default_rng(0).random((1, SIDE, SIDE), dtype=np.float32)
    for turns in range(4):
        turned = turn(image, np.array([turns * np.pi / 2]))
        inner = (slice(None), slice(1, -1), slice(1, -1))  # rounding may push the rim off the grid
        expected = [np.rot90(image, sign * turns, (1, 2))[inner] for sign in (1, -1)]
        assert min(np.abs(turned[inner] - e).max() for e in expected) < 1e-4


def test_turning_by_nothing_recentres():
    image = np.zeros((1, 28, 28), dtype=np.float32)
    image[0, 13:15, 13:15] = 1  # the middle of an even grid lies between its pixels
    turned = turn(image, np.zeros(1))
    assert turned.shape == (1, SIDE, SIDE)
    assert turned[0, 14, 14] == pytest.approx(1)
    assert turned[0] == pytest.approx(np.rot90(turned[0]), abs=1e-6)


def test_real_digits():
    digits, other = load_digits(60), load_digits(60, seed=1)
    assert digits.images.shape == (5000, 1, SIDE, SIDE)
    assert torch.bincount(digits.labels).tolist() == [500] * 10
    assert digits.images.min() >= 0
    assert digits.images.max() <= 1
    assert not torch.equal(digits.images, other.images)
