"""Matrix groups: representations, and levels of the stacked generators against dense singular value decompositions."""

import itertools
import math

import pytest
import torch
from escnn import group, gspaces
from escnn.group import directsum

from escnn_soft.grading import fibre_transform, matrix_transform
from escnn_soft.groups import (
    MatrixGroup,
    MatrixRepresentation,
    equivariant_maps,
    escnn_matrix_representation,
    lorentz_group,
    orthogonal_group,
    permutation_group,
    proper_lorentz_group,
    scalar,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
    vector,
)
from escnn_soft.linalg import null_space, singular_levels

CATALOGUE = {
    "SO(2)": special_orthogonal_group(2),
    "SO(3)": special_orthogonal_group(3),
    "O(2)": orthogonal_group(2),
    "O(4)": orthogonal_group(4),
    "O(5)": orthogonal_group(5),
    "SO(1,3)": proper_lorentz_group(),
    "O(1,3)": lorentz_group(),
    "Sp(4)": symplectic_group(2),
    "SU(2)": special_unitary_group(2),
    "SU(3)": special_unitary_group(3),
    "S_4": permutation_group(4),
}

# dimension of the equivariant maps V^a -> V^b, by counting invariants of V^(a + b)
COUNTS = [
    ("SO(2)", 1, 1, 2),  # identity and quarter turn
    ("SO(3)", 1, 3, 3),  # pairings of 4 vectors
    ("SO(3)", 1, 2, 1),  # the cross product
    ("SO(3)", 3, 3, 15),  # 15 pairings of 6 vectors; products of two determinants are combinations of them
    ("O(2)", 2, 2, 3),
    ("O(4)", 2, 2, 3),
    ("O(5)", 1, 1, 1),
    ("O(5)", 1, 3, 3),
    ("O(5)", 2, 2, 3),
    ("O(5)", 1, 2, 0),
    ("O(5)", 3, 3, 15),  # 15,625 entries
    ("SO(1,3)", 2, 2, 4),  # 3 pairings and the determinant
    ("O(1,3)", 1, 1, 1),
    ("O(1,3)", 2, 2, 3),
    ("Sp(4)", 1, 1, 1),
    ("Sp(4)", 2, 2, 3),
    ("SU(3)", 1, 1, 2),  # complex numbers
    ("SU(3)", 2, 2, 12),  # (4 choose 2) ways to conjugate, times 2 pairings
    ("S_4", 1, 1, 2),
    ("S_4", 2, 2, 15),  # partitions of 4 indices
]


def residual(in_rho, out_rho, maps) -> float:
    """Largest defect of unit maps over the generators."""
    x_out, x_in = out_rho.derivatives(), in_rho.derivatives()
    defects = [x @ maps - maps @ y for x, y in zip(x_out, x_in, strict=True)]
    for b in range(len(in_rho.group.generators.discrete)):
        h = in_rho.group.element(b)
        defects.append(out_rho.matrix(h) @ maps - maps @ in_rho.matrix(h))
    return max(float(d.flatten(1).norm(dim=1).max()) for d in defects)


def maps_of(transform) -> torch.Tensor:
    eye = torch.eye(transform.equivariant.dim, dtype=torch.float64)
    return torch.stack([transform.equivariant.synthesis(c)[:, :, 0] for c in eye])


@pytest.mark.parametrize(("name", "a", "b", "count"), COUNTS)
def test_no_equivariant_map_is_lost_and_none_is_wrong(name, a, b, count) -> None:
    V = vector(CATALOGUE[name])
    transform = matrix_transform(V**a, V**b)
    assert transform.equivariant.dim == count
    if count:
        maps = maps_of(transform)
        assert residual(V**a, V**b, maps) < 1e-10
        assert (maps.flatten(1) @ maps.flatten(1).T - torch.eye(count)).abs().max() < 1e-10
    weight = torch.randn(transform.shape, dtype=torch.float64)
    assert (transform.project(weight) - weight).abs().max() < 1e-10  # levels are complete
    assert transform.energies(weight).sum().item() == pytest.approx(weight.square().sum().item(), rel=1e-10)


