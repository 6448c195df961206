"""The dial on a plain weight: what passes, when it is kept, and what torch does with it."""

from __future__ import annotations

import copy
import shutil
from itertools import pairwise

import pytest
import torch
from escnn import gspaces
from escnn.nn import FieldType
from torch.func import functional_call, grad, vmap
from torch.nn import Conv2d
from torch.nn.utils.parametrize import register_parametrization

from escnn_soft import Budget, Cutoff, Exponential, Learned, SoftFilter, SoftnessScheduler
from escnn_soft.dial import weight_filter
from escnn_soft.errors import SoftnessError
from escnn_soft.grading import Grading, Level, SpectralGrading
from escnn_soft.layers import graded_bias, graded_kernel
from tests.kinds import KINDS, example
from tests.reference import pixel_action

SPACES = {
    "C2": gspaces.rot2dOnR2(2),
    "C4": gspaces.rot2dOnR2(4),
    "D4": gspaces.flipRot2dOnR2(4),
    "mirror": gspaces.flip2dOnR2(),
}
CONTINUOUS = {"C8": gspaces.rot2dOnR2(8), "SO(2)": gspaces.rot2dOnR2(-1), "O(2)": gspaces.flipRot2dOnR2(-1)}
ALL = {**SPACES, **CONTINUOUS}


def scalars(space, channels: int) -> FieldType:
    return space.type(*[space.trivial_repr] * channels)


def mixed(space) -> FieldType:
    """Scalars, and a field whose channels the group mixes or negates."""
    return space.type(space.trivial_repr, *([space.regular_repr] if space.fibergroup.order() > 0 else [vector(space)]))


def vector(space):
    return space.irrep(1) if space.fibergroup.name == "SO(2)" else space.irrep(1, 1)


def softened(space, softness, kernel_size=5, *, fields=False, **arguments) -> Conv2d:
    """A convolution in double precision whose weight goes through a filter."""
    field = mixed(space) if fields else scalars(space, 4)
    conv = Conv2d(field.size, field.size, kernel_size, **arguments).double()
    graded = graded_kernel(conv, field, field)
    register_parametrization(conv, "weight", SoftFilter(graded, softness, conv.weight))
    conv.field = field
    return conv


def average(conv: Conv2d) -> torch.Tensor:
    """The mean of g . K over a finite group, pixel by pixel."""
    weight, field = conv.parametrizations.weight.original.detach(), conv.field
    moved = [pixel_action(g, weight.flatten(2), field, field, conv.kernel_size[0]) for g in field.fibergroup.elements]
    return torch.stack(moved).mean(0).reshape(weight.shape)


# ---------------------------------------------------------------------- what passes


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 4, 7])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_strict_is_the_mean_over_the_group(space, kernel_size, fields) -> None:
    conv = softened(space, 0.0, kernel_size, fields=fields)
    assert (conv.weight - average(conv)).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("name", "size", "orbits"), [("C4", 3, 3), ("D4", 3, 3), ("C4", 7, 13), ("D4", 7, 10), ("C4", 8, 16), ("D4", 8, 10)]
)
def test_no_equivariant_kernel_is_lost(name, size, orbits) -> None:
    levels = graded_kernel(Conv2d(1, 1, size), *[scalars(SPACES[name], 1)] * 2).levels
    assert [level.dim for level in levels if level.equivariant] == [orbits]  # one kernel for each orbit of pixels
    assert sum(level.dim for level in levels) == size**2
    assert not any(level.remainder for level in levels)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("name", [name for name in ALL if name not in SPACES])
