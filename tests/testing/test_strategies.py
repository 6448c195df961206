"""The strategies draw valid objects, cover what they promise, and shrink to the smallest ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from escnn import group, gspaces
from escnn.nn import PointwiseMaxPool2D
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.dial import Budget, Cutoff, Exponential, Learned
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import grid_exact, moves_pixels
from escnn_soft.testing import (
    GROUP_KINDS,
    PROFILES,
    elements,
    exact_elements,
    field_types,
    geometric_tensors,
    groups,
    irreps,
    networks,
    randomize,
    register_profiles,
    representations,
    soft_linears,
    soft_r2convs,
    softnesses,
)
from escnn_soft.testing import (
    gspaces as spaces,
)
from escnn_soft.testing.quadrature import haar_quadrature
from escnn_soft.testing.samples import grid_elements, irrep_ids, random_elements

FEWER = settings(max_examples=settings.default.max_examples // 2)  # of whatever the profile says
SHRINK = settings(database=None, phases=[Phase.generate, Phase.shrink], max_examples=500)


def smallest(strategy, condition=lambda _: True):
    return find(strategy, condition, settings=SHRINK)


# ---------------------------------------------------------------------- shrinking


def test_shrinks_to_the_smallest_groups_and_spaces() -> None:
    assert smallest(groups()).name == "C1"
    assert smallest(groups(), lambda g: g.order() > 2).name == "C3"
    assert smallest(groups(["icosahedral", "SO(2)", "SO(3)"]), lambda g: g.continuous).name == "SO(2)"
    assert smallest(spaces()) == gspaces.trivialOnR2()
    assert smallest(spaces(0)).fibergroup.name == "C1"
    assert smallest(spaces(2, grid=True), lambda s: s.fibergroup.order() > 2).fibergroup.order() == 4


@pytest.mark.parametrize("kind", GROUP_KINDS)
def test_elements_shrink_to_the_identity(kind) -> None:
    g = smallest(groups([kind], max_rotations=3))
    assert smallest(elements(g)) == g.identity
    assert smallest(irreps(g)).is_trivial()
    assert smallest(representations(g)).is_trivial()


def test_types_and_features_shrink_to_one_trivial_field_of_zeros() -> None:
    space = gspaces.flipRot2dOnR2(4)
    field = smallest(field_types(space))
    assert [rho.name for rho in field.representations] == [space.trivial_repr.name]
    x = smallest(geometric_tensors(field)).tensor
    assert x.shape == (1, 1, 1, 1)
    assert not x.any()
    wide = smallest(geometric_tensors(field), lambda x: x.tensor.shape[2] != x.tensor.shape[3]).tensor
    assert sorted(wide.shape) == [1, 1, 1, 2]
    assert smallest(field_types(space), lambda t: t.size > 4).size <= 8


def test_softness_shrinks_to_zero_and_covers_every_policy() -> None:
    assert smallest(softnesses()) == 0.0
    for kind in (Exponential, Cutoff, Budget, Learned):
        smallest(softnesses(), lambda s, kind=kind: isinstance(s, kind))
    assert smallest(softnesses(["cutoff"])) == Cutoff(0.0)


def test_layers_shrink_to_one_pixel_between_trivial_fields() -> None:
    layer = smallest(soft_r2convs())
    assert (layer.in_type.size, layer.out_type.size, layer.kernel_size, layer.groups) == (1, 1, 1, 1)
    assert layer.softness == 0.0
    linear = smallest(soft_linears())
    assert linear.in_type.fibergroup.name == "C1"
    assert linear.weights.numel() == 1
    assert len(smallest(networks())) == 3
    pooled = smallest(networks(), lambda n: any(isinstance(part, PointwiseMaxPool2D) for part in n))
    assert len(pooled) == 4


# ---------------------------------------------------------------------- validity


@given(data=st.data())
def test_what_is_drawn_fits_together(data) -> None:
    space = data.draw(spaces())
    field = data.draw(field_types(space))
    g, h = data.draw(elements(space)), data.draw(elements(space))
    rho = field.representation
    assert np.abs(rho(g @ h) - rho(g) @ rho(h)).max() < 1e-8
    assert np.abs(rho(g) @ rho(g).T - np.eye(field.size)).max() < 1e-8
    x = data.draw(geometric_tensors(field, sides=(2, 5), dtypes=[torch.float32]))
    assert x.type == field
    assert x.tensor.dtype == torch.float32
    assert x.tensor.dim() == 2 + space.dimensionality
    if space.dimensionality == 2:
        assert moves_pixels(space, data.draw(elements(space, grid=True)))


@FEWER
@given(layer=soft_linears() | soft_r2convs(), data=st.data())
def test_layers_run_in_double_precision_and_are_disturbed(layer, data) -> None:
    x = data.draw(geometric_tensors(layer.in_type, sides=(9, 10), dtypes=[torch.float64]))
    y = layer(x).tensor
    assert y.dtype == torch.float64
    assert y.isfinite().all()
    assert not layer.training
    assert layer.soft_weights.numel() == 0 or layer.soft_weights.any()


@FEWER
@given(data=st.data())
def test_networks_run_and_have_random_statistics(data) -> None:
    network = data.draw(networks() | spaces(0, kinds=["cyclic"], max_rotations=4).flatmap(networks))
    x = data.draw(geometric_tensors(network.in_type, sides=(5, 7), dtypes=[torch.float64]))
    assert network(x).type == network.out_type
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            assert (buffer > 0).all()
            assert (buffer != 1).any()


def test_every_geometry_occurs() -> None:
    for condition in (
        lambda c: c.stride == (1, 2),
        lambda c: c.padding_mode == "circular" and c.kernel_size == 5,
        lambda c: c.groups == 2 and c.dilation == 2,
        lambda c: c.bias is None,
        lambda c: c.in_type.fibergroup.continuous,
    ):
        assert isinstance(
            find(soft_r2convs(), condition, settings=settings(SHRINK, phases=[Phase.generate])), SoftR2Conv
        )
    training = smallest(soft_linears(training=True, dtype=torch.float32))
    assert isinstance(training, SoftLinear)
    assert training.training
    assert training.weights.dtype == torch.float32


@given(space=spaces(2, grid=True))
def test_grid_spaces_act_on_the_pixels(space) -> None:
    assert grid_exact(space)
    assert len(exact_elements(space)) == space.fibergroup.order()


# ---------------------------------------------------------------------- samples and averages


@pytest.mark.parametrize("kind", GROUP_KINDS)
def test_ids_are_those_of_irreps_and_do_not_depend_on_what_exists(kind) -> None:
    g = smallest(groups([kind], max_rotations=4))
    ids = irrep_ids(g, 1)
    assert g.irrep(*ids[0]).is_trivial()
    assert [g.irrep(*name).id for name in ids] == ids
    assert irrep_ids(g, 1) == ids
    assert random_elements(g, 3, seed=1) == random_elements(g, 3, seed=1)


@pytest.mark.parametrize("kind", [kind for kind in GROUP_KINDS if "icosahedral" not in kind])
def test_quadrature_integrates_irreps_exactly(kind) -> None:
    g = smallest(groups([kind], max_rotations=3))
    rule = haar_quadrature(g, 4)
    assert sum(weight for _, weight in rule) == pytest.approx(1.0)
    for name in irrep_ids(g, 2):
        psi = g.irrep(*name)
        mean = sum(weight * psi(element) for element, weight in rule)
        assert np.abs(mean - psi.is_trivial()).max() < 1e-10


@pytest.mark.parametrize(("axis", "count"), [(np.pi / 2, 8), (0.3, 8)])
def test_grid_elements_of_o2_follow_the_axis(axis, count) -> None:
    space = gspaces.flipRot2dOnR2(-1, axis=axis)
    found = grid_elements(space)
    assert len(found) == count
    assert found[0] == space.fibergroup.identity
    assert len({space.basespace_action(g).round().astype(int).tobytes() for g in found}) == count


def test_randomize_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    layer, state = smallest(soft_linears()), torch.get_rng_state()
    randomize(layer, 3)
    first = layer.weights.detach().clone()
    randomize(layer, 3)
    assert torch.equal(layer.weights, first)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------- profiles and bad arguments


def test_profiles() -> None:
    before = settings.default
    name = register_profiles("ci")
    try:
        assert name == "ci"
        assert settings.default.max_examples == 25
        assert settings.default.derandomize
        assert settings.get_profile("thorough").max_examples == 10_000
        assert settings.get_profile("nightly").max_examples == 1000
        assert not settings.get_profile("nightly").derandomize
        assert set(PROFILES) == {"default", "ci", "nightly", "thorough"}
        with pytest.raises(ArgumentError, match="HYPOTHESIS_PROFILE"):
            register_profiles("quick")
    finally:
        settings.register_profile("before", before)
        settings.load_profile("before")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: groups(["cyclical"]), "kinds"),
        (lambda: groups(max_rotations=0), "max_rotations"),
        (lambda: spaces(3), "dimensionality"),
        (lambda: elements(group.cyclic_group(4), grid=True), "group"),
        (lambda: irreps(gspaces.rot2dOnR2(4)), "group"),
        (lambda: representations(group.cyclic_group(4), kinds=["standard"]), "kinds"),
        (lambda: field_types(group.cyclic_group(4)), "gspace"),
        (lambda: softnesses([]), "kinds"),
        (lambda: smallest(networks(gspaces.rot2dOnR2(-1))), "gspace"),
        (lambda: exact_elements(group.cyclic_group(4)), "gspace"),
    ],
)
def test_bad_arguments_are_named(call, name) -> None:
    with pytest.raises(ArgumentError, match=f"got {name}="):
        call()
