"""Token grids: filters are equivariant, lose no equivariant direction, and are projections level by level."""

import math
from itertools import product

import pytest
import torch
from escnn import gspaces

from escnn_soft import Exponential
from escnn_soft.errors import GridActionError, ShapeError
from escnn_soft.grading import (
    GradedPermutation,
    Grading,
    RotaryChannels,
    RotaryTable,
    TokenShifts,
    TokenTable,
    graded_shifts,
    token_maps,
    token_permutations,
    token_spectrum,
)
from tests.cases import GRID_EXACT, planar

SIDES = [(7, 7), (8, 8), (14, 14), (16, 16), (32, 32)]
SYMMETRIES = [*GRID_EXACT, "C8", "D6", "SO(2)", "O(2)", "flip tilted", "shifts"]


def symmetry(name):
    return TokenShifts() if name == "shifts" else planar(name)


def strict(graded: Grading, weight: torch.Tensor) -> torch.Tensor:
    return graded.filtered(weight, (graded.dial == 0).double())


def looked_up(name: str, sides: tuple[int, int]) -> list[torch.Tensor]:
    """Image of every token under every element, each found by its coordinates."""
    rows, columns = sides
    images = []
    for g in planar(name).fibergroup.elements:
        matrix = planar(name).basespace_action(g)
        image = []
        for row, column in product(range(rows), range(columns)):
            x, y = matrix @ [column - (columns - 1) / 2, (rows - 1) / 2 - row]  # y points up, rows run down
            image.append(round((rows - 1) / 2 - y) * columns + round(x + (columns - 1) / 2))
        images.append(torch.tensor(image))
    return images


@pytest.mark.parametrize("sides", [(3, 3), (4, 4), (5, 5)])
@pytest.mark.parametrize("name", GRID_EXACT)
def test_permutations_are_those_of_the_coordinates(name, sides) -> None:
    source = token_permutations(planar(name), sides).source
    for row, image in zip(source, looked_up(name, sides), strict=True):
        assert torch.equal(row[image], torch.arange(len(image)))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("name", ["C4", "D4"])
def test_maps_between_grids_are_equivariant_and_none_is_lost(name, sides) -> None:
    graded = token_maps(planar(name), sides, sides)
    weight = torch.randn(math.prod(sides), math.prod(sides), dtype=torch.float64)
    kept = strict(graded, weight)
    grid = torch.arange(math.prod(sides)).view(sides)
    moves = [grid.rot90().flatten()] + ([grid.flip(0).flatten()] if name == "D4" else [])
    for move in moves:
        assert (kept[move][:, move] - kept).norm() <= 1e-10 * kept.norm()
    images = [image.numpy() for image in looked_up(name, sides)]
    character = sum(int((image == range(len(image))).sum()) ** 2 for image in images) // len(images)
    assert graded.levels[0].dim == character
    if math.prod(sides) <= 256:  # one direction an orbit of pairs: as many as there are smallest pairs
        first = torch.stack([torch.from_numpy(image) for image in images])
        pairs = (first[:, :, None] * math.prod(sides) + first[:, None, :]).flatten(1)
        assert int((pairs.min(0).values == torch.arange(pairs.shape[1])).sum()) == character


@pytest.mark.parametrize("name", ["C4", "D4", "flip horizontal"])
def test_the_filter_of_maps_is_the_projector(name) -> None:
    graded = token_maps(planar(name), (3, 3), (4, 4))
    units = torch.eye(9 * 16, dtype=torch.float64).view(-1, 16, 9)
    projector = torch.stack([strict(graded, unit).flatten() for unit in units])
    assert torch.allclose(projector @ projector, projector, atol=1e-12)
    assert torch.allclose(projector, projector.T, atol=1e-12)
    assert int(torch.linalg.matrix_rank(projector)) == graded.levels[0].dim
    averaged = sum(
        torch.stack([torch.eye(16)[p][:, :]]).double().transpose(1, 2) @ units @ torch.eye(9)[q].double()
        for p, q in zip(looked_up(name, (4, 4)), looked_up(name, (3, 3)), strict=True)
    ) / len(looked_up(name, (3, 3)))
    assert torch.allclose(projector.view_as(averaged), averaged, atol=1e-12)


