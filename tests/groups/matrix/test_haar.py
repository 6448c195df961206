"""Random elements of compact groups: they belong to the group, and have the moments and the law of Haar measure."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from escnn import group
from scipy.stats import kstest

from escnn_soft.groups import (
    MatrixGroup,
    equivariant_maps,
    escnn_matrix_group,
    lorentz_group,
    orthogonal_group,
    permutation_group,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
    vector,
)
from tests.groups.matrix.test_generators import residual

EXACT: dict[str, MatrixGroup] = {
    **{f"SO({n})": special_orthogonal_group(n) for n in (2, 3, 4, 5)},
    **{f"O({n})": orthogonal_group(n) for n in (2, 3, 4)},
    **{f"SU({n})": special_unitary_group(n) for n in (2, 3, 4)},
    "escnn's SO(2)": escnn_matrix_group(group.so2_group(1)),
    "escnn's O(2)": escnn_matrix_group(group.o2_group(1)),
    "escnn's SO(3)": escnn_matrix_group(group.so3_group(1)),
    "escnn's O(3)": escnn_matrix_group(group.o3_group(1)),
}
DRAWS = 2000


@cache
def draws(g: MatrixGroup, count: int) -> torch.Tensor:
    """Defining matrices of random elements, (count, n, n)."""
    source = torch.Generator().manual_seed(0)
    return torch.stack([g.generators.matrix(g.sample(source)) for _ in range(count)])


@pytest.mark.parametrize("name", list(EXACT))
def test_elements_belong_to_the_group(name) -> None:
    g = EXACT[name]
    assert g.haar is not None
    m = draws(g, DRAWS)
    eye = torch.eye(g.size, dtype=torch.float64)
    assert (m @ m.mT - eye).abs().max() < 1e-12
    if "SU" in name:
        n = g.size // 2
        assert (m[:, :n, :n] - m[:, n:, n:]).abs().max() < 1e-12
        assert (m[:, :n, n:] + m[:, n:, :n]).abs().max() < 1e-12
        assert (torch.linalg.det(torch.complex(m[:, :n, :n], m[:, n:, :n])) - 1).abs().max() < 1e-12
    else:
        determinants = torch.linalg.det(m)
        assert (determinants.abs() - 1).abs().max() < 1e-12
        assert (determinants.min() < 0) == ("SO" not in name)


@pytest.mark.parametrize("name", list(EXACT))
def test_the_trace_has_the_moments_of_its_characters(name) -> None:
    """E tr = 0; E tr^2 is the number of equivariant maps, 1 if the defining matrices are irreducible and real."""
    g, V = EXACT[name], vector(EXACT[name])
    traces = draws(g, DRAWS).diagonal(dim1=1, dim2=2).sum(1)
    maps = len(equivariant_maps(V, V))
    assert maps == {"SO(2)": 2, "escnn's SO(2)": 2, "SU(2)": 4, "SU(3)": 2, "SU(4)": 2}.get(name, 1)
    for power, mean in ((1, 0.0), (2, float(maps))):
        values = traces**power
        assert abs(values.mean() - mean) < 5 * values.std() / DRAWS**0.5


@pytest.mark.parametrize("name", ["SO(3)", "SU(2)", "O(2)"])
def test_angles_have_the_law_of_haar_measure(name) -> None:
    m = draws(EXACT[name], DRAWS)
    traces = m.diagonal(dim1=1, dim2=2).sum(1)
    if name == "SO(3)":  # of the angle of a rotation, density (1 - cos t) / pi
        angles = torch.arccos(((traces - 1) / 2).clamp(-1, 1))
        law = kstest(angles.numpy(), lambda t: (t - np.sin(t)) / np.pi)
    elif name == "SU(2)":  # of the phases e^(+-i t), density 2 sin(t)^2 / pi
        angles = torch.arccos((traces / 4).clamp(-1, 1))
        law = kstest(angles.numpy(), lambda t: (t - np.sin(2 * t) / 2) / np.pi)
    else:  # of the first column, whichever half it is in
        angles = torch.atan2(m[:, 1, 0], m[:, 0, 0])
        law = kstest(angles.numpy(), lambda t: (t + np.pi) / (2 * np.pi))
        assert abs((torch.linalg.det(m) < 0).double().mean() - 0.5) < 0.04
    assert law.pvalue > 1e-3


@pytest.mark.parametrize("name", list(EXACT))
def test_an_element_is_the_same_in_every_representation(name) -> None:
    V = vector(EXACT[name])
    element = V.group.sample(torch.Generator().manual_seed(1))
    other = V.group.sample(torch.Generator().manual_seed(2))
    m = V.matrix(element)
    assert ((V @ V).matrix(element) - torch.kron(m, m)).abs().max() < 1e-12
    assert (m - V.matrix(other)).abs().max() > 1e-3
    maps = equivariant_maps(V**2, V**2)
    moved = (V**2).matrix(element) @ maps @ (V**2).matrix(element).mT
    assert (moved - maps).abs().max() < 1e-9
    assert residual(V**2, V**2, maps) < 1e-10


@pytest.mark.parametrize("g", [special_orthogonal_group(3), special_unitary_group(3), lorentz_group()], ids=str)
def test_the_seed_decides(g) -> None:
    first, second = (g.sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == second
    torch.manual_seed(4)
    unseeded = g.sample()
    assert g.sample() != unseeded
    torch.manual_seed(4)
    assert g.sample() == unseeded


@pytest.mark.parametrize(
    "g", [lorentz_group(), symplectic_group(2), permutation_group(4), orthogonal_group(1)], ids=str
)
def test_groups_without_a_sampler_walk(g) -> None:
    assert g.haar is None
    m = draws(g, 20)
    assert (torch.linalg.det(m).abs() - 1).abs().max() < 1e-9
    assert len({tuple(each.flatten().round(decimals=6).tolist()) for each in m}) > 1


def test_a_group_of_your_own_equals_that_of_the_catalogue_and_walks() -> None:
    ours = special_orthogonal_group(3)
    mine = MatrixGroup.of("SO(3)", algebra=ours.generators.algebra)
    assert mine == ours
    assert hash(mine) == hash(ours)
    assert mine.haar is None
    m = draws(mine, 20)
    assert (m @ m.mT - torch.eye(3)).abs().max() < 1e-12
    copied = pickle.loads(pickle.dumps(ours))
    assert copied == ours
    assert copied.sample(torch.Generator().manual_seed(0)) == ours.sample(torch.Generator().manual_seed(0))
