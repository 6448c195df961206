"""Certificates against brute force: exact errors, Haar averages, and suprema that no search exceeds."""

import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from lie_learn.representations.SO3.wigner_d import wigner_D_matrix

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import act_on_rows, pixel_elements
from escnn_soft.groups import fibre_group
from escnn_soft.testing.worst_element import worst_element
from tests.cases import CONTINUOUS, GRID_EXACT, POINT, field_types, harmonics, planar, point
from tests.disturbance import disturb
from tests.reference import continuous_error, pixel_action

NAMED = ["C4", "C6", "D4", "D5", "SO(2)", "O(2)", "SO(3)", "O(3)", "octahedral"]


@cache
def linear(name: str, types: int = 2) -> SoftLinear:
    in_type, out_type = field_types(point(name))[types]
    torch.manual_seed(0)
    layer = SoftLinear(in_type, out_type, softness=0.7).double()
    disturb(layer, 1.0)
    return layer


@cache
def convolution(name: str, kernel_size: int) -> SoftR2Conv:
    in_type, out_type = field_types(planar(name))[2]
    torch.manual_seed(0)
    layer = SoftR2Conv(in_type, out_type, kernel_size, softness=0.7).double()
    disturb(layer, 1.0)
    return layer


def brute_force(layer: SoftLinear):
    matrix = layer.expand_parameters()[0].detach()

    def error(element) -> float:
        out = act_on_rows(element, matrix, layer.out_type.representations)
        into = torch.from_numpy(layer.in_type.representation(element))
        return float((out - matrix @ into).norm())

    return error


