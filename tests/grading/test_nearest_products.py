"""Alternating least squares, against singular value decompositions where these know the best."""

import pytest
import torch

from escnn_soft.grading.nearest_products import nearest_products

F64 = torch.float64


def error(blocks, u, v) -> float:
    """What the best W leaves, by the normal equations of each block."""
    missing = 0.0
    for (i, j), c in blocks.items():
        pairs = torch.stack([torch.outer(a, b).flatten() for a, b in zip(u[i].T, v[j].T, strict=True)], dim=1)
        w = torch.linalg.lstsq(pairs, c.flatten(0, 1), driver="gelsd").solution
        missing += float((pairs @ w - c.flatten(0, 1)).square().sum())
    return missing**0.5


def others(rows: int, columns: int, rank: int):
    return {0: torch.ones(rows, rank, dtype=F64)}, {0: torch.ones(columns, rank, dtype=F64)}


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_of_one_direction_it_is_the_singular_value_decomposition(rank) -> None:
    torch.manual_seed(rank)
    matrix = torch.randn(6, 5, dtype=F64)
    u, v = nearest_products({(0, 0): matrix[..., None]}, rank, others(6, 5, rank))
    best = torch.linalg.svdvals(matrix)[rank:].norm()
    assert error({(0, 0): matrix[..., None]}, u, v) == pytest.approx(float(best), rel=1e-2)


def test_one_factor_serves_all_its_blocks() -> None:
    torch.manual_seed(0)
    blocks = {(0, j): torch.randn(5, 4, 3, dtype=F64) for j in (0, 1)}
    start = {0: torch.ones(5, 2, dtype=F64)}, {j: torch.ones(4, 2, dtype=F64) for j in (0, 1)}
    u, v = nearest_products(blocks, 2, start)
    norm = float(torch.stack([c.norm() for c in blocks.values()]).norm())
    assert set(u) == {0}
    assert set(v) == {0, 1}
    assert error(blocks, u, v) < 0.9 * norm
    for trial in range(20):  # better than what comes by chance
        generator = torch.Generator().manual_seed(trial)
        chance = [{i: torch.randn(m.shape, generator=generator, dtype=F64) for i, m in side.items()} for side in (u, v)]
        assert error(blocks, u, v) < error(blocks, *chance)


def test_products_that_cross_are_found() -> None:
    """Each leading direction of one side goes with another one of the other: no product lies on a diagonal."""
    c = torch.zeros(2, 2, 2, dtype=F64)
    c[0, 1, 0] = c[1, 0, 1] = 1.0
    u, v = nearest_products({(0, 0): c}, 2, others(2, 2, 2))
    assert error({(0, 0): c}, u, v) < 1e-6
