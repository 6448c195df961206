"""A softness is a set of weights with a bound known beforehand, which holds and is attained."""

from __future__ import annotations

import copy
import warnings
from functools import cache

import pytest
import torch
from escnn import group, gspaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils import prune
from torch.nn.utils.parametrize import register_parametrization

import escnn_soft as es
from escnn_soft.dial import Graded
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.groups import lorentz_group, orthogonal_group, vector
from escnn_soft.layers import dials, graded_kernel
from tests.cases import field_types, planar, point
from tests.disturbance import disturb
from tests.workflows.carriers import CARRIERS, filled

EPS = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}
PLANAR = ["C4", "D4", "flip diagonal", "C8", "D6", "SO(2)", "O(2)"]
MATRICES = ["C5", "D4", "SO(2)", "O(2)", "SO(3)", "octahedral"]
FEWEST = settings(max_examples=max(5, settings.default.max_examples // 5))  # certificates in space are slow
SOFTNESSES = [0.0, 1e-3, 0.05, 0.3, 0.7, 0.999, 1.0]
CERTIFIED = [kind for kind in CARRIERS if not any(word in kind for word in ("table", "rotary", "positions"))]


@cache
def carrier(kind: str) -> torch.nn.Module:
    return filled(CARRIERS[kind]()).double()


@cache
def layer_of(name: str, *, convolution: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    if convolution:
        return es.SoftR2Conv(*field_types(planar(name))[2], 3, padding=1).double()
    return es.SoftLinear(*field_types(point(name))[2]).double()


def within(value: float, bound: float, dtype: torch.dtype = torch.float64) -> bool:
    return value <= bound * (1 + EPS[dtype]) + 1e-12


# ------------------------------------------------------------------ the bound


@pytest.mark.parametrize("kind", CERTIFIED)
@FEWEST
@given(softness=st.sampled_from(SOFTNESSES) | st.floats(0, 1), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e3, 1e30]))
def test_no_certificate_exceeds_the_bound(kind, softness, scale) -> None:
    model = carrier(kind)
    es.set_softness(model, softness)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    for dial in dials(model).values():
        try:
            certificate = dial.certificate()
        except ArgumentError:  # a tensor between no fields: a table
            continue
        assert within(certificate.relative.sup, dial.bound())


@pytest.mark.parametrize("name", PLANAR)
@FEWEST
@given(softness=st.sampled_from(SOFTNESSES), seed=st.integers(0, 9), breaking=st.sampled_from([1e-2, 1.0, 1e4]))
def test_it_holds_element_by_element_for_kernel_and_bias(name, softness, seed, breaking) -> None:
    layer = layer_of(name)
    layer.softness = softness
    torch.manual_seed(seed)
    disturb(layer, breaking)
    certificate = layer.certificate()
    whole = (certificate.norm**2 + certificate.bias.norm**2) ** 0.5
    for element in layer.in_type.gspace.testing_elements:
        bound = layer.bound(element)
        assert within(certificate.relative.at(element), bound)
        assert within(certificate.bias.at(element), bound * whole)
        assert bound <= layer.bound() * (1 + 1e-12)
    if layer.in_type.fibergroup.order() != 2:
        for angle in (0.05, 0.5, 3.0):
            assert within(certificate.relative.within(angle), layer.bound(angle))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["C4", "C8", "O(2)"])
def test_it_includes_the_rounding_of_the_dtype(name, dtype) -> None:
    layer = copy.deepcopy(layer_of(name)).to(dtype)
    for softness in SOFTNESSES:
        layer.softness = softness
        for breaking in (1e-3, 1.0, 1e2):
            disturb(layer, breaking)
            assert layer.certificate().relative.sup <= layer.bound() + 1e-12


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("softness", [0.02, 0.3, 0.9])
def test_it_is_attained(name, softness) -> None:
    """By all breaking energy in one level, along the vector that an element moves most."""
    layer = layer_of(name, convolution=False)
    layer.softness = softness
    space = layer.in_type.gspace
    elements = [g for g in space.testing_elements if g != space.fibergroup.identity]
    element = max(elements, key=layer.bound)
    transform = layer._dials[0].graded.transform
    best = 0.0
    for level in (level for level in transform.levels if level.sigma > 0):
        psi = torch.from_numpy(level.irrep(element)).double()
        direction = torch.linalg.svd(psi - torch.eye(len(psi))).Vh[0]
        _attain(layer, transform.soft, level, direction, softness)
        certificate = layer.certificate()
        assert within(certificate.relative.at(element), layer.bound(element))
        best = max(best, certificate.relative.at(element))
    assert best == pytest.approx(layer.bound(element), rel=1e-6)