@pytest.mark.parametrize("sides", [(7, 7), (8, 8)])
@pytest.mark.parametrize("name", SYMMETRIES)
def test_tables_split_into_levels(name, sides) -> None:
    table = TokenTable((1, math.prod(sides) + 3, 5), axis=1, sides=sides, before=3)
    graded = token_spectrum(symmetry(name), table)
    weight = torch.randn(table.shape, dtype=torch.float64)
    parts = [graded.filtered(weight, unit) for unit in torch.eye(len(graded.levels), dtype=torch.float64)]
    assert torch.equal(graded.filtered(weight, torch.ones(len(parts), dtype=torch.float64)), weight)
    assert torch.allclose(sum(parts), weight, atol=1e-10)
    assert sum(level.dim for level in graded.levels) == weight.numel()
    energies = graded.energies(weight)
    for i, part in enumerate(parts):
        assert torch.allclose(energies[i], part.square().sum(), atol=1e-9)
        again = graded.filtered(part, torch.eye(len(parts), dtype=torch.float64)[i])
        assert torch.allclose(again, part, atol=1e-10)
    assert torch.allclose(parts[0][:, :3], weight[:, :3], atol=1e-12)  # class and register tokens
    dial = graded.dial
    assert dial[0] == 0
    assert (dial.diff() >= 0).all()


@pytest.mark.parametrize("name", ["D4", "SO(2)", "shifts"])
def test_filters_of_tables_grow_with_the_softness_without_a_jump(name) -> None:
    table = TokenTable((2, 5, 5, 3), axis=1, sides=(5, 5))
    graded = token_spectrum(symmetry(name), table)
    weight = torch.randn(table.shape, dtype=torch.float64)
    filtered = [
        graded.filtered(weight, Exponential(s).gains(graded.dial)) for s in (0.0, 1e-9, 0.3, 0.9, 1 - 1e-9, 1.0)
    ]
    energies = torch.stack([graded.energies(w) for w in filtered])
    assert (energies.diff(dim=0) >= -1e-10).all()
    assert torch.equal(filtered[-1], weight)
    assert torch.allclose(filtered[-2], weight, atol=1e-7)
    assert torch.allclose(filtered[1], filtered[0], atol=1e-7)


