"""Certificates of matrix groups: exact errors, averages and bounds against sampled elements and dense actions."""

import json
import math

import pytest
import torch

import escnn_soft as es
from escnn_soft.groups import MatrixGroup, lorentz_group, orthogonal_group, scalar, symplectic_group, vector

O5, LORENTZ = orthogonal_group(5), lorentz_group()


def layer(group, softness=0.5) -> es.SoftMatrixLinear:
    V, one = vector(group), scalar(group)
    made = es.SoftMatrixLinear(2 * V + one, V**2 + V + 2 * one, softness=softness).double()
    for p in made.parameters():
        torch.nn.init.normal_(p)
    return made.eval()


def error(made, g) -> torch.Tensor:
    matrix = made.expand_parameters()[0].detach()
    return made.out_representation.matrix(g) @ matrix - matrix @ made.in_representation.matrix(g)


@pytest.mark.parametrize("group", [O5, LORENTZ], ids=lambda group: group.name)
def test_errors_of_elements_are_exact(group) -> None:
    made, source = layer(group), torch.Generator().manual_seed(0)
    certified = made.certificate()
    x = torch.randn(50, made.in_representation.size, dtype=torch.float64)
    bias = made.expand_parameters()[1].detach()
    for _ in range(5):
        g = group.sample(source)
        assert certified.at(g) == pytest.approx(error(made, g).norm().item(), abs=1e-10)
        assert certified.bias.at(g) == pytest.approx(
            (made.out_representation.matrix(g) @ bias - bias).norm().item(), abs=1e-10
        )
        moved = (made(x @ made.in_representation.matrix(g).T) - bias) - (
            made(x) - bias
        ) @ made.out_representation.matrix(g).T
        assert (moved.norm(dim=1) <= certified.operator_at(g) * x.norm(dim=1) + 1e-10).all()


def test_average_and_supremum_of_a_compact_group() -> None:
    made, source = layer(O5), torch.Generator().manual_seed(0)
    certified = made.certificate()
    errors = torch.tensor([error(made, O5.sample(source)).norm().item() for _ in range(600)])
    assert errors.square().mean().sqrt().item() == pytest.approx(certified.rms, rel=0.02)
    assert errors.max() <= certified.sup <= math.sqrt(2) * certified.rms * (1 + 1e-10)
    strict = layer(O5, 0.0)
    assert strict.certificate().sup < 1e-9
    for _ in range(20):
        g = O5.sample(source)
        assert error(strict, g).norm() <= strict.certificate().sup
    assert certified.reason == ""


def test_the_supremum_is_attained_by_an_inversion() -> None:
    V, one = vector(O5), scalar(O5)
    made = es.SoftMatrixLinear(V, one, bias=False, softness=1.0).double()
    certified = made.certificate()
    assert certified.at(O5.element(0)) == pytest.approx(certified.sup, rel=1e-10)


@pytest.mark.parametrize("group", [O5, LORENTZ, symplectic_group(1)], ids=lambda group: group.name)
def test_first_order_bound_holds_and_is_tight_near_the_identity(group) -> None:
    made, source = layer(group), torch.Generator().manual_seed(0)
    certified, count = made.certificate(), len(group.generators.algebra)
    for length in (1e-4, 0.1, 1.0):
        for _ in range(10):
            theta = torch.randn(count, generator=source, dtype=torch.float64)
            g = group.element(theta * (length / theta.norm()))
            assert certified.at(g) <= certified.within(length) * (1 + 1e-9)
    single = group.element([1e-6] + [0.0] * (count - 1))
    rows = made.out_representation.derivatives(), made.in_representation.derivatives()
    matrix = made.expand_parameters()[0].detach()
    assert certified.at(single) == pytest.approx(
        1e-6 * (rows[0][0] @ matrix - matrix @ rows[1][0]).norm().item(), rel=1e-4
    )
    assert certified.within(0.0) < 1e-9


