"""What every filter of a plain weight is, whatever grades it: gains multiply level by level, so projections project."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Conv2d

from escnn_soft import Cutoff, Exponential, SoftFilter
from escnn_soft.grading import RotaryChannels, TokenShifts, TokenTable, token_maps, token_spectrum
from escnn_soft.layers import graded_kernel
from tests.cases import planar
from tests.grading.positions.test_tokens import axial


def pixels(name: str, size: int):
    space, conv = planar(name), Conv2d(3, 2, size)
    types = (space.type(*[space.trivial_repr] * n) for n in (3, 2))
    return graded_kernel(conv, *types), tuple(conv.weight.shape)


def fields(name: str, size: int):
    space = planar(name)
    field = space.type(space.trivial_repr, space.irrep(1))
    return graded_kernel(Conv2d(field.size, field.size, size), field, field), (field.size, field.size, size, size)


def table(symmetry, sides: tuple[int, int]):
    shape = (1, 2 + sides[0] * sides[1], 3)
    return token_spectrum(symmetry, TokenTable(shape, axis=1, sides=sides, before=1)), shape


GRADED = {
    "pixels, C4": lambda: pixels("C4", 4),
    "pixels, C8": lambda: pixels("C8", 5),
    "pixels, O(2)": lambda: pixels("O(2)", 2),
    "fields, C4": lambda: fields("C4", 3),
    "fields, C8": lambda: fields("C8", 3),
    "tokens, D4": lambda: table(planar("D4"), (5, 5)),
    "tokens, SO(2)": lambda: table(planar("SO(2)"), (6, 6)),
    "tokens, shifts": lambda: table(TokenShifts(), (4, 6)),
    "token maps, D4": lambda: (token_maps(planar("D4"), (4, 4), (3, 3)), (9, 16)),
    "rotary, D4": lambda: (RotaryChannels(axial(4), blocks=1, others=2).graded(planar("D4"), (14, 3)), (14, 3)),
}
graded_and_shape = cache(lambda name: GRADED[name]())
seeds = st.integers(0, 2**31)


def drawn(name: str, seed: int):
    graded, shape = graded_and_shape(name)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=draw, dtype=torch.float64)
    gains = torch.rand(2, len(graded.levels), generator=draw, dtype=torch.float64)
    return graded, weight, gains


@pytest.mark.parametrize("name", GRADED)
@given(seed=seeds)
def test_gains_multiply_level_by_level(name, seed) -> None:
    graded, weight, (first, second) = drawn(name, seed)
    twice = graded.filtered(graded.filtered(weight, first), second)
    assert torch.allclose(twice, graded.filtered(weight, first * second), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GRADED)
@given(seed=seeds)
def test_projections_project_and_unit_gains_change_nothing(name, seed) -> None:
    graded, weight, (gains, _) = drawn(name, seed)
    kept = graded.filtered(weight, gains.round())
    assert torch.allclose(graded.filtered(kept, gains.round()), kept, rtol=0, atol=1e-12)
    assert torch.equal(graded.filtered(weight, torch.ones_like(gains)), weight)
    assert torch.allclose(graded.filtered(weight, gains.round()) + graded.filtered(weight, 1 - gains.round()), weight)


@pytest.mark.parametrize("name", GRADED)
@given(seed=seeds, stops=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_what_breaks_the_symmetry_grows_with_the_softness_and_without_a_jump_at_one(name, seed, stops) -> None:
    graded, weight, _ = drawn(name, seed)
    weight = weight - SoftFilter(graded, 0.0, weight)(weight)  # nothing equivariant is left
    sizes = [
        [float(e) for e in graded.energies(SoftFilter(graded, Exponential(s), weight)(weight))]
        for s in (0.0, *stops, 1.0)
    ]
    for before, after in pairwise(sizes):
        assert all(b <= a + 1e-12 for b, a in zip(before, after, strict=True))
    near = SoftFilter(graded, Exponential(1 - 1e-9), weight)(weight)
    assert (near - weight).abs().max() < 1e-6 * weight.abs().max() + 1e-12


@pytest.mark.parametrize("name", GRADED)
@given(seed=seeds, calls=st.integers(2, 5))
def test_kept_in_evaluation_mode_and_the_same_at_every_call(name, seed, calls) -> None:
    graded, weight, _ = drawn(name, seed)
    for softness in (0.3, Cutoff(1.0)):
        soft_filter = SoftFilter(graded, softness, weight)
        trained = [soft_filter(weight) for _ in range(calls)]
        soft_filter.eval()
        kept = [soft_filter(weight) for _ in range(calls)]
        assert all(torch.equal(value, trained[0]) for value in (*trained, *kept))
        assert all(value is kept[0] for value in kept)