def test_what_a_group_off_the_pixels_keeps_are_the_functions_of_the_distance(name, size, dilation) -> None:
    graded = graded_kernel(Conv2d(1, 1, size, dilation=dilation), *[scalars(ALL[name], 1)] * 2)
    strict = torch.tensor([float(level.equivariant) for level in graded.levels], dtype=torch.float64)
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    distance = (offsets[:, None] ** 2 + offsets**2).round(decimals=6)
    kernel = torch.randn(size, size, dtype=torch.float64)
    kept = graded.filtered(kernel[None, None], strict)[0, 0]
    for d in distance.unique():
        expected = kernel[distance == d].mean()
        assert (kept[distance == d] - expected).abs().max() < 1e-12


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_softness_one_is_the_weight_itself(space, fields) -> None:
    conv = softened(space, 1.0, fields=fields)
    original = conv.parametrizations.weight.original
    assert conv.weight is original
    graded = weight_filter(conv).graded
    assert torch.equal(graded.filtered(original, torch.ones(len(graded.levels)).double()), original)


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("policy", [0.0, Cutoff(1.0), Budget(0.2)], ids=str)
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_projections_and_budgets_are_idempotent(space, policy, fields) -> None:
    conv = softened(space, policy, fields=fields)
    once = conv.weight
    assert (weight_filter(conv)(once) - once).norm() < 1e-12 * once.norm()


@pytest.mark.parametrize("policy", [0.0, 0.5, Cutoff(1.3), Budget(0.2), Learned(0.3)], ids=str)
def test_the_number_of_calls_changes_nothing(policy) -> None:
    conv = softened(SPACES["D4"], policy)
    original, x = conv.parametrizations.weight.original.clone(), torch.randn(1, 4, 7, 7).double()
    outputs = [conv.train(mode)(x) for mode in (True, True, False, False, True)]
    assert all(torch.equal(y, outputs[0]) for y in outputs)
    assert torch.equal(conv.parametrizations.weight.original, original)


def test_an_exponential_filter_multiplies_and_is_no_projection() -> None:
    conv = softened(SPACES["C4"], Exponential(0.5))
    soft_filter, weight = weight_filter(conv), conv.parametrizations.weight.original
    twice = soft_filter(soft_filter(weight))
    assert (twice - soft_filter(weight)).norm() > 0.1 * weight.norm()
    soft_filter.softness = Exponential(0.25)
    assert (twice - soft_filter(weight)).norm() < 1e-12


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_monotone_in_softness_without_a_jump_at_either_end(space, fields) -> None:
    conv = softened(space, 0.0, fields=fields)
    soft_filter, weight = weight_filter(conv), conv.parametrizations.weight.original.detach()
    shares, energies = [], []
    for softness in [0.0, 1e-9, *torch.linspace(0.02, 0.98, 49).tolist(), 1 - 1e-9, 1.0]:
        soft_filter.softness = softness
        energy = soft_filter.graded.energies(conv.weight.detach())
        energies.append(energy)
        shares.append(float(1 - energy[0] / energy.sum()))
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(shares))
    assert all((later >= earlier - 1e-12).all() for earlier, later in pairwise(energies))
    assert shares[1] - shares[0] < 1e-6
    assert shares[-1] - shares[-2] < 1e-6
    assert shares[-1] > 0.1
    soft_filter.softness = 1 - 1e-9
    assert (conv.weight - weight).norm() < 1e-6 * weight.norm()


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_the_levels_add_up_to_the_weight(space, fields) -> None:
    conv = softened(space, 1.0, fields=fields)
    graded, weight = weight_filter(conv).graded, conv.weight.detach()
    assert isinstance(graded, Grading)
    assert isinstance(graded, SpectralGrading)
    parts = [graded.filtered(weight, row) for row in torch.eye(len(graded.levels)).double()]
    assert (sum(parts) - weight).abs().max() < 1e-12
    energies = graded.energies(weight)
    for i, part in enumerate(parts):  # each lies in its own level alone
        expected = torch.zeros_like(energies)
        expected[i] = energies[i]
        assert (graded.energies(part) - expected).abs().max() < 1e-11 * energies.sum()
    if space in SPACES.values():
        assert abs(energies.sum() - weight.square().sum()) < 1e-11 * energies.sum()


