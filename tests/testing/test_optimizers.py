"""Both assertions about optimisers pass what keeps a symmetry, and fail torch's Adam, for every kind of soft layer."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from escnn import group, gspaces
from torch.nn import Module

import escnn_soft as es
from escnn_soft.errors import ArgumentError
from escnn_soft.groups import orthogonal_group, scalar, vector
from escnn_soft.testing import KEPT, assert_covariant_step, assert_keeps_symmetry
from escnn_soft.training import DampedMuon, LayerwiseAdam
from tests.workflows.carriers import CARRIERS

GROUPS = {
    "C4": group.cyclic_group(4),
    "D4": group.dihedral_group(4),
    "C8": group.cyclic_group(8),
    "O(2)": group.o2_group(2),
    "SO(3)": group.so3_group(2),
    "O(3)": group.o3_group(2),
}
VECTORS = {"O(2)": (1, 1), "SO(3)": (1,), "O(3)": (1, 1)}
ON_GRIDS = ["R2Conv D4", "R2Conv C8", "R2Conv O(2)", "R2ConvTransposed D4", "R3Conv SO(3)"]
OTHERS = ["TensorProduct D3", "MatrixLinear", "filter C4 fields"]
NO_SIGNED_PERMUTATIONS = ["C8", "SO(3)", "O(3)"]


def adam(model: Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


def sgd(model: Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def _product(psi: group.IrreducibleRepresentation) -> group.Representation:
    """Matrices, whose irreps lie across their entries: gradients are then zero up to rounding, not exactly."""
    return psi.tensor(psi)


OURS = [LayerwiseAdam, DampedMuon]


@cache
def layer(kind: str) -> Module:
    """Of softness 1, with fields that are no plain list of irreps; used as a model only."""
    if kind == "R2PointConv C4":
        pytest.importorskip("torch_geometric")
        space = gspaces.rot2dOnR2(4)
        field = space.type(space.regular_repr)
        return es.SoftR2PointConv(field, field, width=1.0, n_rings=2, softness=1.0)
    if kind in CARRIERS:
        carrier = CARRIERS[kind]()
        return carrier[0] if isinstance(carrier, torch.nn.Sequential) else carrier
    g = GROUPS[kind]
    vector = VECTORS.get(kind)
    field = gspaces.no_base_space(g).type(g.regular_representation if vector is None else _product(g.irrep(*vector)))
    return es.SoftLinear(field, field, softness=1.0)


@pytest.mark.parametrize("optimizer", OURS)
@pytest.mark.parametrize("kind", [*GROUPS, *ON_GRIDS, "R2PointConv C4", *OTHERS])
def test_ours_pass_both(kind, optimizer) -> None:
    assert assert_covariant_step(optimizer, layer(kind), steps=3) < 1e-10
    assert assert_keeps_symmetry(optimizer, layer(kind), steps=12) < KEPT / 10


@pytest.mark.parametrize("softness", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("optimizer", [*OURS, sgd])
def test_what_is_trained_at_a_small_softness_stays_symmetric_when_the_dial_opens(optimizer, softness) -> None:
    """Rounding behind a nearly closed dial is no breaking part that opens with it."""
    V, one = vector(orthogonal_group(3)), scalar(orthogonal_group(3))
    layer = es.SoftMatrixLinear(V @ V + V, V @ V + one, bias=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.copy_(layer.expand_parameters()[0])
        data = []
        for _ in range(4):
            other = copy.deepcopy(layer)
            other.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
            data.append(other.expand_parameters()[0].clone())
    layer.softness = softness
    training = optimizer(layer)
    for _ in range(50):
        training.zero_grad()
        products = torch.stack([(layer.expand_parameters()[0] * x).sum() for x in data])
        (products - 1).square().mean().backward()
        training.step()
    layer.softness = 1.0
    assert layer.certificate().relative.rms < KEPT


def test_plain_descent_passes_both() -> None:
    assert assert_covariant_step(sgd) < 1e-10
    assert assert_keeps_symmetry(sgd) < KEPT


@pytest.mark.parametrize("kind", [*NO_SIGNED_PERMUTATIONS, "R2Conv C8", "MatrixLinear"])
def test_adams_step_depends_on_the_axes(kind) -> None:
    with pytest.raises(AssertionError, match="Adam does not commute with"):
        assert_covariant_step(adam, layer(kind), steps=3)


def test_adams_step_commutes_with_signed_permutations() -> None:
    assert assert_covariant_step(adam, layer("C4"), steps=3) < 1e-10


@pytest.mark.parametrize("kind", [*GROUPS, "R2Conv D4", "R2PointConv C4", "TensorProduct D3", "MatrixLinear"])
def test_adam_loses_the_symmetry(kind) -> None:
    with pytest.raises(AssertionError, match="Adam loses the symmetry"):
        assert_keeps_symmetry(adam, layer(kind), steps=30)


def test_adam_keeps_it_in_a_dense_weight_whose_entries_are_permuted() -> None:
    assert assert_keeps_symmetry(adam, layer("filter C4 fields"), steps=30) < KEPT


@pytest.mark.parametrize("optimizer", OURS)
def test_squares_to_squares(optimizer) -> None:
    assert assert_keeps_symmetry(optimizer) < KEPT / 10


def test_adam_loses_the_square() -> None:
    with pytest.raises(AssertionError, match=r"is 0\.\d+ > 1e-05 after 100 steps"):
        assert_keeps_symmetry(adam)


def test_an_optimizer_that_stands_still_passes_neither() -> None:
    def still(model: Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.0)

    with pytest.raises(AssertionError, match="does not move the layer"):
        assert_covariant_step(still)
    with pytest.raises(AssertionError, match="does not lower the loss"):
        assert_keeps_symmetry(still)


def test_a_layer_without_a_softness() -> None:
    with pytest.raises(ArgumentError, match="a layer with a softness between fields but got layer=Linear"):
        assert_covariant_step(sgd, torch.nn.Linear(2, 2))