@pytest.mark.parametrize("name", ["SO(3)", "O(2)", "O(5)", "SU(2)", "S_4"])
def test_levels_of_compact_groups_are_stable(name) -> None:
    V = vector(CATALOGUE[name])
    out, into = V**2 + V, 2 * V + scalar(V.group)
    transform = matrix_transform(into, out)
    weight = torch.randn(transform.shape, dtype=torch.float64)
    source = torch.Generator().manual_seed(1)
    for i in range(len(transform.levels)):
        band = transform.band(i, i + 1)
        part = band.project(weight)
        for _ in range(3):
            g = V.group.sample(source)
            moved = (out.matrix(g) @ part[:, :, 0] @ into.matrix(g).T)[:, :, None]
            assert (band.project(moved) - moved).abs().max() < 1e-10


def stacked(in_rho, out_rho) -> torch.Tensor:
    """The constraint L as one matrix, by Kronecker products."""
    eyes = [torch.eye(rho.size, dtype=torch.float64) for rho in (out_rho, in_rho)]
    rows = [
        torch.kron(x, eyes[1]) - torch.kron(eyes[0], y.T.contiguous())
        for x, y in zip(out_rho.derivatives(), in_rho.derivatives(), strict=True)
    ]
    for b in range(len(in_rho.group.generators.discrete)):
        h = in_rho.group.element(b)
        rows.append(
            torch.kron(out_rho.matrix(h), torch.linalg.inv(in_rho.matrix(h)).T) - torch.eye(len(eyes[0]) * len(eyes[1]))
        )
    return torch.cat(rows)


@pytest.mark.parametrize("name", ["SO(3)", "O(5)", "SO(1,3)", "O(1,3)", "Sp(4)", "SU(2)", "S_4"])
def test_violations_are_the_singular_values_of_the_stacked_generators(name) -> None:
    V = vector(CATALOGUE[name])
    for into, out in ((V, V.dual + scalar(V.group)), (V, V**2)):
        transform = matrix_transform(into, out)
        ours = torch.cat([torch.full((level.dim,), level.sigma, dtype=torch.float64) for level in transform.levels])
        dense = torch.linalg.svdvals(stacked(into, out)).flip(0)
        assert (ours - dense).abs().max() < 1e-6
        weight = torch.randn(transform.shape, dtype=torch.float64)
        for i, level in enumerate(transform.levels):
            part = transform.band(i, i + 1).project(weight).flatten()
            assert abs((stacked(into, out) @ part).norm() - level.sigma * part.norm()) < 1e-8


def test_levels_are_averaged_where_the_generators_are_not_an_invariant_set() -> None:
    so3 = CATALOGUE["SO(3)"]
    two = MatrixGroup.of("two axes", algebra=so3.generators.algebra[:2])
    V = vector(two)
    # each degree l of two generators of three: sigma^2 = 2/3 l (l + 1)
    levels = [(round(level.sigma**2, 8), level.dim) for level in matrix_transform(V, V).levels]
    assert levels == [(0.0, 1), (round(4 / 3, 8), 3), (4.0, 5)]


@pytest.mark.parametrize("name", ["so2", "o2", "so3", "o3"])
def test_lie_groups_of_escnn_convert_and_their_spectra_agree(name) -> None:
    g = {"so2": group.so2_group, "o2": group.o2_group, "so3": group.so3_group, "o3": group.o3_group}[name](2)
    psi = g.standard_representation()
    rho = directsum([psi, g.trivial_representation, psi], name="sum")
    ours = escnn_matrix_representation(rho)
    transform = matrix_transform(ours, ours)
    theirs = fibre_transform(gspaces.no_base_space(g), [rho], [rho])
    expected: dict[float, int] = {}
    for level in theirs.levels:
        expected[round(level.sigma, 6)] = expected.get(round(level.sigma, 6), 0) + level.dim
    assert {round(level.sigma, 6): level.dim for level in transform.levels} == expected
    weight = torch.randn(transform.shape, dtype=torch.float64)
    assert (transform.equivariant.project(weight) - theirs.equivariant.project(weight)).abs().max() < 1e-10