def test_a_bias_of_mixed_fields() -> None:
    field = mixed(SPACES["C4"])
    soft_filter = SoftFilter(graded_bias(field), 0.0, torch.zeros(5).double())
    bias = torch.randn(5).double()
    assert torch.allclose(soft_filter(bias), torch.cat([bias[:1], bias[1:].mean().expand(4)]), atol=1e-14)
    soft_filter.softness = 1.0
    assert soft_filter(bias) is bias


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_a_budget_is_kept(space, fields) -> None:
    conv = softened(space, Budget(0.1), fields=fields)
    before = conv.parametrizations.weight.original.detach()
    after = conv.weight.detach()
    gains = weight_filter(conv).gains(before)
    assert gains[0] == 1
    assert 0 < gains[-1] < 1
    if space in SPACES.values():
        errors = [
            float((pixel_action(g, after.flatten(2), conv.field, conv.field, 5) - after.flatten(2)).norm())
            for g in conv.field.fibergroup.elements
        ]
        assert 0.0999 < max(errors) / float(after.norm()) <= 0.1


# ---------------------------------------------------------------------- when it is kept


@pytest.mark.parametrize("policy", [0.5, Budget(0.1)], ids=str)
def test_kept_in_evaluation_mode_until_something_changes(policy) -> None:
    conv = softened(SPACES["C4"], policy).eval().float()
    with torch.no_grad():
        kept = conv.weight
        assert conv.weight is kept
        weight = conv.parametrizations.weight.original
        weight.mul_(2)
        assert torch.allclose(conv.weight, 2 * kept)
        kept = conv.weight
        conv.load_state_dict({k: v / 2 for k, v in conv.state_dict().items()})
        assert torch.allclose(2 * conv.weight, kept)
        kept = conv.weight
        weight_filter(conv).softness = 0.0
        assert not torch.equal(conv.weight, kept)
        conv.double()
        assert conv.weight.dtype == torch.float64
        kept = conv.weight
        assert conv.weight is kept
        weight.data.zero_()
        assert not conv.weight.any()
        conv.parametrizations.weight.original = torch.nn.Parameter(torch.ones(4, 4, 5, 5).double())
        assert conv.weight.any()
    with torch.inference_mode():
        kept = conv.weight
        assert conv.weight is kept
    assert not kept.is_inference()


def test_not_kept_where_a_gradient_is_asked_for() -> None:
    conv = softened(SPACES["C4"], 0.5).eval()
    assert conv.weight is not conv.weight
    conv.weight.square().sum().backward()
    assert conv.parametrizations.weight.original.grad.norm() > 0
    conv.requires_grad_(False)
    assert conv.weight is conv.weight
    assert not conv.weight.requires_grad
    assert conv.train().weight is not conv.weight
    weight_filter(conv).softness = Learned(0.5)
    assert conv.eval().weight.requires_grad


def test_the_gradient_is_that_of_the_filtered_weight() -> None:
    conv = softened(SPACES["D4"], 0.3, kernel_size=3)
    soft_filter, weight = weight_filter(conv), conv.parametrizations.weight.original.detach().requires_grad_()
    assert torch.autograd.gradcheck(soft_filter, (weight,))
    soft_filter.softness = Budget(0.1)
    assert torch.autograd.gradcheck(soft_filter, (weight,))


def test_learned_gains() -> None:
    conv = softened(SPACES["C4"], Learned(0.25))
    soft_filter = weight_filter(conv)
    assert set(conv.state_dict()) == {
        "bias", "parametrizations.weight.original", "parametrizations.weight.0.level_logits",
    }  # fmt: skip
    assert torch.allclose(soft_filter.gains(conv.weight), torch.tensor([1.0, 0.25, 0.25]).double())
    optimizer = torch.optim.SGD(conv.parameters(), lr=1.0)
    conv.weight.square().sum().backward()
    optimizer.step()
    assert (soft_filter.gains(conv.weight)[1:] < 0.25).all()
    soft_filter.softness = 0.5
    assert soft_filter.level_logits is None