def _attain(layer, soft, level, direction: Tensor, softness: float) -> None:
    """Coefficients of one level only, a common direction in every vector, as large as the set allows and far beyond."""
    index = [each.irrep_id for each in soft.levels].index(level.irrep_id)
    with torch.no_grad():
        layer.soft_weights.zero_()
        for piece, block in zip(soft.pieces(layer.soft_weights), soft.blocks, strict=True):
            columns = (block.level == index).nonzero()[:, 0]
            if len(columns):
                piece[:, columns] = 1e6 * direction.repeat(len(columns) // len(direction))


@pytest.mark.parametrize("name", ["C4", "C8", "SO(3)"])
def test_an_optimiser_that_maximises_the_error_stays_below_it(name) -> None:
    layer = copy.deepcopy(layer_of(name, convolution=False)).float()
    layer.softness = 0.1
    disturb(layer, 1e-3)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        kernel, _ = layer.expand_parameters()
        (-layer._soft(0).analysis(kernel).square().sum() / kernel.square().sum()).backward()
        optimiser.step()
    certificate = layer.certificate()
    assert certificate.relative.sup <= layer.bound()
    assert certificate.relative.rms > 0.5 * 2**0.5 * 0.1 ** min(
        level.exponent for level in layer.spectrum().levels if not level.symmetric
    )  # it tried


def test_a_target_without_symmetry_cannot_leave_the_set() -> None:
    """Where s ** sigma alone multiplied coefficients that then grew, and bounded nothing."""
    space = gspaces.no_base_space(group.cyclic_group(8))
    field = space.type(*[space.regular_repr] * 2)
    torch.manual_seed(0)
    target = torch.randn(16, 16)
    errors = {}
    for softness in (0.1, es.Exponential(0.1)):
        layer = es.SoftLinear(field, field, softness=softness, bias=False)
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
        for _ in range(400):
            optimiser.zero_grad()
            (layer.expand_parameters()[0] - target).square().mean().backward()
            optimiser.step()
        errors[str(softness)] = layer.certificate().relative.sup
    assert errors["0.1"] <= 0.22
    assert errors["Exponential(softness=0.1)"] > 1.0


def test_an_element_of_a_kept_subgroup_moves_nothing() -> None:
    space = gspaces.flipRot2dOnR2(4)
    field = space.type(space.regular_repr)
    layer = es.SoftR2Conv(field, field, 3, softness=0.5, chain=[(None, 4)]).double()
    disturb(layer, 10.0)
    quarter, flip = space.fibergroup.element((0, 1)), space.fibergroup.element((1, 0))
    assert 0 < layer.bound(quarter) < 1e-14 < 0.1 < layer.bound(flip)
    assert layer.certificate().relative.at(quarter) < 1e-12
    assert within(layer.certificate().relative.at(flip), layer.bound(flip))


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.5])
def test_of_bound_inverts_the_bound(eta) -> None:
    layer = layer_of("C8")
    layer.softness = Graded.of_bound(eta, layer)
    assert layer.bound() == pytest.approx(eta, rel=1e-9)


def test_what_is_no_element_is_refused() -> None:
    layer = layer_of("C4")
    with pytest.raises(ArgumentError, match="an element of C4"):
        layer.bound("nonsense")
    with pytest.raises(ArgumentError, match=r"angle=7"):
        layer.bound(7)
    with pytest.raises(SoftnessError, match=r"eta=3"):
        Graded.of_bound(3, layer)


# ------------------------------------------------------------------ the sets


