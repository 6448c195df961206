"""Sums of products: what they stand for, how many numbers they take, and what is stable under the group."""

import pytest
import torch

from escnn_soft.grading import LowRank, WeightTransform, fibre_transform, kernel_transform
from tests.cases import field_types, harmonics, planar, point


def planar_transform(name: str, fields: int, kernel_size: int = 3) -> WeightTransform:
    space = planar(name)
    representations = [space.regular_repr] * fields
    return kernel_transform(space, representations, representations, kernel_size, harmonics(kernel_size))


def mixed() -> WeightTransform:
    in_type, out_type = (pair + pair + pair for pair in field_types(planar("D4"))[2])
    return kernel_transform(in_type.gspace, in_type.representations, out_type.representations, 3, harmonics(3))


def product() -> WeightTransform:
    space = point("SO(3)")
    fields = [space.irrep(0), space.irrep(1)] * 3
    return fibre_transform(space, fields, [*fields, space.irrep(2)])


TRANSFORMS = {
    "C4": lambda: planar_transform("C4", 3),
    "C8": lambda: planar_transform("C8", 3),
    "D4": mixed,
    "SO(3)": product,
}


def filled(low_rank: LowRank, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    numbers = (torch.randn(sum(sizes), generator=generator, dtype=torch.float64) for sizes in low_rank.sizes)
    return tuple(numbers)


def slow(low_rank: LowRank, kernels, out, into) -> torch.Tensor:
    """The sum of products, block by block and product by product."""
    w, u, v = (t.split(sizes) for t, sizes in zip((kernels, out, into), low_rank.sizes, strict=True))
    found = []
    for b, (i, j) in enumerate((i, j) for i in range(len(low_rank.copies_out)) for j in range(len(low_rank.copies_in))):
        block = w[b]
        if low_rank.factored[b]:
            columns = (u[i].view(-1, low_rank.rank).T, v[j].view(-1, low_rank.rank).T, w[b].view(low_rank.rank, -1))
            block = sum(torch.einsum("i,j,d->ijd", *terms) for terms in zip(*columns, strict=True))
        found.append(block.reshape(-1))
    return torch.cat(found)


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_coefficients_are_sums_of_products(name, rank) -> None:
    transform = TRANSFORMS[name]().soft
    low_rank = LowRank.of(transform, rank)
    factors = filled(low_rank)
    found = low_rank.coefficients(*factors)
    assert found.shape == (transform.dim,)
    assert low_rank.dim == transform.dim
    assert torch.allclose(found, slow(low_rank, *factors), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_rank_never_costs_more_than_all_coefficients(name) -> None:
    transform = TRANSFORMS[name]().soft
    numbers = [LowRank.of(transform, rank).numbers for rank in range(1, 40)]
    assert max(numbers) <= transform.dim
    assert numbers[0] < transform.dim
    whole = LowRank.of(transform, 10**6)
    assert whole.numbers == transform.dim
    coefficients = torch.randn(transform.dim, dtype=torch.float64)
    assert torch.equal(whole.coefficients(coefficients, *whole.drawn(coefficients)), coefficients)


@pytest.mark.parametrize(("fields", "rank"), [(16, 3), (64, 32)])
def test_of_many_fields_it_is_a_fifth_of_escnns_own(fields, rank) -> None:
    transform = planar_transform("C8", fields)
    assert LowRank.of(transform.soft, rank).numbers <= 0.2 * transform.equivariant.dim
    assert transform.soft.dim == 11 * transform.equivariant.dim


def moved(transform: WeightTransform, element, coefficients: torch.Tensor) -> torch.Tensor:
    """Each coefficient vector moved by the irrep of its level."""
    moves = [transform.group.matrix(level.irrep_id, element) for level in transform.levels]
    pieces = []
    for piece, block in zip(transform.pieces(coefficients), transform.blocks, strict=True):
        sizes = torch.bincount(block.level, minlength=len(moves)).tolist()
        parts = zip(piece.view(block.shape).split(sizes, dim=1), moves, strict=True)
        turned = [(c.reshape(len(c), -1, len(m)) @ torch.as_tensor(m).T).reshape(c.shape) for c, m in parts]
        pieces.append(torch.cat(turned, dim=1).flatten())
    return torch.cat(pieces)


@pytest.mark.parametrize("name", ["C4", "D4", "SO(3)"])
def test_the_group_and_gains_leave_two_factors_alone(name) -> None:
    transform = TRANSFORMS[name]().soft
    low_rank = LowRank.of(transform, 2)
    kernels, out, into = filled(low_rank)
    coefficients = low_rank.coefficients(kernels, out, into)
    group = transform.levels[0].group
    elements = group.testing_elements() if not group.continuous else group.grid("rand", 3)
    gains = torch.rand(len(transform.levels), dtype=torch.float64)
    others = [moved(transform, g, coefficients) for g in list(elements)[:6]] + [coefficients * transform.spread(gains)]
    for wanted in others:
        found = low_rank.kernels(wanted, out, into)
        assert (low_rank.coefficients(found, out, into) - wanted).norm() <= 1e-10 * wanted.norm()
        assert all(torch.equal(a, b) for a, b in zip(low_rank.nearest(wanted, out, into)[1:], (out, into), strict=True))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_is_a_sum_of_products_is_found_again(name) -> None:
    low_rank = LowRank.of(TRANSFORMS[name]().soft, 2)
    wanted = low_rank.coefficients(*filled(low_rank))
    found = low_rank.nearest(wanted, *filled(low_rank, 1)[1:])
    assert (low_rank.coefficients(*found) - wanted).norm() <= 1e-6 * wanted.norm()


def test_what_needs_fewer_products_leaves_columns_as_they_were_drawn() -> None:
    low_rank, fewer = (LowRank.of(planar_transform("C4", 4).soft, rank) for rank in (3, 1))
    wanted = fewer.coefficients(*filled(fewer))
    start = low_rank.drawn(wanted)
    found = low_rank.nearest(wanted, *start)
    assert (low_rank.coefficients(*found) - wanted).norm() <= 1e-6 * wanted.norm()
    zero, *factors = low_rank.nearest(torch.zeros_like(wanted), *start)
    assert not zero.any()
    assert all(torch.equal(a, b) for a, b in zip(factors, start, strict=True))
    for side in found[1:]:
        assert (side.view(-1, 4, 3).norm(dim=1) > 0.1).all()  # each of them gets a gradient


def test_columns_have_length_one_on_average() -> None:
    low_rank = LowRank.of(planar_transform("C4", 16).soft, 8)
    for side in low_rank.drawn(torch.empty(0)):
        assert abs(side.view(-1, 16, 8).square().sum(1).mean() - 1) < 0.3