# ---------------------------------------------------------------------- torch


def test_the_state_is_the_unfiltered_weight_alone() -> None:
    conv = softened(SPACES["C4"], 0.5)
    assert set(conv.state_dict()) == {"bias", "parametrizations.weight.original"}
    other = softened(SPACES["C4"], 0.5)
    other.load_state_dict(conv.state_dict(), strict=True)
    assert torch.equal(other.weight, conv.weight)
    other.eval().load_state_dict(conv.state_dict(), strict=True, assign=True)
    assert torch.equal(other.weight, conv.weight)


def test_assigning_a_weight_stores_it_unfiltered() -> None:
    conv = softened(SPACES["C4"], 0.0)
    value = torch.randn(4, 4, 5, 5).double()
    conv.weight = value
    assert torch.equal(conv.parametrizations.weight.original, value)
    assert (conv.weight - average(conv)).abs().max() < 1e-14


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("policy", [0.5, 0.0, 1.0, Cutoff(1.0), Budget(0.2), Learned(0.5)], ids=str)
def test_compiles_to_one_graph(policy, train) -> None:
    conv = softened(SPACES["C4"], policy).train(train)
    x = torch.randn(1, 4, 7, 7).double()
    torch._dynamo.reset()
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    assert (compiled(x) - conv(x)).abs().max() < 1e-12
    gradients = [torch.autograd.grad(f(x).sum(), list(conv.parameters())) for f in (compiled, conv)]
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*gradients, strict=True))
    with torch.no_grad():
        conv.parametrizations.weight.original.mul_(2)  # seen, though a graph keeps nothing
        assert (compiled(x) - conv(x)).abs().max() < 1e-12


@pytest.mark.skipif(not shutil.which("g++"), reason="torch's default backend needs a C++ compiler")
def test_compiles_with_the_default_backend() -> None:
    conv = softened(CONTINUOUS["SO(2)"], 0.5).float()
    x = torch.randn(1, 4, 7, 7)
    torch._dynamo.reset()
    assert (torch.compile(conv, fullgraph=True)(x) - conv(x)).abs().max() < 1e-5


def test_torch_func() -> None:
    conv = softened(SPACES["C4"], 0.5).eval()
    parameters = dict(conv.named_parameters())
    x = torch.randn(1, 4, 7, 7).double()

    def loss(parameters):
        return functional_call(conv, parameters, (x,)).square().sum()

    by_func = grad(loss)(parameters)
    by_autograd = torch.autograd.grad(conv(x).square().sum(), list(parameters.values()))
    assert all(torch.allclose(by_func[n], g) for n, g in zip(parameters, by_autograd, strict=True))
    stack = {name: torch.stack([p, 2 * p]) for name, p in parameters.items()}
    losses = vmap(loss)(stack)
    assert torch.allclose(losses, torch.stack([loss(parameters), loss({n: 2 * p for n, p in parameters.items()})]))


@pytest.mark.parametrize("policy", [0.5, Budget(0.2), Learned(0.5)], ids=str)
def test_copies_are_independent(policy) -> None:
    conv = softened(SPACES["C4"], policy, fields=True).eval()
    with torch.no_grad():
        before = conv.weight.clone()
    twin = copy.deepcopy(conv)
    with torch.no_grad():
        assert torch.equal(twin.weight, before)
        twin.parametrizations.weight.original.zero_()
        weight_filter(twin).softness = 0.0
        assert not twin.weight.any()
        assert torch.equal(conv.weight, before)
    assert weight_filter(conv).softness == policy


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("policy", [0.0, 0.5, 1.0, Budget(0.3), Learned(0.5)], ids=str)
def test_low_precision_filters_in_single_precision(policy, dtype) -> None:
    conv = softened(SPACES["D4"], policy).to(dtype)
    exact = copy.deepcopy(conv).double()
    error = (conv.weight.double() - exact.weight).abs().max() / exact.weight.abs().max()
    slack = 50 if isinstance(policy, Budget) else 4  # a budget keeps a margin for the layer's own rounding
    assert conv.weight.dtype == dtype
    assert error < slack * torch.finfo(dtype).eps
    back = conv.double()
    assert (back.weight - exact.weight).abs().max() < 1e-14


