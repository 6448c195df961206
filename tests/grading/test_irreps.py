"""One protocol for the irreps of a group: escnn's groups, matrix groups, and a new one that is neither."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import escnn_soft as es
from escnn_soft.bounds import IrrepId, Orbit, largest_squared_error, squared_errors
from escnn_soft.grading import (
    ChannelFrame,
    Field,
    GradedWeight,
    IrrepGrams,
    KernelSpace,
    matrix_transform,
    weight_transform,
)
from escnn_soft.grading.matrix_spectrum import matrix_spectrum
from escnn_soft.groups import (
    Irrep,
    IrrepProducts,
    Irreps,
    IrrepTable,
    MatrixElement,
    MatrixGroup,
    Splitting,
    fibre_group,
    lorentz_group,
    orthogonal_group,
    permutation_group,
    scalar,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
    vector,
)
from escnn_soft.linalg import intertwiners
from tests.cases import POINT, point, regular, some_irreps

MATRIX_GROUPS = [
    orthogonal_group(5), special_orthogonal_group(3), lorentz_group(), symplectic_group(2),
    special_unitary_group(2), permutation_group(4),
]  # fmt: skip


# ---------------------------------------------------------------------- a new group, in the test alone


@dataclass(frozen=True)
class Wave:
    """The real irrep of frequency k of C_n: a shift by j turns a pair by 2 pi j k / n."""

    n: int
    k: int

    @property
    def size(self) -> int:
        return 1 if 2 * self.k % self.n == 0 else 2

    def __call__(self, shift: int) -> NDArray[np.float64]:
        c, s = (f(2 * math.pi * self.k * shift / self.n) for f in (math.cos, math.sin))
        return np.array([[c, -s], [s, c]])[: self.size, : self.size]


@dataclass(frozen=True)
class Shifts:
    """The cyclic group of n shifts."""

    n: int
    trivial: IrrepId = (0,)

    @property
    def worst_violation(self) -> float:
        return self.violation((self.n // 2,))

    @property
    def group(self) -> "Shifts":
        return self

    def irrep(self, *irrep: int) -> Wave:
        return Wave(self.n, *irrep)

    def size(self, irrep: IrrepId) -> int:
        return self.irrep(*irrep).size

    def violation(self, irrep: IrrepId) -> float:
        return self.n / math.pi * math.sin(math.pi * irrep[0] / self.n)

    def product(self, left: IrrepId, right: IrrepId) -> Splitting:
        rho, ids = np.kron(self.irrep(*left)(1), self.irrep(*right)(1)), [(k,) for k in range(self.n // 2 + 1)]
        return tuple((i, a) for i in ids for a in intertwiners([rho], [self.irrep(*i)(1)]))

    def orbit(self, irreps: Sequence[IrrepId]) -> Orbit:
        stacks = [torch.from_numpy(np.stack([self.irrep(*i)(j) for j in range(self.n)])) for i in irreps]
        return Orbit(tuple((stack,) for stack in stacks), (2.0,) * len(stacks), 1.0)


@dataclass
class Signals:
    """R^n, on which shifts act by moving the entries."""

    n: int
    name: str = "signals"

    def __post_init__(self) -> None:
        self.size, self.irreps = self.n, [(k,) for k in range(self.n // 2 + 1)]
        angles = [2 * math.pi * k / self.n * np.arange(self.n) for (k,) in self.irreps]
        waves = [np.stack([np.cos(a), np.sin(a)])[: Wave(self.n, k).size].T for k, a in enumerate(angles)]
        self.change_of_basis = np.concatenate([w / np.linalg.norm(w, axis=0) for w in waves], axis=1)


def moved(weight: torch.Tensor, n: int, shift: int) -> torch.Tensor:
    """g . W for matrices between copies of R^n: W[p - j, q - j]."""
    blocks = weight.reshape(weight.shape[0] // n, n, weight.shape[1] // n, n)
    return blocks.roll((shift, shift), (1, 3)).reshape(weight.shape)


@cache
def between_signals(n: int):
    group: IrrepProducts = Shifts(n)
    field: Field = Signals(n)
    out, into = ChannelFrame.of(group, [field] * 2), ChannelFrame.of(group, [field] * 3)
    return weight_transform(out, into, KernelSpace.point(group))


# ---------------------------------------------------------------------- every group


def of_escnn(name: str) -> tuple[IrrepProducts, list[IrrepId]]:
    return fibre_group(point(name)), [psi.id for psi in some_irreps(POINT[name]())]


IRREPS = {
    **{name: lambda name=name: of_escnn(name) for name in POINT},
    **{f"shifts of {n}": lambda n=n: (Shifts(n), Signals(n).irreps) for n in (1, 2, 5, 8)},
}


@pytest.mark.parametrize("name", IRREPS)
def test_sizes_are_those_of_the_matrices(name) -> None:
    group, ids = IRREPS[name]()
    assert isinstance(group, IrrepProducts)
    assert isinstance(group.group, IrrepTable)
    for irrep, stack in zip(ids, group.orbit(ids).stacks, strict=True):
        psi = group.group.irrep(*irrep)
        assert isinstance(psi, Irrep)
        assert {group.size(irrep), psi.size} == {size for part in stack for size in part.shape[1:]}


@pytest.mark.parametrize("name", IRREPS)
def test_orbits_consist_of_orthogonal_images_of_the_same_elements(name) -> None:
    group, ids = IRREPS[name]()
    orbit = group.orbit(ids)
    assert orbit.factor >= 1
    for parts in zip(*orbit.stacks, strict=True):  # a finite group, or equidistant points of a circle
        every = torch.stack([torch.block_diag(*matrices) for matrices in zip(*parts, strict=True)])
        assert (every.mT @ every - torch.eye(every.shape[-1])).abs().max() < 1e-12
        products = (every[:, None] @ every).flatten(0, 1).flatten(1)
        apart = torch.cdist(products, every.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        assert apart.min(dim=1).values.max() < 1e-9
    for stack, excursion in zip(orbit.stacks, orbit.excursions, strict=True):
        images = reduce(lambda a, b: (a[:, None] @ b).flatten(0, 1), stack)
        moved_by = torch.linalg.matrix_norm(images - torch.eye(images.shape[-1]), ord=2)
        assert moved_by.max() <= excursion + 1e-12


@pytest.mark.parametrize("name", POINT)
def test_orbits_begin_with_the_cosets(name) -> None:
    group, ids = IRREPS[name]()
    for irrep, stack in zip(ids, group.orbit(ids).stacks, strict=True):
        assert np.array_equal(stack[0], [group.group.irrep(*irrep)(g) for g in group.cosets])


@pytest.mark.parametrize("name", IRREPS)
def test_the_trivial_irrep_is_the_number_one_and_breaks_nothing(name) -> None:
    group, _ = IRREPS[name]()
    assert all((part == 1).all() for part in group.orbit([group.trivial]).stacks[0])
    assert group.size(group.trivial) == 1
    assert group.violation(group.trivial) == 0


@pytest.mark.parametrize("name", POINT)
def test_representations_of_escnn_are_fields(name) -> None:
    group, rho = fibre_group(point(name)), regular(POINT[name]())
    assert isinstance(rho, Field)
    assert sum(group.size(irrep) for irrep in rho.irreps) == rho.size


# ---------------------------------------------------------------------- matrix groups


@cache
def split_fields(group: MatrixGroup):
    rho = vector(group) ** 2 + vector(group).dual + scalar(group)
    return [(field, matrix_spectrum(group).split(field)) for field in rho.fields]


@pytest.mark.parametrize("group", MATRIX_GROUPS, ids=lambda group: group.name)
def test_fields_of_matrix_groups_are_sums_of_homomorphic_images(group) -> None:
    spectrum, source = matrix_spectrum(group), torch.Generator().manual_seed(0)
    g, h = group.sample(source), group.sample(source)
    assert isinstance(spectrum, Irreps)
    assert isinstance(spectrum, IrrepTable)
    for rho, field in split_fields(group):
        assert isinstance(field, Field)
        psi = {irrep: spectrum.irrep(*irrep) for irrep in field.irreps}
        assert all(isinstance(p, Irrep) and p.size == spectrum.size(irrep) for irrep, p in psi.items())
        pieces = torch.block_diag(*(torch.from_numpy(psi[irrep](g)) for irrep in field.irreps)).numpy()
        q, expected = field.change_of_basis, rho.matrix(g).numpy()
        assert np.abs(expected @ q - q @ pieces).max() < 1e-9 * (1 + np.abs(expected).max())
        for p in psi.values():
            assert np.allclose(p(MatrixElement(g.steps + h.steps)), p(g) @ p(h), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group", MATRIX_GROUPS, ids=lambda group: group.name)
def test_orbits_of_matrix_groups_bound_what_is_orthogonal(group) -> None:
    spectrum, source = matrix_spectrum(group), torch.Generator().manual_seed(1)
    ids = sorted({irrep for _, field in split_fields(group) for irrep in field.irreps})
    grams = [(w := torch.randn(spectrum.size(i), 3, generator=source, dtype=torch.float64)) @ w.mT for i in ids]
    for irrep, gram in zip(ids, grams, strict=True):
        orbit = spectrum.orbit([irrep])
        bound = largest_squared_error([gram], orbit)
        if group.orthogonal:
            assert squared_errors([gram], orbit).max() <= bound + 1e-9
            assert bound <= 4 * torch.trace(gram) + 1e-9
        else:
            assert bound == (0 if spectrum.size(irrep) == 1 else math.inf)
    assert largest_squared_error([torch.ones(1, 1)], spectrum.orbit([spectrum.trivial])) == 0


@pytest.mark.parametrize("group", MATRIX_GROUPS, ids=lambda group: group.name)
def test_levels_of_matrix_groups_know_their_irrep_or_have_none(group) -> None:
    v, one = vector(group), scalar(group)
    transform = matrix_transform(v + one, v + 2 * one)
    equivariant, *breaking = transform.levels
    assert equivariant.irrep(group.sample()) == 1
    assert all(level.irrep is None for level in breaking)
    weight = torch.randn(transform.shape, dtype=torch.float64)
    grams, energies = IrrepGrams(transform)(transform.block_coefficients(weight)), transform.energies(weight)
    assert torch.allclose(torch.cat(grams).flatten(), torch.stack([energies[0], energies[1:].sum()]))


# ---------------------------------------------------------------------- the new group


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_new_group_grades_weights_by_its_characters(n) -> None:
    transform = between_signals(n)
    weight = torch.randn(2 * n, 3 * n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (transform.synthesis(transform.analysis(weight)).view_as(weight) - weight).abs().max() < 1e-12
    assert transform.equivariant.dim == 6 * n  # circulant matrices
    for i, level in enumerate(transform.levels):
        chi = [np.trace(level.irrep(j)) / n for j in range(n)]
        part = sum(chi[j] * moved(weight, n, j) for j in range(n))
        assert (transform.band(i, i + 1).project(weight) - part).abs().max() < 1e-12


@pytest.mark.parametrize("n", [2, 5, 8])
@given(eta=st.floats(0.01, 2), scale=st.sampled_from([1e-3, 1.0, 1e3]), seed=st.integers(0, 2**31))
def test_a_budget_holds_for_a_new_group(n, eta, scale, seed) -> None:
    transform = between_signals(n)
    weight = torch.randn(2 * n, 3 * n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weight = transform.equivariant.project(weight) + scale * transform.soft.project(weight)
    kept = es.SoftFilter(GradedWeight(transform), es.Budget(eta), weight)(weight)
    worst, before = (max(float((moved(w, n, j) - w).norm() / w.norm()) for j in range(n)) for w in (kept, weight))
    assert worst <= eta * (1 + 1e-9)
    assert worst == pytest.approx(min(eta, before), rel=1e-6)  # a budget is used
