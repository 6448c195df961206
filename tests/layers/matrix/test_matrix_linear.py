"""Soft layers of matrix groups: equivariance, the dial, and what torch users expect of a module."""

import copy
import math

import pytest
import torch

import escnn_soft as es
from escnn_soft.grading import matrix_transform
from escnn_soft.groups import (
    lorentz_group,
    orthogonal_group,
    permutation_group,
    scalar,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
    vector,
)

GROUPS = [
    orthogonal_group(5), special_orthogonal_group(3), lorentz_group(), symplectic_group(2),
    special_unitary_group(2), permutation_group(4),
]  # fmt: skip
O3 = orthogonal_group(3)
V, ONE = vector(O3), scalar(O3)
IN, OUT = 2 * V + 3 * ONE, V**2 + V + 2 * ONE


def trained(softness, into=IN, out=OUT, dtype=torch.float64) -> es.SoftMatrixLinear:
    torch.manual_seed(0)
    layer = es.SoftMatrixLinear(into, out, softness=softness).to(dtype)
    for p in layer.parameters():
        torch.nn.init.normal_(p)
    return layer


def defect(module, into, out, g, x) -> float:
    """Largest deviation from f(g x) = g f(x), as a fraction of the output."""
    with torch.no_grad():
        moved, turned = module(x @ into.matrix(g).T), module(x) @ out.matrix(g).T
    return float((moved - turned).abs().max() / (1 + turned.abs().max()))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_strict_layers_gates_and_products_are_equivariant_and_not_constant(group) -> None:
    v, one = vector(group), scalar(group)
    into, hidden = 2 * v + one, 2 * v.dual + v + 3 * one
    gate = es.MatrixGate(hidden)
    net = torch.nn.Sequential(
        es.SoftMatrixBilinear(into, gate.in_representation, factors=2 * v + v.dual + one),
        gate,
        es.SoftMatrixLinear(hidden, v + 2 * one),
    ).double()
    x = torch.randn(20, into.size, dtype=torch.float64)
    source = torch.Generator().manual_seed(0)
    for _ in range(3):
        assert defect(net, into, v + 2 * one, group.sample(source), x) < 1e-10
    with torch.no_grad():
        assert net(x)[:, -1].std() > 1e-3  # an invariant that depends on its input


def test_a_strict_quadratic_layer_knows_dot_products() -> None:
    layer = es.SoftMatrixBilinear(2 * V, ONE, factors=3 * V).double()
    x = torch.randn(30, 6, dtype=torch.float64)
    a, b = x[:, :3], x[:, 3:]
    products = torch.stack([(a * a).sum(1), (a * b).sum(1), (b * b).sum(1)], dim=1)
    y = layer(x).detach()
    assert (products @ torch.linalg.lstsq(products, y).solution - y).abs().max() < 1e-10
    assert y.std() > 1e-3


def test_products_of_unequal_factors_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    layer = es.SoftMatrixBilinear(IN, OUT, factors=V + ONE, softness=0.5).double()
    x = torch.randn(4, IN.size, dtype=torch.float64)
    left, right = layer.left(x), layer.right(x)
    products = [left[:, i] * right[:, j] for i in range(3) for j in range(3)] + [left[:, 3] * right[:, 3]]
    assert torch.allclose(layer(x), layer.mix(torch.stack(products, 1)), rtol=0, atol=1e-12)
    layer.softness = 0.25
    assert {layer.left.softness, layer.right.softness, layer.mix.softness} == {0.25}


def test_gates_multiply_each_summand_by_its_own_scalar() -> None:
    gate = es.MatrixGate(V + ONE + V)
    x = torch.randn(2, 9)
    s = x.sigmoid()
    expected = torch.cat([x[:, :3] * s[:, 7:8], x[:, 3:4] * s[:, 3:4], x[:, 4:7] * s[:, 8:9]], dim=1)
    assert torch.equal(gate(x), expected)


@pytest.mark.parametrize("softness", [0.0, 0.3, 1.0, es.Cutoff(2.0)])
def test_the_matrix_is_the_sum_of_gains_times_levels(softness) -> None:
    policy = es.Exponential(softness) if isinstance(softness, float) else softness
    layer = trained(policy)
    transform = matrix_transform(IN, OUT)
    expected = torch.zeros_like(layer.weight)
    for i, gain in enumerate(policy.gains(transform.dial)):
        expected += gain * transform.band(i, i + 1).project(layer.weight.detach())
    matrix, bias = layer.expand_parameters()
    assert (matrix - expected).abs().max() < 1e-10
    if softness == 1.0:
        assert torch.equal(matrix, layer.weight)
        assert torch.equal(bias, layer.bias)
    if softness in (0.0, 1.0, es.Cutoff(2.0)):  # idempotent
        with torch.no_grad():
            layer.weight.copy_(matrix)
        assert (layer.expand_parameters()[0] - matrix).abs().max() < 1e-10


