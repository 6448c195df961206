"""Certified norms: never below the truth, and not far above it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from escnn_soft.linalg import convolution_norm, oversampling_factor, spectral_norm


@given(
    degree=st.integers(1, 6),
    oversampling=st.integers(3, 40),
    seed=st.integers(0, 10**6),
    offset=st.floats(0, 2 * math.pi),
)
def test_a_trigonometric_polynomial_stays_below_the_factor(degree, oversampling, seed, offset) -> None:
    rng, points = np.random.default_rng(seed), degree * oversampling
    c, s = rng.normal(size=(2, degree + 1))
    k = np.arange(degree + 1)

    def polynomial(t):
        return np.cos(np.outer(t, k)) @ c + np.sin(np.outer(t, k)) @ s

    grid = offset + 2 * math.pi * np.arange(points) / points
    fine = 2 * math.pi * np.arange(4096) / 4096
    assert np.abs(polynomial(fine)).max() <= oversampling_factor(degree, points) * np.abs(polynomial(grid)).max() * (
        1 + 1e-12
    )


def test_the_factor_is_attained() -> None:
    """cos(n t) sampled half a step off its peaks."""
    degree, points = 3, 12
    samples = np.cos(degree * (2 * math.pi * np.arange(points) / points + math.pi / points))
    assert oversampling_factor(degree, points) * np.abs(samples).max() == pytest.approx(1.0)
    assert oversampling_factor(2, 4) == math.inf


@given(
    m=st.integers(1, 9), n=st.integers(1, 9), seed=st.integers(0, 10**6), scale=st.sampled_from([1e-150, 1.0, 1e100])
)
def test_spectral_norms(m, n, seed, scale) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = scale * torch.randn(3, m, n, generator=generator, dtype=torch.complex128)
    exact = torch.linalg.svdvals(matrices)[:, 0]
    bound = spectral_norm(matrices)
    assert (bound >= exact * (1 - 1e-15)).all()
    assert (bound <= exact * (1 + 1e-11)).all()


@given(
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 10**6),
)
def test_a_convolution_stays_below_its_norm(kernel_size, stride, padding, dilation, channels, seed) -> None:
    torch.manual_seed(seed)
    kernel = torch.randn(*channels, *kernel_size, dtype=torch.float64)
    size = 9
    columns = torch.eye(channels[1] * size * size, dtype=torch.float64).view(-1, channels[1], size, size)
    matrix = conv2d(columns, kernel, stride=stride, padding=padding, dilation=dilation).flatten(1)
    norm, bound = float(torch.linalg.matrix_norm(matrix, 2)), convolution_norm(kernel, stride, dilation)
    assert norm <= bound * (1 + 1e-12)


def test_the_bound_on_a_convolution_is_close_on_large_images() -> None:
    for stride in ((1, 1), (2, 2)):
        kernel = torch.randn(4, 3, 5, 5, dtype=torch.float64)
        x = torch.randn(1, 3, 48, 48, dtype=torch.float64)
        for _ in range(100):  # power iteration
            x = (x / x.norm()).requires_grad_(True)
            (x,) = torch.autograd.grad(conv2d(x, kernel, stride=stride, padding=2).square().sum(), x)
        norm = float(conv2d(x / x.norm(), kernel, stride=stride, padding=2).norm())
        assert norm <= convolution_norm(kernel, stride) <= 1.15 * norm


def test_a_broken_bound_is_noticed() -> None:
    """The largest tap is not a bound: the test above would fail on it."""
    kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    image = torch.ones(1, 1, 20, 20, dtype=torch.float64)
    assert float(conv2d(image, kernel, padding=1).norm() / image.norm()) > float(kernel.max())
    assert convolution_norm(kernel) >= 9.0


@pytest.mark.parametrize(("stride", "dilation"), [((1, 1, 1), 1), ((2, 1, 3), 1), ((2, 2, 2), 2)])
def test_norms_of_convolutions_of_volumes(stride, dilation) -> None:
    kernel, sides = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64), (6, 6, 7)
    x = torch.eye(3 * math.prod(sides), dtype=torch.float64).view(-1, 3, *sides)
    matrix = torch.nn.functional.conv3d(x, kernel, stride=stride, padding=2, dilation=dilation).flatten(1)
    norm, bound = float(torch.linalg.matrix_norm(matrix, 2)), convolution_norm(kernel, stride, dilation)
    assert norm <= bound <= 1.6 * norm  # the volume is small