def test_a_group_that_is_not_compact_has_no_supremum_and_says_why() -> None:
    certified = layer(LORENTZ).certificate()
    assert math.isinf(certified.rms)
    assert math.isinf(certified.sup)
    assert "not orthogonal" in certified.reason
    plain = json.loads(json.dumps(certified.to_dict()))
    assert plain["sup"] is None
    assert plain["reason"] == certified.reason
    V = vector(LORENTZ)
    strict = es.SoftMatrixLinear(V, V + V.dual, softness=0.0).double().certificate()
    assert strict.breaking < 1e-12
    assert strict.at(LORENTZ.sample(torch.Generator().manual_seed(0))) < 1e-10


J = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


def unfiltered(group) -> es.SoftMatrixLinear:
    V = vector(group)
    torch.manual_seed(0)
    return es.SoftMatrixLinear(V, V, bias=False, softness=1.0).double()


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-8, 1e-10])
def test_frequencies_that_are_nearly_equal_run_through_a_torus_in_the_end(apart) -> None:
    """The two planes of block_diag(J, (1 + 1e-8) J) are out of step by half a turn at t = pi 1e8."""
    group = MatrixGroup.of("line", torch.block_diag(J, (1 + apart) * J)[None])
    made = unfiltered(group)
    with torch.no_grad():
        made.weight.copy_(torch.kron(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.eye(2)))  # exchanges the planes
    certified, g = made.certificate(), group.element([math.pi / apart])
    assert certified.at(g) > 1.9 * made.weight.norm()
    assert certified.at(g) <= certified.sup
    assert certified.within(math.pi / apart) >= certified.at(g) * (1 - 1e-6)
    made.softness = 0.0
    assert made.certificate().at(g) <= made.certificate().sup < 1e-9


@pytest.mark.parametrize("growth", [1e-6, 1e-11, 1e-13])
def test_a_generator_that_is_not_skew_is_of_a_group_that_is_not_compact(growth) -> None:
    group = MatrixGroup.of("spiral", (J + growth * torch.eye(2, dtype=torch.float64))[None])
    V = vector(group)
    made = es.SoftMatrixLinear(V, scalar(group), bias=False, softness=1.0).double()
    certified = made.certificate()
    assert math.isinf(certified.sup)
    assert math.isinf(made.bound())
    g = group.element([4 / growth])
    assert certified.at(g) > 50 * certified.norm
    assert certified.within(4 / growth) >= certified.at(g)


def test_a_turned_generator_is_skew_up_to_rounding() -> None:
    q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    flip = q @ torch.diag(torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)) @ q.T
    group = MatrixGroup.of("turned", (q @ torch.block_diag(J, 3 * J) @ q.T)[None], flip[None])
    assert group.orthogonal
    certified = unfiltered(group).certificate()
    for power in (1, 10**6):
        assert certified.at(group.element([float(power)], *[0] * 1001)) <= certified.sup < math.inf


@pytest.mark.parametrize("group", [O5, LORENTZ], ids=lambda group: group.name)
def test_lengths_of_any_size_have_a_bound_that_is_no_error(group) -> None:
    certified = layer(group).certificate()
    for length in (1e3, 1e100, math.inf):
        assert certified.within(length) <= certified.sup
        assert certified.within(length) > 0
    assert layer(group).bound(math.inf) > 0
    assert layer(group, 0.0).certificate().within(0.0) < 1e-9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_weights_that_are_no_numbers_have_no_certificate(bad) -> None:
    made = layer(O5, 1.0)
    with torch.no_grad():
        made.weight[2, 1] = bad
    with pytest.raises(es.errors.ArgumentError, match=r"a matrix of finite numbers.* but got matrix='1 of"):
        made.train().certificate()
    made = layer(O5, 1.0)
    with torch.no_grad():
        made.bias[0] = bad
    with pytest.raises(es.errors.ArgumentError, match="a bias of finite numbers"):
        made.train().certificate()