def in_set(spectrum, softness: float) -> bool:
    """sum over breaking levels of s^(-2 sigma) ||W_l||^2 <= ||W||^2, the rounding of the kernel aside."""
    total = sum(level.energy for level in spectrum.levels)
    breaking = [level for level in spectrum.levels if not level.symmetric and level.energy > 1e-28 * total]
    terms = (level.energy / softness ** (2 * level.exponent) for level in breaking)
    return sum(terms) <= total * (1 + 1e-6)


@pytest.mark.parametrize("name", PLANAR)
@FEWEST
@given(low=st.floats(0.05, 1), high=st.floats(0.05, 1), breaking=st.sampled_from([1e-2, 1.0, 1e3]))
def test_sets_are_nested_and_errors_rise_with_the_softness(name, low, high, breaking) -> None:
    low, high = sorted((low, high))
    layer = layer_of(name)
    disturb(layer, breaking)
    layer.softness = low
    spectrum, lower = layer.spectrum(), layer.certificate()
    assert in_set(spectrum, low)
    assert in_set(spectrum, high)
    layer.softness = high
    higher = layer.certificate()
    for element in layer.in_type.gspace.testing_elements:
        assert lower.at(element) <= higher.at(element) * (1 + 1e-9) + 1e-12
        assert lower.bias.at(element) <= higher.bias.at(element) * (1 + 1e-9) + 1e-12


def filtered(space, softness, *, types: bool) -> torch.nn.Conv2d:
    field = space.type(space.regular_repr) if types else space.type(*[space.trivial_repr] * 4)
    conv = torch.nn.Conv2d(field.size, field.size, 5).double()
    register_parametrization(conv, "weight", es.SoftFilter(graded_kernel(conv, field, field), softness, conv.weight))
    return conv


@pytest.mark.parametrize("types", [False, True])
@pytest.mark.parametrize("name", ["C4", "C8", "D4"])
@given(softness=st.floats(0.01, 1), scale=st.sampled_from([1e-200, 1.0, 1e150]), share=st.floats(0, 1))
def test_filtering_twice_is_filtering_once(name, types, softness, scale, share) -> None:
    conv = filtered(planar(name), softness, types=types)
    weight_filter = conv.parametrizations.weight[0]
    weight = torch.randn_like(conv.weight)
    weight = scale * (weight_filter.strict(weight) + share * (weight - weight_filter.strict(weight)))
    once = weight_filter(weight)
    assert torch.isfinite(once).all()
    assert torch.allclose(weight_filter(once), once, rtol=1e-9, atol=1e-10 * scale)
    assert in_set(weight_filter.spectrum(weight / scale, once / scale), softness)


def test_what_a_filter_allows_passes_as_it_is() -> None:
    conv = filtered(planar("C4"), 0.9, types=False)
    weight_filter = conv.parametrizations.weight[0]
    strict = weight_filter.strict(torch.randn_like(conv.weight))
    assert torch.allclose(weight_filter(strict), strict, rtol=1e-12)
    slightly = strict + 1e-6 * torch.randn_like(strict)
    assert torch.equal(weight_filter(slightly), slightly)


@pytest.mark.parametrize("softness", [1e-300, 1e-12, 0.5])
def test_nothing_overflows(softness) -> None:
    conv = filtered(planar("C8"), softness, types=True).float()
    conv.weight.sum().backward()
    assert torch.isfinite(conv.weight).all()
    assert torch.isfinite(conv.parametrizations.weight.original.grad).all()


def test_softness_0_is_escnn_and_1_is_torch() -> None:
    layer = layer_of("C4")
    disturb(layer, 1.0)
    layer.softness = 0.0
    assert torch.allclose(layer.expand_parameters()[0], layer._expand_strict()[0], atol=1e-12)
    dense = torch.nn.Conv2d(layer.in_type.size, layer.out_type.size, 3).double()
    same = es.SoftR2Conv.from_dense(dense, layer.in_type, layer.out_type, softness=1.0)
    assert torch.allclose(same.expand_parameters()[0], dense.weight, atol=1e-12)