@pytest.mark.parametrize("g", [group.cyclic_group(5), group.dihedral_group(4)])
def test_finite_groups_of_escnn_convert(g) -> None:
    rho = g.regular_representation
    ours = escnn_matrix_representation(rho)
    transform = matrix_transform(ours, ours)
    weight = torch.randn(transform.shape, dtype=torch.float64)
    mean = sum(torch.tensor(rho(e)) @ weight[:, :, 0] @ torch.tensor(rho(e)).T for e in g.elements) / g.order()
    assert (transform.equivariant.project(weight)[:, :, 0] - mean).abs().max() < 1e-10


@pytest.mark.parametrize(("name", "power", "count"), [("SO(1,3)", 2, 4), ("O(4)", 3, 15), ("Sp(4)", 2, 3)])
def test_matrix_free_null_spaces_agree_with_the_levels(name, power, count) -> None:
    V = vector(CATALOGUE[name])
    maps = equivariant_maps(V**power, V**power)
    assert len(maps) == count
    assert residual(V**power, V**power, maps) < 1e-10
    if power == 2:
        other = maps_of(matrix_transform(V**power, V**power))
        cosines = torch.linalg.svdvals(maps.flatten(1) @ other.flatten(1).T)
        assert (cosines - 1).abs().max() < 1e-10


def test_matrix_free_null_spaces_of_sums() -> None:
    V, one = vector(CATALOGUE["O(5)"]), scalar(CATALOGUE["O(5)"])
    into, out = V + one + 2 * V, V + 2 * one
    maps = equivariant_maps(into, out)
    assert len(maps) == 5
    assert residual(into, out, maps) < 1e-10
    assert (maps.flatten(1) @ maps.flatten(1).T - torch.eye(5)).abs().max() < 1e-12


def test_dozens_of_null_vectors_are_all_found() -> None:
    q = torch.linalg.qr(torch.randn(90, 90, dtype=torch.float64))[0]
    values = torch.cat([torch.zeros(40), torch.linspace(1.0, 9.0, 50)]).double()
    basis = null_space(lambda v: q @ (values[:, None] * (q.T @ v)), 90)
    assert basis.shape == (90, 40)
    assert (q.T @ basis)[40:].abs().max() < 1e-10


def test_small_singular_values_are_told_from_zero() -> None:
    values = torch.tensor([0.0, 1e-6, 1.0, 1.0], dtype=torch.float64)
    u, v = (torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0] for _ in range(2))
    L = u @ torch.diag(values) @ v.T
    sigmas, vectors = singular_levels(L.T @ L, lambda x: L @ x)
    assert sigmas[0] == 0.0
    assert sigmas[1].item() == pytest.approx(1e-6, rel=1e-6)
    assert sigmas[2] == sigmas[3]
    assert (L @ vectors[:, 0]).norm() < 1e-14


def test_sums_products_duals_and_powers_act_as_they_should() -> None:
    for g in (CATALOGUE["O(5)"], CATALOGUE["SO(1,3)"]):
        V, one = vector(g), scalar(g)
        e = g.sample(torch.Generator().manual_seed(3))
        m = V.matrix(e)
        assert (V.dual.matrix(e) - torch.linalg.inv(m).T).abs().max() < 1e-10
        assert ((V @ V.dual).matrix(e) - torch.kron(m, torch.linalg.inv(m).T)).abs().max() < 1e-10
        assert ((2 * V + one).matrix(e) - torch.block_diag(m, m, torch.ones(1, 1))).abs().max() == 0
        assert V**2 == V @ V
        assert hash(V**2) == hash(V @ V)
        assert one == V**0
        assert V.dual.dual == V
        assert ((V + one) @ V).fields == (V @ V + V).fields
        assert V.orthogonal == (g.name == "O(5)")
        assert (V.dual == V) == V.orthogonal


