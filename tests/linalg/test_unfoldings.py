"""Norms by unfoldings: above those by frequencies, which are above the truth."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d

from escnn_soft.linalg import convolution_norm, unfolding_norm
from escnn_soft.linalg.phases import kernel_of_phases

DOUBLE = torch.float64


def dense_norm(kernel, stride, padding, dilation, size=8) -> float:
    """Of the matrix of the convolution of a small image."""
    dims, channels = kernel.ndim - 2, kernel.shape[1]
    columns = torch.eye(channels * size**dims, dtype=DOUBLE).view(-1, channels, *[size] * dims)
    convolve = conv2d if dims == 2 else conv3d
    matrix = convolve(columns, kernel, stride=stride, padding=padding, dilation=dilation).flatten(1)
    return float(torch.linalg.matrix_norm(matrix, 2))


def frequencies_norm(kernel, points=16) -> float:
    """The largest singular value of the symbol, of stride 1, at all frequencies of a fine grid."""
    axes = tuple(range(2, kernel.ndim))
    symbol = torch.fft.fftn(kernel, s=[points] * len(axes), dim=axes).flatten(2).permute(2, 0, 1)
    return float(torch.linalg.svdvals(symbol).max())


@given(
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    decay=st.sampled_from([0.0, 1.0, 40.0]),
    seed=st.integers(0, 10**6),
)
def test_unfoldings_are_above_frequencies_above_the_truth(
    kernel_size, stride, padding, dilation, channels, decay, seed
) -> None:
    torch.manual_seed(seed)
    kernel = torch.randn(*channels, *kernel_size, dtype=DOUBLE)
    kernel = kernel * torch.exp(-decay * torch.rand(kernel_size, dtype=DOUBLE))
    fast, exact = unfolding_norm(kernel, stride, dilation), convolution_norm(kernel, stride, dilation)
    true = dense_norm(kernel, stride, padding, dilation)
    assert true <= exact * (1 + 1e-12)
    assert frequencies_norm(kernel_of_phases(kernel, stride, dilation)) <= exact * (1 + 1e-12)
    assert exact <= fast * (1 + 1e-12)
    assert fast <= (1 + 1e-10) * math.sqrt(kernel[0].numel() * max(stride) ** 2 * kernel.numel()) * float(kernel.norm())


@pytest.mark.parametrize("shape", [(40, 36, 3, 3), (36, 40, 3, 5), (34, 33, 5, 5)])
def test_many_channels_against_the_singular_values_of_all_frequencies(shape) -> None:
    """Where factorisations prove the bound, and single precision most of it."""
    for kernel in (torch.randn(*shape, dtype=DOUBLE), torch.rand(*shape, dtype=DOUBLE)):
        points = [max(1, math.ceil(12 * (taps - 1) / 2)) for taps in shape[2:]]
        symbol = torch.fft.fftn(kernel, s=points, dim=(2, 3)).flatten(2).permute(2, 0, 1)
        grid = float(torch.linalg.svdvals(symbol).max()) / math.cos(math.pi / 12) ** 2
        assert convolution_norm(kernel) == pytest.approx(min(grid, unfolding_norm(kernel)), rel=1e-10)
        assert frequencies_norm(kernel, 32) <= convolution_norm(kernel) <= unfolding_norm(kernel)


def test_volumes_and_strides() -> None:
    kernel = torch.randn(3, 2, 3, 2, 3, dtype=DOUBLE)
    for stride in (1, 2):
        true, fast = dense_norm(kernel, stride, 1, 1, size=5), unfolding_norm(kernel, (stride,) * 3)
        assert true <= fast <= 6 * true


def test_what_unfoldings_find_exactly() -> None:
    """A single pixel, wherever it is, one channel that is averaged, and tiny and huge numbers."""
    matrix, kernel = torch.randn(5, 4, dtype=DOUBLE), torch.zeros(5, 4, 3, 3, dtype=DOUBLE)
    kernel[:, :, 2, 0] = matrix
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    for scale in (1e-200, 1.0, 1e200):
        assert unfolding_norm(scale * kernel) == pytest.approx(scale * norm, rel=1e-10)
    assert unfolding_norm(0 * kernel) == 0.0
    blur = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=DOUBLE)
    window = torch.outer(blur, blur)[None, None] / 256
    assert convolution_norm(window) == pytest.approx(1.0, rel=1e-10)


def test_unfoldings_without_their_factor_are_no_bound() -> None:
    """The tests above would notice: the stack alone is far below the norm."""
    kernel = torch.ones(2, 2, 3, 3, dtype=DOUBLE)
    stack = float(torch.linalg.matrix_norm(kernel.transpose(0, 1).flatten(1), 2))
    assert stack < 0.5 * dense_norm(kernel, 1, 1, 1) < unfolding_norm(kernel)