@pytest.mark.parametrize("name", ["D4", "C8", "shifts"])
def test_filters_of_tables_have_gradients(name) -> None:
    graded = token_spectrum(symmetry(name), TokenTable((1, 10, 2), axis=1, sides=(3, 3), before=1))
    weight = torch.randn(1, 10, 2, dtype=torch.float64, requires_grad=True)
    gains = torch.rand(len(graded.levels), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(graded.filtered, (weight, gains))


@pytest.mark.parametrize("name", ["D4", "SO(2)", "flip horizontal", "flip vertical"])
def test_grids_stored_by_columns(name) -> None:
    """The same filter as of the grid stored by rows, with its axes swapped before and after."""
    rows, columns = (TokenTable((4, 4, 2), axis=0, sides=(4, 4), by_columns=b) for b in (False, True))
    by_rows, by_columns = (token_spectrum(symmetry(name), table) for table in (rows, columns))
    weight = torch.randn(4, 4, 2, dtype=torch.float64)
    expected = strict(by_rows, weight)
    assert torch.allclose(strict(by_columns, weight.transpose(0, 1).contiguous()), expected.transpose(0, 1), atol=1e-12)


@pytest.mark.parametrize("name", GRID_EXACT)
def test_the_level_of_a_table_is_stable_and_of_its_irrep(name) -> None:
    table = TokenTable((36, 2), axis=0, sides=(6, 6))
    graded = token_spectrum(planar(name), table)
    weight = torch.randn(table.shape, dtype=torch.float64)
    elements = planar(name).fibergroup.elements
    for i, level in enumerate(graded.levels):
        unit = torch.eye(len(graded.levels), dtype=torch.float64)[i]
        part = graded.filtered(weight, unit)
        moved = [torch.empty_like(part).index_copy(0, image, part) for image in looked_up(name, (6, 6))]
        for m in moved:
            assert torch.allclose(graded.filtered(m, unit), m, atol=1e-12)
        if level.irrep.size == 1:
            for g, m in zip(elements, moved, strict=True):
                assert torch.allclose(m, float(level.irrep(g)[0, 0]) * part, atol=1e-12)


@pytest.mark.parametrize("name", ["C8", "SO(2)", "D8", "O(2)"])
def test_rings_are_kept_exactly_by_the_turns_of_the_grid(name) -> None:
    space = gspaces.flipRot2dOnR2(8) if name == "D8" else planar(name)
    graded = token_spectrum(space, TokenTable((14, 14, 3), axis=0, sides=(14, 14)))
    weight = torch.randn(14, 14, 3, dtype=torch.float64)
    kept = strict(graded, weight)
    assert torch.allclose(kept.rot90(1, (0, 1)), kept, atol=1e-11)
    if space.fibergroup.name in ("D8", "O(2)"):
        assert torch.allclose(kept.flip(0), kept, atol=1e-11)
    assert kept.var() > 1e-3  # tokens at other distances from the centre go on being told apart
    constant = torch.full_like(weight, 2.0)
    assert torch.allclose(strict(graded, constant), constant, atol=1e-12)


def test_rings_of_a_rotation_are_those_of_smooth_functions() -> None:
    """A smooth radial function is kept to what joining rings linearly costs, a smooth dipole is not kept at all."""
    graded = token_spectrum(planar("SO(2)"), TokenTable((16, 16, 1), axis=0, sides=(16, 16)))
    steps = torch.arange(16, dtype=torch.float64) - 7.5
    x, y = steps[None, :, None].expand(16, 16, 1), -steps[:, None, None].expand(16, 16, 1)
    radial = torch.exp(-(x.square() + y.square()) / 32)
    assert (strict(graded, radial) - radial).norm() < 0.02 * radial.norm()
    assert strict(graded, x * radial).norm() < 1e-10
    frequencies = {
        level.sigma: energy for level, energy in zip(graded.levels, graded.energies(x * radial), strict=True)
    }
    assert frequencies[1.0] > 0.999 * (x * radial).square().sum()


@pytest.mark.parametrize("sides", [(4, 4), (4, 5), (5, 3), (1, 6), (2, 2)])
def test_waves_are_irreps_of_the_shifts(sides) -> None:
    graded = graded_shifts(sides)
    weight = torch.randn(math.prod(sides), dtype=torch.float64)
    group = graded.levels[0].group
    for i, level in enumerate(graded.levels):
        part = graded.filtered(weight, torch.eye(len(graded.levels), dtype=torch.float64)[i]).view(sides)
        down, right = (
            group.pair_elements(group.G1.element(a), group.G2.element(b))
            for a, b in ((1 % sides[0], 0), (0, 1 % sides[1]))
        )
        both = down @ right
        assert level.dim == level.irrep.size
        for element, shift in ((down, (1, 0)), (right, (0, 1)), (both, (1, 1))):
            # <f, g f> = |f|^2 trace psi(g) / d within one irrep of multiplicity one
            overlap = (part * part.roll(shift, (0, 1))).sum()
            expected = part.square().sum() * float(level.irrep(element).trace()) / level.irrep.size
            assert torch.allclose(overlap, expected, atol=1e-12)


def test_violation_of_waves_tends_to_their_length() -> None:
    graded = graded_shifts((64, 64))
    lengths = {level.irrep_id[:2]: level.sigma for level in graded.levels}
    assert lengths[((1,), (1,))] == pytest.approx(math.sqrt(2), rel=1e-3)
    assert graded.levels[0].dim == 1


def axial(sides: int, pairs: int = 3, *, offset: float = 0.0, interleaved: bool = False) -> RotaryTable:
    """A rotary table along two axes: frequencies 0.3, 0.15, ... for y, then for x."""
    steps = torch.arange(sides, dtype=torch.float64) - (sides - 1) / 2 + offset
    y, x = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
    frequencies = 0.3 / 2.0 ** torch.arange(pairs, dtype=torch.float64)
    angles = torch.cat([y[:, None] * frequencies, x[:, None] * frequencies], dim=1)
    return RotaryTable(torch.polar(torch.ones_like(angles), angles), (sides, sides), interleaved)


def rotated(table: RotaryTable, channels: torch.Tensor) -> torch.Tensor:
    """R(p) x for channels (points, 2 * pairs)."""
    pairs = table.phases.shape[1]
    if table.interleaved:
        z = torch.complex(channels[:, 0::2], channels[:, 1::2]) * table.phases
        return torch.stack([z.real, z.imag], dim=2).flatten(1)
    z = torch.complex(channels[:, :pairs], channels[:, pairs:]) * table.phases
    return torch.cat([z.real, z.imag], dim=1)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("name", GRID_EXACT)
def test_turns_conjugate_the_rotary_rotations(name, interleaved) -> None:
    """R(g p) = pi(g) R(p) pi(g)^-1, with pi a representation."""
    table = axial(5, interleaved=interleaved)
    pi = table.representation(planar(name))
    x = torch.randn(1, 12, dtype=torch.float64).expand(25, -1)
    for i, image in enumerate(looked_up(name, (5, 5))):
        left = rotated(table, pi.act(i, x, 1))[image]  # R(g p) pi(g) x
        assert torch.allclose(left, pi.act(i, rotated(table, x), 1), atol=1e-9)


def test_the_four_channels_of_a_frequency() -> None:
    """Two axes: the trivial irrep, x^2 - y^2 and the vector of D_4, one of each a frequency."""
    channels = RotaryChannels(axial(4), blocks=2, others=5)
    graded = channels.graded(planar("D4"), (2 * 12 + 5, 7))
    assert {level.irrep_id: level.dim for level in graded.levels} == {
        (0, 0): (2 * 3 + 5) * 7, (0, 2): 2 * 3 * 7, (1, 1): 2 * 6 * 7,
    }  # fmt: skip


def test_scores_of_kept_queries_and_keys_are_invariant() -> None:
    table = axial(6)
    graded = RotaryChannels(table, blocks=1).graded(planar("D4"), (12, 4))
    query, key = (strict(graded, torch.randn(12, 4, dtype=torch.float64)) for _ in range(2))
    tokens = torch.randn(36, 4, dtype=torch.float64)

    def scores(x: torch.Tensor) -> torch.Tensor:
        prefix = (x.mean(0, keepdim=True) @ key.T) @ rotated(table, x @ query.T).T  # of a token without a rotation
        return torch.cat([prefix, rotated(table, x @ query.T) @ rotated(table, x @ key.T).T])

    before = scores(tokens)
    assert before[1:].std() > 1e-3
    for image in looked_up("D4", (6, 6)):
        moved = scores(torch.empty_like(tokens).index_copy(0, image, tokens))
        assert torch.allclose(moved[1:][image][:, image], before[1:], atol=1e-10)
        assert torch.allclose(moved[0, image], before[0], atol=1e-10)


def test_rotary_embeddings_out_of_reach_are_refused() -> None:
    with pytest.raises(GridActionError, match="permutes the rotary axes"):
        axial(4).representation(planar("C8"))
    with pytest.raises(GridActionError, match="centre of the grid"):
        RotaryChannels(axial(4, offset=1.5), blocks=1).graded(planar("C4"), (12, 4))
    RotaryChannels(axial(4, offset=1.5), blocks=1, prefixed=False).graded(planar("C4"), (12, 4))
    tilted = torch.polar(torch.ones(16, 2), torch.randn(16, 2)).to(torch.complex128)
    with pytest.raises(GridActionError, match="a rotary embedding whose frequencies the group permutes"):
        RotaryTable(tilted, (4, 4), False).representation(planar("C4"))
    with pytest.raises(GridActionError, match="turns or mirrors"):
        RotaryChannels(axial(4), blocks=1).graded(TokenShifts(), (12, 4))


def test_grids_that_the_group_does_not_act_on_are_refused() -> None:
    with pytest.raises(GridActionError, match="square grid"):
        token_spectrum(planar("C4"), TokenTable((12, 2), axis=0, sides=(3, 4)))
    assert isinstance(token_spectrum(planar("C2"), TokenTable((12, 2), axis=0, sides=(3, 4))), GradedPermutation)
    with pytest.raises(GridActionError, match="maps the grid of tokens to itself"):
        token_maps(planar("C8"), (4, 4), (4, 4))
    with pytest.raises(GridActionError, match="table of offsets"):
        token_spectrum(TokenShifts(), TokenTable((9, 2), axis=0, sides=(3, 3), offsets=True))
    with pytest.raises(ShapeError, match="4 x 4 entries or more along axis 1"):
        TokenTable((1, 10, 2), axis=1, sides=(4, 4))