def test_elements_are_products_of_their_steps() -> None:
    g = orthogonal_group(2)
    e = g.element([math.pi / 2], 0)
    quarter, flip = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double(), torch.diag(torch.tensor([-1.0, 1.0])).double()
    assert (g.generators.matrix(e) - quarter @ flip).abs().max() < 1e-12


@pytest.mark.parametrize("angle", [1e-3, 0.01, 0.0499, 0.3, 2.0])
def test_small_steps_are_as_exact_as_large_ones(angle) -> None:
    c, s = math.cos(angle), math.sin(angle)
    g = CATALOGUE["SO(2)"]
    assert (
        g.generators.matrix(g.element([angle])) - torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    ).abs().max() < 1e-15


def test_samples_of_compact_groups_average_to_the_equivariant_part() -> None:
    V = vector(CATALOGUE["O(5)"])
    source = torch.Generator().manual_seed(0)
    squares = torch.stack([(V**2).matrix(V.group.sample(source)) for _ in range(400)]).mean(0)
    maps = equivariant_maps(scalar(V.group), V**2)[0]
    assert (squares - maps @ maps.T).abs().max() < 0.1


def test_a_group_that_random_elements_hardly_explore_is_not_split_wrongly() -> None:
    turn = torch.linalg.matrix_exp(1e-3 * CATALOGUE["SO(2)"].generators.algebra)
    V = vector(MatrixGroup.of("a thousandth", discrete=turn))
    transform = matrix_transform(V**2, V**2)
    assert transform.equivariant.dim == 6
    assert residual(V**2, V**2, maps_of(transform)) < 1e-10


def test_a_tiny_generator_violates_all_the_same() -> None:
    V = vector(MatrixGroup.of("slow", algebra=1e-8 * CATALOGUE["SO(3)"].generators.algebra))
    levels = [(level.sigma, level.dim) for level in matrix_transform(V, V).levels]
    assert [dim for _, dim in levels] == [1, 3, 5]
    assert levels[1][0] == pytest.approx(1e-8 * math.sqrt(2), rel=1e-6)
    two = vector(MatrixGroup.of("slow", algebra=V.group.generators.algebra[:2]))
    assert [level.dim for level in matrix_transform(two, two).levels] == [1, 3, 5]  # averaged
    mixed = MatrixRepresentation.of(V.group, "one", algebra=torch.zeros(3, 1, 1))
    assert matrix_transform(V + mixed, V + mixed).equivariant.dim == 2


def test_a_representation_of_your_own() -> None:
    so3 = CATALOGUE["SO(3)"]
    V = vector(so3)
    symmetric = [(i, j) for i, j in itertools.combinations_with_replacement(range(3), 2)]
    basis = torch.zeros(9, 6, dtype=torch.float64)
    for k, (i, j) in enumerate(symmetric):
        basis[3 * i + j, k] = basis[3 * j + i, k] = 1 / (1 if i == j else math.sqrt(2))
    images = basis.T @ (V**2).derivatives() @ basis
    S = MatrixRepresentation.of(so3, "Sym2", algebra=images)
    assert matrix_transform(S, S).equivariant.dim == 2  # trace, and traceless
    assert matrix_transform(V**2, S).equivariant.dim == 2
    skewed = torch.eye(6, dtype=torch.float64) + 0.3 * torch.ones(6, 6, dtype=torch.float64).tril(-1)
    tilted = MatrixRepresentation.of(so3, "tilted", algebra=skewed @ images @ torch.linalg.inv(skewed))
    transform = matrix_transform(tilted, S)
    assert transform.equivariant.dim == 2
    assert residual(tilted, S, maps_of(transform)) < 1e-10


def test_copies_of_an_irrep_that_differ_by_rounding_keep_every_equivariant_map() -> None:
    group = permutation_group(4)
    V, one = vector(group), scalar(group)
    into, out = V @ V + V.dual + 2 * one, 2 * V + one
    assert matrix_transform(into, out).equivariant.dim == len(equivariant_maps(into, out)) == 23