@pytest.mark.parametrize("name", ["C4", "C8", "O(2)"])
def test_the_dial_has_no_jumps(name) -> None:
    layer = layer_of(name)
    disturb(layer, 1.0)
    kernels = []
    for softness in (0.0, 1e-30, 0.3, 0.3 + 1e-9, 1 - 1e-12, 1.0):
        layer.softness = softness
        kernels.append(layer.expand_parameters()[0].detach())
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert (kernels[first] - kernels[second]).norm() < 2e-3 * kernels[1].norm()


# ------------------------------------------------------------------ what breaks nothing, and what stands alone


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_the_symmetric_remainder_opens_at_once_and_breaks_nothing(name) -> None:
    layer = copy.deepcopy(layer_of(name))
    soft = layer._soft(0)
    symmetric = soft.spread(torch.tensor([level.symmetric for level in soft.levels]))
    assert symmetric.any()
    with torch.no_grad():
        layer.soft_weights.copy_(symmetric.double() * torch.randn_like(layer.soft_weights))
    strict = layer._expand_strict()[0]
    for softness in (0.01, 0.5, 1.0):
        layer.softness = softness
        assert layer.certificate().relative.sup < 1e-12
        assert (layer.expand_parameters()[0] - strict).norm() > 0.3 * layer.soft_weights.norm()


def test_a_bias_without_an_invariant_direction_learns() -> None:
    so3 = group.so3_group(1)
    field = gspaces.no_base_space(so3).type(so3.irrep(1))
    layer = es.SoftLinear(field, field, softness=0.5)
    assert layer.bias is None
    disturb(layer, 0.1)
    layer.expand_parameters()[1].sum().backward()
    assert layer.soft_bias.grad.abs().min() > 1e-4


def test_a_layer_without_an_equivariant_part_stays_closed_and_says_so() -> None:
    inversion = vector(orthogonal_group(3))  # no product of two vectors is a vector
    layer = es.SoftMatrixLinear(inversion**2, inversion, softness=0.5, bias=False)
    assert not layer.expand_parameters()[0].any()
    assert "closed" in repr(layer)
    assert "closed" in str(es.soft_status(layer))
    assert layer.bound() < 1e-5
    layer.softness = 1.0
    assert layer.expand_parameters()[0].any()
    assert "closed" not in repr(layer)


def test_a_layer_whose_equivariant_weights_are_zero_lets_nothing_pass() -> None:
    layer = copy.deepcopy(layer_of("C4"))
    disturb(layer, 1.0)
    with torch.no_grad():
        layer.weights.zero_()
        layer.bias.zero_()
        soft = layer._soft(0)
        layer.soft_weights[soft.spread(torch.tensor([level.symmetric for level in soft.levels]))] = 0.0
    layer.softness = 0.5
    kernel, bias = layer.expand_parameters()
    assert not kernel.any()
    assert not bias.any()
    kernel.sum().backward()
    assert torch.isfinite(layer.weights.grad).all()


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize("name", ["C4", "C8"])
@pytest.mark.parametrize("breaking", [1e-2, 10.0])
def test_gradients_are_those_of_finite_differences(name, breaking) -> None:
    layer = copy.deepcopy(layer_of(name))
    layer.softness = 0.4
    disturb(layer, breaking)
    parameters = [p.detach().clone().requires_grad_() for p in (layer.weights, layer.soft_weights, layer.soft_bias)]

    def expand(weights: Tensor, soft_weights: Tensor, soft_bias: Tensor) -> Tensor:
        values = {"weights": weights, "soft_weights": soft_weights, "soft_bias": soft_bias}
        layer.train()
        module = _Expanding(layer)
        named = {f"layer.{key}": value for key, value in values.items()}
        return torch.func.functional_call(module, named, ())

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(expand, parameters, fast_mode=True)


class _Expanding(torch.nn.Module):
    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> Tensor:
        kernel, bias = self.layer.expand_parameters()
        return torch.cat([kernel.flatten(), bias])


