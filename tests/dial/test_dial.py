"""The dial: escnn at 0, any plain layer at 1, and never a smaller error for more softness."""

import math
from functools import cache

import pytest
import torch
from escnn.nn import Linear, R2Conv
from hypothesis import given, settings
from hypothesis import strategies as st

from escnn_soft import Cutoff, SoftLinear, SoftR2Conv
from tests.cases import CONTINUOUS, GRID_EXACT, PLANAR, POINT, field_types, harmonics, planar, point
from tests.disturbance import disturb
from tests.reference import continuous_error, fibre_action, pixel_action

DIALS = {"exponential": st.floats(0, 1), "cutoff": st.floats(0, 9).map(Cutoff)}


def position(softness) -> float:
    return softness.bound if isinstance(softness, Cutoff) else softness


@pytest.mark.parametrize("name", PLANAR)
def test_softness_0_is_escnns_convolution(name) -> None:
    for in_type, out_type in field_types(planar(name)):
        hard = R2Conv(in_type, out_type, 5, padding=2, recompute=True)  # else .double() casts every layer's basis
        soft = SoftR2Conv(in_type, out_type, 5, padding=2, softness=0.0)
        soft.load_state_dict(hard.state_dict())
        disturb(soft, 1.0)
        x = in_type(torch.randn(2, in_type.size, 7, 7))
        assert (soft(x).tensor - hard(x).tensor).abs().max() < 5e-6
        hard, soft, x = hard.double(), soft.double(), in_type(x.tensor.double())
        # escnn's basis keeps its float32 rounding in double precision, ours does not
        assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-5


@pytest.mark.parametrize("name", POINT)
def test_softness_0_is_escnns_linear(name) -> None:
    for in_type, out_type in field_types(point(name))[1:3]:
        hard, soft = Linear(in_type, out_type), SoftLinear(in_type, out_type)
        soft.load_state_dict(hard.state_dict())
        disturb(soft, 1.0)
        x = in_type(torch.randn(2, in_type.size))
        assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", PLANAR)
def test_softness_1_reaches_every_convolution(name, dtype, tolerance) -> None:
    for in_type, out_type in field_types(planar(name)):
        conv = torch.nn.Conv2d(in_type.size, out_type.size, 3, padding=1, dtype=dtype)
        soft = SoftR2Conv.from_dense(conv, in_type, out_type)
        x = torch.randn(2, in_type.size, 6, 6, dtype=dtype)
        assert (soft(in_type(x)).tensor - conv(x)).abs().max() < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", POINT)
def test_softness_1_reaches_every_linear_map(name, dtype, tolerance) -> None:
    for in_type, out_type in field_types(point(name))[1:3]:
        linear = torch.nn.Linear(in_type.size, out_type.size, dtype=dtype)
        soft = SoftLinear.from_dense(linear, in_type, out_type)
        x = torch.randn(3, in_type.size, dtype=dtype)
        assert (soft(in_type(x)).tensor - linear(x)).abs().max() < tolerance


def test_double_precision_is_equivariant_beyond_escnn() -> None:
    in_type, out_type = field_types(planar("D4"))[2]
    soft = SoftR2Conv(in_type, out_type, 5).double()
    kernel = soft.expand_parameters()[0].detach().flatten(2)
    for element in in_type.fibergroup.elements:
        assert (pixel_action(element, kernel, in_type, out_type, 5) - kernel).abs().max() < 1e-14


@cache
def conv_layer(name: str) -> SoftR2Conv:
    in_type, out_type = field_types(planar(name))[2]
    torch.manual_seed(0)
    layer = SoftR2Conv(in_type, out_type, 3).double()
    disturb(layer, 1.0)
    return layer


@cache
def linear_layer(name: str) -> SoftLinear:
    in_type, out_type = field_types(point(name))[2]
    torch.manual_seed(0)
    layer = SoftLinear(in_type, out_type).double()
    disturb(layer, 1.0)
    return layer


def kernel_at(layer, softness) -> torch.Tensor:
    layer.softness = softness
    return layer.expand_parameters()[0].detach().reshape(layer._transform.shape)


def assert_error_grows(layer, softnesses, error) -> None:
    low, high = sorted(softnesses, key=position)
    smaller, larger = error(kernel_at(layer, low)), error(kernel_at(layer, high))
    assert smaller <= larger * (1 + 1e-12) + 1e-12