def test_under_autocast_the_filter_is_not_rounded() -> None:
    conv = softened(SPACES["D4"], 0.0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = conv.weight
        assert conv(torch.randn(1, 4, 7, 7)).dtype == torch.bfloat16
    assert weight.dtype == torch.float32
    assert torch.equal(weight, conv.weight)


def test_an_optimizer_trains_the_unfiltered_weight() -> None:
    conv = Conv2d(2, 2, 3)
    parameter = conv.weight
    optimizer = torch.optim.Adam(conv.parameters(), lr=0.1)
    graded = graded_kernel(conv, *[scalars(SPACES["C4"], 2)] * 2)
    register_parametrization(conv, "weight", SoftFilter(graded, 0.0, conv.weight))
    assert conv.parametrizations.weight.original is parameter
    target = torch.randn(2, 2, 3, 3)
    strict = weight_filter(conv).strict(target)
    for _ in range(300):
        optimizer.zero_grad()
        (conv.weight - target).square().sum().backward()
        optimizer.step()
    assert (conv.weight - strict).abs().max() < 1e-3


def test_the_scheduler_turns_filters_too() -> None:
    conv = softened(SPACES["C4"], 0.0)
    scheduler = SoftnessScheduler(conv, lambda step: 1.0 / (1 + step))
    scheduler.step()
    assert weight_filter(conv).softness == 0.5


class Halves:
    """A vector's mean, and the rest: levels that come from no group."""

    def __init__(self) -> None:
        group = SPACES["C2"].fibergroup
        self.levels = (Level(group, (0,), 0.0, False, 0.0, 1), Level(group, None, 1.0, False, 1.0, 3))
        self.dial = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def filtered(self, weight, gains):
        mean = weight.mean().expand(4)
        return gains[0] * mean + gains[1] * (weight - mean)

    def energies(self, weight):
        return torch.stack([4 * weight.mean() ** 2, (weight - weight.mean()).square().sum()])

    def to(self, device, dtype):
        return self


def test_levels_of_ones_own() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0, 6.0])
    soft_filter = SoftFilter(Halves(), Exponential(0.5), weight)
    assert torch.equal(soft_filter(weight), torch.tensor([2.0, 2.5, 3.0, 4.5]))
    soft_filter.softness = Learned(0.25)
    assert torch.allclose(soft_filter(weight), torch.tensor([2.5, 2.75, 3.0, 3.75]))
    with pytest.raises(SoftnessError, match=r"needs no bound of the error here but got softness=Budget.*Use a float"):
        soft_filter.softness = Budget(0.1)
    with pytest.raises(SoftnessError, match="softness=2"):
        soft_filter.softness = 2
    assert soft_filter.softness == Learned(0.25)
    with pytest.raises(SoftnessError, match="softness='high'"):
        SoftFilter(Halves(), "high", weight)


def test_words() -> None:
    conv = softened(SPACES["C4"], Exponential(0.5))
    assert "SoftFilter(softness=Exponential(softness=0.5), levels=3)" in repr(conv)
    assert weight_filter(Conv2d(1, 1, 3)) is None


def test_what_is_zero_has_a_gradient_at_every_softness() -> None:
    for kind, build in KINDS.items():
        model = build().train()
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        y = model(example(model))
        (y if isinstance(y, torch.Tensor) else y.tensor).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None), kind
