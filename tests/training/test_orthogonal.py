"""The damped orthogonal factor is that of the singular value decomposition, and sees singular values alone."""

from __future__ import annotations

import pytest
import torch

from escnn_soft.training.orthogonal import damped_orthogonal, largest_squared


def slow(matrix, reference, damping) -> torch.Tensor:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ torch.diag(values / (values**2 + damping**2 * reference).sqrt()) @ right


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_it_is_that_of_the_decomposition(shape, dtype, tolerance, damping) -> None:
    matrix = 1e-3 * torch.randn(shape, dtype=dtype)
    reference = 2 * torch.linalg.matrix_norm(matrix, 2) ** 2
    found = damped_orthogonal(matrix, reference, damping)
    assert torch.allclose(found, slow(matrix, reference, damping), rtol=0, atol=tolerance)


def test_of_nothing_is_nothing() -> None:
    assert torch.equal(damped_orthogonal(torch.zeros(2, 3), torch.zeros(()), 0.1), torch.zeros(2, 3))
    assert (
        torch.equal(largest_squared(torch.zeros(2, 2)), torch.zeros(())) or largest_squared(torch.zeros(2, 2)) < 1e-18
    )


def test_rounding_grows_by_no_more_than_damping_allows() -> None:
    matrix = torch.diag(torch.tensor([1.0, 1e-9], dtype=torch.float64))
    values = torch.linalg.svdvals(damped_orthogonal(matrix, torch.tensor(1.0, dtype=torch.float64), 0.1))
    assert values[1] / values[0] <= 1e-8 * 1.01
    assert values[0] == pytest.approx(1 / 1.01**0.5)


def test_the_largest_is_bounded_from_both_sides() -> None:
    for n in (1, 4, 50):
        factor = torch.randn(n, 2 * n, dtype=torch.float64)
        largest = torch.linalg.matrix_norm(factor @ factor.T, 2)
        assert largest * (1 - 1e-12) <= largest_squared(factor @ factor.T) <= largest * n ** (1 / 16) * (1 + 1e-12)