@pytest.mark.parametrize("types", [False, True])
def test_gradients_of_a_filter_are_those_of_finite_differences(types) -> None:
    weight_filter = filtered(planar("C4"), 0.4, types=types).parametrizations.weight[0]
    weight = torch.randn(4, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(weight_filter, weight, fast_mode=True)


# ------------------------------------------------------------------ turning it without a jump


@pytest.mark.parametrize("kind", CERTIFIED)
def test_the_function_is_kept_where_the_new_softness_allows_it(kind) -> None:
    model = filled(CARRIERS[kind]()).double()
    es.set_softness(model, 0.3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "soft" in name:
                parameter.mul_(1e-3)  # inside the set, also of a little less softness
    before = {name: dial.spectrum() for name, dial in dials(model).items()}
    for softness in (0.9, 1.0, es.Exponential(0.5), es.Cutoff(torch.inf), 0.3):
        es.set_softness(model, softness, keep=True)
        for name, dial in dials(model).items():
            assert dial.softness == softness
            for old, new in zip(before[name].levels, dial.spectrum().levels, strict=True):
                assert new.energy == pytest.approx(old.energy, rel=1e-6, abs=1e-9 * before[name].energy)


def test_what_the_new_softness_does_not_allow_is_cut_down_to_it() -> None:
    layer = copy.deepcopy(layer_of("C4"))
    disturb(layer, 1.0)
    layer.softness = 1.0
    whole = layer.expand_parameters()[0].detach()
    layer.turn(0.1, keep=True)
    assert within(layer.certificate().relative.sup, layer.bound())
    strict = layer._expand_strict()[0].detach()
    assert 0.01 < ((layer.expand_parameters()[0] - strict).norm() / (whole - strict).norm()) < 0.9
    layer.turn(0.0, keep=True)
    layer.turn(0.1)
    assert layer.certificate().relative.sup > 0.01  # the levels that 0 closes keep their coefficients


def test_a_filter_by_itself_cannot_keep_the_function() -> None:
    conv = filtered(planar("C4"), 0.5, types=False)
    with pytest.raises(ArgumentError, match=r"keep=True.*set_softness\(model"):
        conv.parametrizations.weight[0].turn(0.2, keep=True)


@pytest.mark.parametrize("kind", [kind for kind in CARRIERS if kind.startswith("R")])
def test_the_norm_that_counts_is_that_of_the_coefficients(kind) -> None:
    layer = copy.deepcopy(carrier(kind))
    layer.softness = 0.5
    strict = layer._expand_strict()[0].detach()
    coefficients = layer._here[0].equivariant.analysis(layer._as_graded(strict))
    assert layer._norm_of(strict).item() == pytest.approx(coefficients.norm().item(), rel=1e-10)


# ------------------------------------------------------------------ what an attack found

SOBEL = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("softness", [0.0, 0.1, 0.99, es.Budget(0.1)])
def test_rounding_is_not_taken_for_an_equivariant_part(dtype, softness) -> None:
    conv = torch.nn.Conv2d(1, 2, 3, bias=False).to(dtype)
    conv.weight.data = torch.stack([SOBEL, SOBEL.T])[:, None].to(dtype) * 0.3173
    closed = softness in (0.1, 0.99)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = es.soften(torch.nn.Sequential(conv), softness, gspace=planar("C4"))
    assert any("Nothing in 0.weight is equivariant" in str(warning.message) for warning in caught) == closed
    assert not model[0].weight.any()
    (dial,) = dials(model).values()
    assert dial.closed == closed
    assert ("closed" in str(es.soft_status(model))) == dial.closed


def some_channels(kind: str) -> torch.Tensor:
    """Kernels (80, 1, 3, 3) whose equivariant part is where it says."""
    kernels = SOBEL.expand(80, 1, 3, 3).clone()
    if kind == "in the first":
        kernels[0] += 1
    elif kind == "in the last":
        kernels[-1] += 1
    elif kind == "as rounding":
        kernels[0] = 1e-9
    elif kind == "as subnormal numbers":
        kernels = kernels * 0 + 1e-44
    return kernels


@pytest.mark.parametrize("kind", ["in the first", "in the last", "as rounding", "as subnormal numbers", "nowhere"])
@pytest.mark.parametrize("softness", [0.3, 0.99])
def test_a_few_channels_tell_no_more_than_all(kind, softness) -> None:
    conv = torch.nn.Conv2d(1, 80, 3, bias=False)
    conv.weight.data = some_channels(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = es.soften(torch.nn.Sequential(conv), softness, gspace=planar("C4"))
    (dial,) = dials(model).values()
    passes = bool(model[0].weight.any())
    assert passes == (kind not in ("as rounding", "nowhere"))
    assert dial.closed != passes
    assert passes or not dial.filter.dial.shows(dial.original)
    assert dial.filter.dial.shows(dial.original) == (kind in ("in the first", "as subnormal numbers"))


@pytest.mark.parametrize("channels", [1, 8, 64])
def test_what_a_few_channels_show_is_what_the_filter_finds(channels) -> None:
    conv = torch.nn.Conv2d(channels, channels, 3, bias=False)
    soft = es.soften(conv, 0.3, gspace=gspaces.flipRot2dOnR2(4))
    (dial,) = es.dials(soft).values()
    generator = torch.Generator().manual_seed(0)
    breaking = torch.randn(channels, channels, 3, 3, generator=generator)
    breaking = breaking - breaking.flip(3)
    for part in torch.logspace(-9, 0, 28):  # from less than rounding to a part that counts
        weight = breaking.clone()
        weight[0, 0] += part
        assert bool(dial.filter(weight).any()) or not dial.filter.dial.shows(weight)
    assert dial.filter.dial.shows(breaking + 1.0)


@pytest.mark.parametrize("share", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("softness", [0.01, 0.3])
def test_a_small_equivariant_part_is_told_from_rounding(softness, share) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(8, 8, 3, bias=False)
    model = es.soften(torch.nn.Sequential(conv), softness, gspace=planar("C4"))
    (dial,) = dials(model).values()
    weight = dial.original.detach()
    strict = dial.filter.strict(weight)
    with torch.no_grad():
        dial.original.copy_(weight - strict + share * strict)
    assert dial.certificate().relative.sup <= dial.bound()
    o3 = vector(orthogonal_group(3))
    layer = es.SoftMatrixLinear(o3**2, o3**2, softness=softness, bias=False)
    with torch.no_grad():
        strict = layer._dials[0].strict(layer.weight)
        layer.weight.copy_(layer.weight - strict + share * strict)
    assert layer.certificate().relative.sup <= layer.bound()


def test_of_bound_thinks_of_the_bias() -> None:
    c8 = group.cyclic_group(8)
    field = gspaces.no_base_space(c8).type(c8.irrep(1))
    layer = es.SoftLinear(field, field)
    layer.softness = Graded.of_bound(0.1, layer)
    assert layer.bound() == pytest.approx(0.1, rel=1e-4)
    lorentz = vector(lorentz_group())
    with pytest.raises(SoftnessError, match="a supremum"):
        Graded.of_bound(0.1, es.SoftMatrixLinear(lorentz, lorentz))


def test_kept_coefficients_are_no_larger_than_the_set_allows() -> None:
    layer = es.SoftR2Conv(*field_types(planar("C4"))[2], 3, softness=1.0)
    disturb(layer, 1.0)
    layer.half().turn(1e-3, keep=True)
    assert layer.soft_weights.isfinite().all()
    assert layer.expand_parameters()[0].isfinite().all()
    layer = es.SoftR2Conv(*field_types(planar("C4"))[2], 3, softness=1.0).double()
    disturb(layer, 1.0)
    layer.turn(0.1, keep=True)
    assert float(layer._expand()[2][0]) == pytest.approx(1.0, abs=1e-12)


def test_keep_refuses_parameters_that_something_else_computes() -> None:
    layer = es.SoftR2Conv(*field_types(planar("C4"))[2], 3, softness=0.5)
    prune.l1_unstructured(layer, "soft_weights", 0.5)
    with pytest.raises(ArgumentError, match=r"soft_weights nothing else computes but got keep=True"):
        layer.turn(0.8, keep=True)
    assert layer.softness == 0.5


def test_a_compiled_filter_takes_every_softness() -> None:
    model = es.soften(torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3)), 0.5, gspace=planar("C4"))
    compiled, x = torch.compile(model, fullgraph=True, backend="eager"), torch.randn(1, 4, 5, 5)
    for i in range(12):
        es.set_softness(model, 0.5 - i / 30)
        assert torch.allclose(compiled(x), model(x), atol=1e-6)