def test_the_error_grows_with_the_softness_without_a_jump() -> None:
    layer, rms = trained(0.0), []
    stops = [i / 50 for i in range(51)]
    for s in stops:
        layer.softness = es.Exponential(s)
        rms.append(layer.certificate().rms)
    steps = torch.tensor(rms).diff()
    assert rms[0] < 1e-10
    assert (steps >= 0).all()
    assert steps.max() < 0.1 * rms[-1]


def test_budgets_hold_and_are_used() -> None:
    layer = trained(es.Budget(0.1))
    certified = layer.certificate()
    assert certified.sup / certified.norm == pytest.approx(0.1, rel=1e-6)
    layer.expand_parameters()[0].square().sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_learned_gains_are_parameters_of_the_levels() -> None:
    layer = trained(es.Learned(0.5))
    gains = [level.gain for level in layer.spectrum().levels]
    assert len(layer.level_logits) + 2 == len(gains) + len(layer.spectrum().bias)
    layer.expand_parameters()[0].square().sum().backward()
    assert layer.level_logits.grad.abs().sum() > 0
    with torch.no_grad():
        layer.level_logits.fill_(math.inf)
    assert (layer.expand_parameters()[0] - layer.weight).abs().max() < 1e-10
    layer.softness = 0.0
    assert layer.level_logits is None


@pytest.mark.parametrize("softness", [0.0, 0.05, 0.5, 1.0])
def test_initialisation_keeps_the_variance_and_starts_near_the_symmetry(softness) -> None:
    torch.manual_seed(0)
    into, out = 20 * V + 10 * V**2 + 40 * ONE, 20 * V + 30 * ONE
    layer = es.SoftMatrixLinear(into, out, softness=softness)
    y = layer(torch.randn(2000, into.size)).detach()
    for part in (y[:, :60], y[:, 60:]):
        assert part.var().item() == pytest.approx(1.0, abs=0.3)
    certified = layer.certificate()
    assert certified.rms <= 2 * softness * certified.norm + 1e-5


def test_the_matrix_is_kept_in_evaluation_mode_until_something_changes() -> None:
    layer = trained(0.3).eval()
    x = torch.randn(3, IN.size, dtype=torch.float64)
    y = layer(x)
    assert not y.requires_grad
    kept = layer.expanded_matrix
    assert torch.equal(layer(x), y)
    assert layer.expanded_matrix is kept
    with torch.no_grad():
        layer.weight.mul_(2.0)
    assert not torch.equal(layer(x), y)
    with torch.no_grad():
        layer.weight.div_(2.0)
    assert torch.allclose(layer(x), y)
    layer.softness = 0.0
    assert not torch.allclose(layer(x), y)
    layer.softness = 0.3
    assert torch.allclose(layer.train()(x), y)


def test_checkpoints_copies_and_casts() -> None:
    layer = trained(es.Learned(0.3))
    x = torch.randn(3, IN.size, dtype=torch.float64)
    other = trained(es.Learned(0.9))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    assert set(layer.state_dict()) == {"weight", "bias", "level_logits"}
    twin = copy.deepcopy(layer.eval())
    assert torch.equal(twin(x), layer(x))
    with torch.no_grad():
        twin.weight.zero_()
    assert not torch.equal(twin(x), layer(x))
    single = copy.deepcopy(layer).float()
    assert (single(x.float()) - layer(x)).abs().max() < 1e-4
    strict = trained(0.0, dtype=torch.float32).double()
    assert strict.certificate().sup < 1e-9  # the levels are cast from float64 anew


def test_from_dense_is_the_same_function_and_shares_the_parameters() -> None:
    dense = torch.nn.Linear(IN.size, OUT.size)
    layer = es.SoftMatrixLinear.from_dense(dense, IN, OUT)
    x = torch.randn(3, IN.size)
    assert torch.equal(layer(x), dense(x))
    assert layer.weight is dense.weight
    layer.softness = 0.0
    assert layer.certificate().breaking < 1e-5