def group_element(data, g):
    if g.order() > 0:
        return data.draw(st.sampled_from(g.elements))
    return g.sample()


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("name", POINT)
@given(data=st.data())
def test_error_of_fibre_maps_grows_with_softness(name, dial, data) -> None:
    layer = linear_layer(name)
    element = group_element(data, layer.in_type.fibergroup)
    softnesses = data.draw(st.tuples(DIALS[dial], DIALS[dial]))
    assert_error_grows(
        layer, softnesses, lambda w: (fibre_action(element, w, layer.in_type, layer.out_type) - w).norm().item()
    )


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("name", GRID_EXACT)
@given(data=st.data())
def test_error_on_the_pixels_grows_with_softness(name, dial, data) -> None:
    layer = conv_layer(name)
    element = group_element(data, layer.in_type.fibergroup)
    softnesses = data.draw(st.tuples(DIALS[dial], DIALS[dial]))
    assert_error_grows(
        layer, softnesses, lambda w: (pixel_action(element, w, layer.in_type, layer.out_type, 3) - w).norm().item()
    )


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("name", CONTINUOUS)
@given(data=st.data())
def test_error_of_the_continuous_kernel_grows_with_softness(name, dial, data) -> None:
    layer = conv_layer(name)
    element = group_element(data, layer.in_type.fibergroup)
    softnesses = data.draw(st.tuples(DIALS[dial], DIALS[dial]))
    band = layer._transform.band(0, sum(not level.remainder for level in layer._transform.levels))

    def error(kernel):
        kernel = band.project(kernel)
        return continuous_error(element, kernel, layer.in_type, layer.out_type, 3, harmonics(3))

    assert_error_grows(layer, softnesses, error)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_continuous_oracle_sees_no_error_in_a_strict_kernel(name) -> None:
    """Tests the oracle above, and escnn's convention of axes with it."""
    layer = conv_layer(name)
    strict, soft = kernel_at(layer, 0.0), kernel_at(layer, 0.5)
    band = layer._transform.band(0, sum(not level.remainder for level in layer._transform.levels))
    for element in layer.in_type.fibergroup.testing_elements():
        assert continuous_error(element, strict, layer.in_type, layer.out_type, 3, harmonics(3)) < 1e-10
    element = layer.in_type.fibergroup.sample()
    while element == element.group.identity:
        element = layer.in_type.fibergroup.sample()
    assert continuous_error(element, band.project(soft), layer.in_type, layer.out_type, 3, harmonics(3)) > 1e-3


@pytest.mark.parametrize("padding_mode", ["zeros", "circular", "reflect", "replicate"])
def test_measured_output_error_grows_with_softness_and_vanishes_at_0(padding_mode) -> None:
    space = planar("C4")
    field = space.type(*[space.regular_repr] * 2)
    layer = SoftR2Conv(field, field, 3, padding=1, padding_mode=padding_mode).double()
    disturb(layer, 1.0)
    x, element = field(torch.randn(2, field.size, 7, 7, dtype=torch.float64)), space.fibergroup.element(1)
    errors = []
    for softness in (0.0, 0.2, 0.5, 1.0):
        layer.softness = softness
        errors.append((layer(x.transform(element)).tensor - layer(x).transform(element).tensor).norm().item())
    assert errors[0] < 1e-12
    assert errors == sorted(errors)
    assert errors[1] > 1e-2


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("name", PLANAR)
@settings(max_examples=max(5, settings.default.max_examples // 5))  # each looks at all levels
@given(data=st.data())
def test_every_level_is_multiplied_by_one_gain(name, dial, data) -> None:
    layer = conv_layer(name)
    softness = data.draw(DIALS[dial])
    full, damped = kernel_at(layer, 1.0), kernel_at(layer, softness)
    for i, level in enumerate(layer.spectrum().levels):
        band = layer._transform.band(i, i + 1)
        assert (band.project(damped) - level.gain * band.project(full)).abs().max() < 1e-10


def test_the_bias_has_levels_of_its_own() -> None:
    """Between two copies of frequency 1 a 1 x 1 kernel has frequencies 0 and 2, its bias has frequency 1."""
    space = planar("SO(2)")
    field = space.type(space.irrep(1))
    layer = SoftR2Conv(field, field, 1, softness=Cutoff(1.0))
    disturb(layer, 1.0)
    _, bias = layer.expand_parameters()
    assert [level.gain for level in layer.spectrum().levels] == [1, 0]
    assert bias.abs().min() > 0
    layer.softness = 0.0
    assert layer.expand_parameters()[1] is None  # as in escnn: there is no invariant bias


def test_softness_is_settable_and_reads_back() -> None:
    layer = conv_layer("C4")
    layer.softness = 0.25
    assert layer.softness == 0.25
    layer.softness = Cutoff(math.inf)
    assert layer.softness == Cutoff(math.inf)
    assert "Cutoff(bound=inf)" in repr(layer)