@pytest.mark.parametrize("name", POINT)
def test_the_error_of_a_matrix_is_exact(name) -> None:
    layer, group = linear(name), point(name).fibergroup
    certificate, error = layer.certificate(), brute_force(layer)
    for element in [group.sample() for _ in range(20)]:
        assert certificate.at(element) == pytest.approx(error(element), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", ["SO(2)", "O(2)"])
def test_the_error_is_exact_near_the_identity(name) -> None:
    layer, group = linear(name), fibre_group(point(name))
    element = group.circles[0](1e-5)
    assert layer.certificate().at(element) == pytest.approx(brute_force(layer)(element), rel=1e-9)


@pytest.mark.parametrize("kernel_size", [1, 3, 4, 5])
@pytest.mark.parametrize("name", GRID_EXACT)
def test_the_error_of_a_kernel_is_exact_on_the_pixels(name, kernel_size) -> None:
    layer = convolution(name, kernel_size)
    kernel, certificate = layer.expand_parameters()[0].detach().flatten(2), layer.certificate()
    assert certificate.level == "grid"
    assert certificate.norm == pytest.approx(float(kernel.norm()), rel=1e-10)
    for element in planar(name).fibergroup.elements:
        moved = pixel_action(element, kernel, layer.in_type, layer.out_type, kernel_size)
        assert certificate.at(element) == pytest.approx(float((moved - kernel).norm()), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_error_of_a_continuous_kernel(name) -> None:
    layer = convolution(name, 5)
    with torch.no_grad():  # the remainder has no law: leave it out
        levels = layer._soft(0)
        keep = torch.tensor([level.irrep_id is not None for level in levels.levels], dtype=torch.float64)
        layer.soft_weights.copy_(levels.analysis(levels.synthesis(layer.soft_weights, keep)))
    kernel, certificate = layer.expand_parameters()[0].detach().flatten(2), layer.certificate()
    assert certificate.level == "continuous"
    for element in [planar(name).fibergroup.sample() for _ in range(10)]:
        brute = continuous_error(element, kernel, layer.in_type, layer.out_type, 5, harmonics(5))
        assert certificate.at(element) == pytest.approx(brute, rel=1e-9, abs=1e-6)  # the fit takes a remainder of 1e-8


@pytest.mark.parametrize("name", CONTINUOUS)
def test_where_pixels_meet_pixels_the_executed_error_is_exact(name) -> None:
    layer = convolution(name, 3)
    kernel, grid = layer.expand_parameters()[0].detach().flatten(2), layer.certificate().grid
    assert grid.elements == pixel_elements(planar(name))
    for element, error in grid.profile():
        moved = pixel_action(element, kernel, layer.in_type, layer.out_type, 3)
        assert error == grid.at(element) == pytest.approx(float((moved - kernel).norm()), rel=1e-10, abs=1e-12)
    assert grid.sup == max(grid.errors)
    assert grid.relative.norm == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMED)
def test_rms_is_the_haar_average(name) -> None:
    layer, group = linear(name, types=0), point(name).fibergroup
    error, samples = brute_force(layer), 2_500
    if group.continuous:
        squares = np.array([error(group.sample()) ** 2 for _ in range(samples)])
    else:
        values = np.array([error(g) ** 2 for g in group.elements])
        squares = values[np.random.default_rng(0).integers(len(values), size=samples)]
        assert layer.certificate().rms == pytest.approx(math.sqrt(values.mean()), rel=1e-10)
    deviation = squares.std() / math.sqrt(samples)
    assert abs(layer.certificate().rms ** 2 - squares.mean()) <= 3 * deviation


@pytest.mark.parametrize("name", POINT)
def test_sup_is_above_every_search_and_close(name) -> None:
    layer, group = linear(name), fibre_group(point(name))
    (_, found), sup = worst_element(brute_force(layer), group), layer.certificate().sup
    if not group.circles:
        assert sup == pytest.approx(found, rel=1e-10, abs=1e-12)
    else:
        assert found <= sup <= found * (1.05 if len(group.circles) > 1 else 1.02)


@pytest.mark.parametrize("name", ["SO(2)", "O(2)"])
def test_sup_of_a_planar_kernel(name) -> None:
    layer, group = convolution(name, 5), fibre_group(planar(name))
    certificate = layer.certificate()
    _, found = worst_element(certificate.at, group)
    assert found <= certificate.sup <= 1.02 * found


@pytest.mark.parametrize("name", POINT)
def test_operator_norms_are_above_every_element(name) -> None:
    layer, group = linear(name), point(name).fibergroup
    certificate = layer.certificate()
    matrix = layer.expand_parameters()[0].detach()
    for element in [group.sample() for _ in range(10)]:
        out = act_on_rows(element, matrix, layer.out_type.representations)
        error = out - matrix @ torch.from_numpy(layer.in_type.representation(element))
        norm = float(torch.linalg.matrix_norm(error, 2))
        assert norm - 1e-13 <= certificate.operator_at(element) <= norm * (1 + 1e-10) + 1e-12
        assert norm <= certificate.operator + 1e-12
    assert certificate.operator <= certificate.sup * (1 + 1e-12)
    assert certificate.operator <= certificate.operator_by_unfoldings * (1 + 1e-12)
    assert certificate.lipschitz == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-10)


@pytest.mark.parametrize("name", NAMED)
def test_within_bounds_every_rotation_by_at_most_the_angle(name) -> None:
    layer, group = linear(name), point(name).fibergroup
    certificate, fibre = layer.certificate(), fibre_group(point(name))
    sup = certificate.sup
    assert certificate.within(0.0) == 0.0
    for angle, element in rotations(name, group):
        assert certificate.at(element) <= certificate.within(angle) * (1 + 1e-12) + 1e-12
        assert certificate.within(angle) <= sup
        sigma = max(term.sigma for term in certificate.terms)
        assert certificate.within(angle) <= angle * sigma * certificate.norm * (1 + 1e-12) + 1e-12  # the paper's form
    assert fibre.rate(fibre.trivial) == 0.0