@pytest.mark.parametrize("softness", [0.3, es.Budget(0.2), es.Learned(0.7)])
def test_export_is_the_plain_layer(softness) -> None:
    layer, x = trained(softness), torch.randn(3, IN.size, dtype=torch.float64)
    plain = layer.export()
    assert type(plain) is torch.nn.Linear
    assert not plain.training
    assert torch.allclose(plain(x), layer(x), rtol=0, atol=1e-12)


def test_gradients_flow_and_functional_calls_work() -> None:
    layer = trained(0.4)
    x = torch.randn(2, IN.size, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(layer, {"weight": w}, x), layer.weight)
    layer.eval()
    doubled = torch.func.functional_call(layer, {"weight": 2 * layer.weight, "bias": 2 * layer.bias}, x)
    assert torch.allclose(doubled, 2 * layer(x))


@pytest.mark.parametrize("training", [True, False])
def test_compiles_to_one_graph(training) -> None:
    layer = trained(0.4, into=V, out=V + ONE).train(training)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    x = torch.randn(2, V.size, dtype=torch.float64)
    assert torch.allclose(compiled(x), layer(x), atol=1e-12)
    with torch.no_grad():
        layer.weight.mul_(2.0)
    assert torch.allclose(compiled(x), layer(x), atol=1e-12)


def test_models_and_schedulers_set_the_softness() -> None:
    gate = es.MatrixGate(V + 2 * ONE)
    model = torch.nn.Sequential(
        es.SoftMatrixBilinear(IN, gate.in_representation, 2 * V), gate, es.SoftMatrixLinear(V + 2 * ONE, ONE)
    )
    es.set_softness(model, 0.5, per_layer={"2": es.Cutoff(1.0)})
    assert (model[0].softness, model[2].softness) == (0.5, es.Cutoff(1.0))
    scheduler = es.SoftnessScheduler(model, es.LinearSchedule(1.0, 0.0, steps=4))
    scheduler.step()
    assert {dial.softness for dial in scheduler.dials} == {0.75}
    assert len(scheduler.dials) == 4


def test_a_model_with_quadratic_and_gated_layers_trains() -> None:
    torch.manual_seed(0)
    gate = es.MatrixGate(2 * V + 4 * ONE)
    model = torch.nn.Sequential(
        es.SoftMatrixBilinear(2 * V, gate.in_representation, 4 * V), gate, es.SoftMatrixLinear(2 * V + 4 * ONE, ONE)
    )
    x = torch.randn(64, 6)
    y = (x[:, :3] * x[:, 3:]).sum(1, keepdim=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    model.double()
    assert defect(model, 2 * V, ONE, O3.sample(torch.Generator().manual_seed(0)), x.double()) < 1e-10


@pytest.mark.parametrize("size", [2, 3])
def test_a_budget_bounds_small_rotations_where_the_fastest_level_holds_it_all(size) -> None:
    """A weight that turns four times as fast as the group is off by twice the budget times the length."""
    group = special_orthogonal_group(size)
    square = vector(group) ** 2
    layer = es.SoftMatrixLinear(square, square, bias=False, softness=es.Budget(0.1)).double()
    dial = layer._dials[0]
    fastest = max(level.sigma for level in dial.graded.levels)
    gains = torch.tensor([1.0 if lv.symmetric else 30.0 * (lv.sigma == fastest) for lv in dial.graded.levels])
    torch.manual_seed(0)
    with torch.no_grad():
        layer.weight.copy_(dial.here.filtered(torch.randn_like(layer.weight), gains.double()))
    found = layer.certificate()
    assert found.relative.sup == pytest.approx(0.1, rel=1e-3)
    for length in (0.01, 0.1, 0.5):
        angles = torch.randn(20, len(group.generators.algebra), dtype=torch.float64)
        errors = [found.at(group.element(a * length / a.norm())) for a in angles]
        assert max(errors) <= layer.bound(length) * found.norm
        assert max(errors) > layer.bound(length) * found.norm / 2


def test_the_bound_of_small_rotations_knows_what_subnormal_numbers_lose() -> None:
    group = special_orthogonal_group(4)
    into, out = 2 * vector(group), vector(group) + 2 * scalar(group)
    layer = es.SoftMatrixLinear(into, out, softness=es.Exponential(0.0))
    torch.manual_seed(0)
    with torch.no_grad():
        layer.weight.normal_(std=2e-39)
    found = layer.certificate()
    for length in (1e-3, 0.3, 1.0):
        angles = torch.randn(20, len(group.generators.algebra), dtype=torch.float64)
        assert all(found.at(group.element(a * length / a.norm())) <= layer.bound(length) * found.norm for a in angles)
