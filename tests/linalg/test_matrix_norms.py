"""The largest of many norms: that of the singular values, whichever precision proves it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from escnn_soft.linalg import largest_norm, spectral_norm
from escnn_soft.linalg.matrix_norms import _at_most


def slow(*batches):
    return max(float(torch.linalg.svdvals(batch).max()) for batch in batches)


@given(
    count=st.integers(1, 5),
    rows=st.sampled_from([1, 20, 33, 40, 70]),
    columns=st.sampled_from([1, 33, 40, 64]),
    scale=st.sampled_from([1e-300, 1e-150, 1.0, 1e100, 1e300]),
    real=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_largest_norm_is_that_of_the_singular_values(count, rows, columns, scale, real, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if real else torch.complex128
    sizes = torch.rand(2, count, 1, 1, generator=generator, dtype=torch.float64)
    batches = [scale * size * torch.randn(count, rows, columns, generator=generator, dtype=dtype) for size in sizes]
    exact = slow(*batches)
    assert exact * (1 - 1e-15) <= largest_norm(batches) <= exact * (1 + 1e-10)


@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-12, 1e-8, 1e-5, 1e-3])
def test_norms_that_are_hard_to_tell_apart(apart) -> None:
    """Single precision proves nothing here; the largest one comes last, and in a batch of its own."""
    unitary = torch.linalg.qr(torch.randn(7, 48, 48, dtype=torch.complex128)).Q
    matrices = unitary * (1 + apart * torch.arange(7)).view(-1, 1, 1)
    exact = slow(matrices)
    for batches in ([matrices], [matrices[:6], matrices[6:]], [matrices[6:], matrices[:6]]):
        assert exact * (1 - 1e-14) <= largest_norm(batches) <= exact * (1 + 1e-10)


def test_a_factorisation_proves_no_bound_that_is_false() -> None:
    """The bound is short of the norm by less than what rounding hides, in both precisions."""
    for dtype, short in ((torch.complex64, 1e-7), (torch.complex128, 1e-15), (torch.float32, 1e-7)):
        exact = torch.randn(20, 60, 50, dtype=torch.complex128 if dtype.is_complex else torch.float64)
        exact = exact / torch.linalg.matrix_norm(exact, 2)[:, None, None]
        gram = exact.to(dtype).mH @ exact.to(dtype)
        assert not _at_most(1 - short, gram, 60).any()
        assert _at_most(1.1, gram, 60).all()


def test_a_broken_test_is_noticed(monkeypatch) -> None:
    """If everything counted as proven, the largest norm would be missed."""
    matrices = torch.randn(40, 40, 40, dtype=torch.complex128)
    matrices[:20] *= 0.1
    monkeypatch.setattr("escnn_soft.linalg.matrix_norms._at_most", lambda bound, gram, m: torch.ones(len(gram)) > 0)
    assert largest_norm([matrices[:20], matrices[20:]]) < slow(matrices)


def test_matrices_of_zeros() -> None:
    zeros, ones = torch.zeros(3, 40, 40, dtype=torch.float64), torch.ones(1, 40, 40, dtype=torch.float64)
    assert largest_norm([zeros]) == 0.0
    for batches in ([zeros, ones], [torch.cat([zeros, ones])]):
        assert largest_norm(batches) == pytest.approx(40.0, rel=1e-10)
    assert float(spectral_norm(ones).max()) == pytest.approx(40.0)