def rotations(name, group):
    if name in ("SO(2)", "O(2)"):
        return [(t, fibre_group(point(name)).circles[0](t)) for t in (0.01, 0.3, 1.0, 3.0)]
    if name in ("SO(3)", "O(3)"):
        axes = np.random.default_rng(0).normal(size=(4, 3))
        turned = [(t, t * a / np.linalg.norm(a)) for t, a in zip((0.01, 0.3, 1.0, 3.0), axes, strict=True)]
        if name == "SO(3)":
            return [(t, group.element(vector, "EV")) for t, vector in turned]
        return [(t, group.element((0, vector), "EV")) for t, vector in turned]
    if name == "octahedral":
        angles = ((math.acos(max(-1.0, (np.trace(g.to("MAT")) - 1) / 2)), g) for g in group.elements)
        return [(angle, g) for angle, g in angles if angle > 1e-6]
    order = int(name[1:])
    steps = [(j, (0, j) if name[0] == "D" else j) for j in range(1, order)]
    return [(2 * math.pi * min(j, order - j) / order, group.element(value)) for j, value in steps]


def test_wigner_matrices_agree_with_lie_learn() -> None:
    group = fibre_group(point("SO(3)"))
    for degree in range(4):
        for element in [group.group.sample() for _ in range(5)]:
            wigner = wigner_D_matrix(degree, *element.to("ZYZ"), field="real")
            assert np.abs(group.matrix((degree,), element).numpy() - wigner).max() < 1e-12


def test_products_of_euler_circles_are_rotations() -> None:
    group = fibre_group(point("SO(3)"))
    first, second, third = (circle(t) for circle, t in zip(group.circles, (0.3, 1.1, 2.0), strict=True))
    wigner = wigner_D_matrix(2, 0.3, 1.1, 2.0, field="real")
    assert np.abs(group.matrix((2,), first @ second @ third).numpy() - wigner).max() < 1e-12


def test_relative_certificates_are_those_of_the_normalised_weights() -> None:
    certificate = linear("D4").certificate()
    relative, element = certificate.relative, point("D4").fibergroup.element((1, 3))
    assert relative.norm == pytest.approx(1.0)
    for name in ("rms", "sup", "operator", "lipschitz", "rounding"):
        assert getattr(relative, name) == pytest.approx(getattr(certificate, name) / certificate.norm)
    assert relative.at(element) == pytest.approx(certificate.at(element) / certificate.norm)
    assert relative.bias.sup == pytest.approx(certificate.bias.sup / certificate.bias.norm)
    assert relative.within(0.5) == pytest.approx(certificate.within(0.5) / certificate.norm)


def test_certificates_are_values_that_explain_themselves() -> None:
    first, second = (convolution("C8", 3).certificate() for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    with pytest.raises(AttributeError):
        first.level = "grid"  # type: ignore[misc]
    text = repr(first)
    for word in ("continuous", "irrep_1", "bias", "pixels onto pixels", "assumes", "lawless"):
        assert word in text
    plain = json.loads(json.dumps(first.to_dict()))
    assert plain["sup"] == first.sup
    assert plain["grid"]["elements"][1] == "2[2pi/8]"
    assert plain["grid"]["errors"][1] == first.grid.errors[1]
    assert sum(term["energy"] for term in plain["terms"]) == pytest.approx(first.norm**2)


def test_a_profile_is_the_curve() -> None:
    certificate = linear("SO(2)").certificate()
    curve = certificate.profile()
    assert len(curve) == 128
    assert max(error for _, error in curve) <= certificate.sup
    assert math.sqrt(np.mean([error**2 for _, error in curve])) == pytest.approx(certificate.rms)
    elements = [point("SO(2)").fibergroup.element(0.3, "radians")]
    assert certificate.profile(elements) == ((elements[0], certificate.at(elements[0])),)


def test_weights_whose_squares_vanish_have_no_certificate() -> None:
    layer = SoftR2Conv(*field_types(planar("C4"))[0], 3, softness=1.0).double()
    for scale, refused in ((1e-150, True), (1e-130, False), (0.0, False)):
        with torch.no_grad():
            layer.weights.fill_(scale)
            layer.soft_weights.fill_(scale)
        if refused:
            with pytest.raises(ArgumentError, match="a kernel of zeros, or with an entry of at least 1e-140"):
                layer.certificate()
        else:
            assert (layer.certificate().sup > 0) == (scale > 0)
