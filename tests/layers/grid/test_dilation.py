"""Every kernel size and dilation that escnn accepts is softened, certified and reached from a plain convolution."""

import pytest
import torch
from escnn import gspaces
from escnn.group import directsum
from escnn.nn import R2Conv, R2ConvTransposed

from escnn_soft import Budget, SoftR2Conv, SoftR2ConvTransposed, SoftR3Conv, certificate, soften
from escnn_soft.functions import act_on_rows, pixel_elements, pixel_permutation

SPACES = {
    "trivial": gspaces.trivialOnR2(),
    "C4": gspaces.rot2dOnR2(4),
    "C6": gspaces.rot2dOnR2(6),
    "C8": gspaces.rot2dOnR2(8),
    "D4": gspaces.flipRot2dOnR2(4),
    "D6": gspaces.flipRot2dOnR2(6),
    "SO(2)": gspaces.rot2dOnR2(-1, maximum_frequency=2),
    "O(2)": gspaces.flipRot2dOnR2(-1, maximum_frequency=2),
}
REFUSED = [(k, d) for k in (3, 5) for d in (3, 4, 6)] + [(7, 2)]


def field(name: str):
    space = SPACES[name]
    group = space.fibergroup
    if name in ("trivial", "C4"):
        return space.type(space.regular_repr)
    ids = [(0, 0), (1, 1)] if name in ("D4", "D6", "O(2)") else [(0,), (1,)]
    return space.type(directsum([group.irrep(*i) for i in ids], name="scalar and vector"))


def kernel_error(layer, kernel, element) -> float:
    """||g . K - K|| on the pixels, by moving them."""
    moved = torch.empty_like(kernel.flatten(2))
    moved[:, :, pixel_permutation(layer.space, layer.kernel_size, element)] = kernel.flatten(2)
    moved = act_on_rows(element, moved, layer.out_type.representations)
    moved = act_on_rows(element, moved.transpose(0, 1), layer.in_type.representations).transpose(0, 1)
    return float((moved - kernel.flatten(2)).norm())


@pytest.mark.parametrize(("kernel_size", "dilation"), REFUSED)
@pytest.mark.parametrize("name", SPACES)
def test_a_dilated_layer_is_softened_and_its_certificate_is_honest(name, kernel_size, dilation) -> None:
    torch.manual_seed(0)
    rho = field(name)
    hard = R2Conv(rho, rho, kernel_size, dilation=dilation)
    soft = soften(hard, 0.0, on_unsupported="raise")
    kernel = soft.expand_parameters()[0].detach().double()
    assert torch.equal(soft.expand_parameters()[0], hard.expand_parameters()[0])
    certified = soft.certificate()
    assert certified.relative.sup <= soft.bound()
    measured = [kernel_error(soft, kernel, g) for g in pixel_elements(soft.space)]
    if certified.level == "grid":
        assert certified.sup == pytest.approx(max(measured), rel=1e-6, abs=1e-12 * certified.norm)
    else:
        assert certified.grid.sup == pytest.approx(max(measured), rel=1e-6, abs=1e-12)
        assert any("linearly dependent" in words for words in certified.assumptions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 3), (5, 4), (7, 2)])
@pytest.mark.parametrize("name", SPACES)
def test_every_dilated_kernel_is_reached_at_softness_1(name, kernel_size, dilation, dtype) -> None:
    torch.manual_seed(0)
    rho = field(name)
    plain = torch.nn.Conv2d(rho.size, rho.size, kernel_size, dilation=dilation, padding=dilation, stride=2).to(dtype)
    soft = SoftR2Conv.from_dense(plain, rho, rho)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert (soft.expand_parameters()[0] - plain.weight).norm() < tolerance * plain.weight.norm()
    x = rho(torch.randn(2, rho.size, 19, 19, dtype=dtype))
    assert (soft.eval()(x).tensor - plain(x.tensor)).abs().max() < 10 * tolerance
    for softness in (0.3, Budget(0.2)):
        soft.softness = softness
        assert soft.certificate().relative.sup <= soft.bound()
    assert soft.certificate().relative.sup <= 0.2
    assert certificate(plain, rho, rho).norm > 0


@pytest.mark.parametrize("dilation", [5, 6, 12])
def test_escnns_own_layer_breaks_the_symmetry_at_large_dilations_and_the_certificate_says_so(dilation) -> None:
    """Rings miss the pixels, and escnn scales up what rounding has left there; a budget does without."""
    torch.manual_seed(0)
    rho = field("C4")
    hard = R2Conv(rho, rho, 3, dilation=dilation)
    kernel = hard.expand_parameters()[0].detach().double()
    measured = max(kernel_error(SoftR2Conv.from_hard(hard), kernel, g) for g in pixel_elements(hard.space))
    assert measured > 0.01 * kernel.norm()
    assert certificate(hard).sup == pytest.approx(measured, rel=1e-6)
    soft = SoftR2Conv.from_hard(hard).double()
    assert (soft.expand_parameters()[0] - kernel).norm() < 1e-5 * kernel.norm()
    assert soft.certificate().relative.sup > 0.01
    assert soft.certificate().relative.sup <= soft.bound()
    soft.softness = Budget(1e-3)
    assert soft.certificate().relative.sup <= 1e-3


def test_dilated_transposed_and_spatial_layers_are_softened() -> None:
    rho = field("C8")
    hard = R2ConvTransposed(rho, rho, 3, dilation=3)
    soft = SoftR2ConvTransposed.from_hard(hard)
    assert torch.equal(soft.expand_parameters()[0], hard.expand_parameters()[0])
    plain = torch.nn.ConvTranspose2d(rho.size, rho.size, 3, dilation=4)
    reached = SoftR2ConvTransposed.from_dense(plain, rho, rho).expand_parameters()[0]
    assert (reached - plain.weight).norm() < 1e-4 * plain.weight.norm()
    space = gspaces.octaOnR3()
    vector = space.type(space.trivial_repr, space.irrep(1))
    dense = torch.nn.Conv3d(4, 4, 3, dilation=3)
    reached = SoftR3Conv.from_dense(dense, vector, vector).expand_parameters()[0]
    assert (reached - dense.weight).norm() < 1e-4 * dense.weight.norm()


def test_many_frequencies_on_few_pixels_are_accepted() -> None:
    rho = field("C8")
    layer = SoftR2Conv(rho, rho, 3, frequencies_cutoff=6.0, softness=0.5)
    assert layer._transform.dependent > 0
    layer(rho(torch.randn(1, rho.size, 5, 5))).tensor.sum().backward()
    assert layer.soft_weights.grad is not None


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 5), (4, 4), (6, 6)])
@pytest.mark.parametrize("name", ["trivial", "C2", "C4", "D1", "D4"])
def test_a_harmonic_that_is_rounding_on_the_pixels_is_none(name, kernel_size, dilation) -> None:
    """sin 2 a of a ring vanishes on the diagonals, and all other pixels are six widths away: 5e-6 is left of it."""
    spaces = {"C2": gspaces.rot2dOnR2(2), "D1": gspaces.flipRot2dOnR2(1), **SPACES}
    image = spaces[name].type(spaces[name].trivial_repr)
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(1, 1, kernel_size, dilation=dilation).double()
    soft = SoftR2Conv.from_dense(plain, image, image)
    assert (soft.expand_parameters()[0] - plain.weight).norm() < 1e-10 * plain.weight.norm()
    assert soft.weights.numel() == R2Conv(image, image, kernel_size, dilation=dilation).weights.numel()


def test_what_escnns_kernel_has_beyond_the_band_limit_counts_once() -> None:
    """A soft part that takes it back makes the part that breaks nothing smaller, and the bound is on that."""
    torch.manual_seed(2)
    space = gspaces.rot2dOnR2(2)
    narrow, wide = space.type(space.regular_repr), space.type(*[space.regular_repr] * 2)
    layer = SoftR2Conv(narrow, wide, 7, dilation=2, softness=0.3, initialize=False, bias=False).double()
    torch.nn.init.normal_(layer.weights)
    torch.nn.init.normal_(layer.soft_weights, std=20.0)
    assert layer.certificate().relative.sup <= layer.bound()
    soft, dial = layer._transform.soft, layer._dials[0]
    kernel = layer._as_graded(layer._expand_strict()[0].detach())
    symmetric = soft.spread(torch.tensor([float(level.symmetric) for level in soft.levels], dtype=torch.float64))
    with torch.no_grad():  # all that escnn has there is taken back, and little is left but what breaks the symmetry
        layer.soft_weights.mul_(1 - symmetric).sub_(symmetric * soft.analysis(kernel) / dial.policy.opening)
    assert layer.certificate().relative.sup <= layer.bound()


@pytest.mark.parametrize("transposed", [False, True])
def test_a_budget_on_a_kernel_that_is_nothing_but_astray_is_zero(transposed) -> None:
    """Less itself, escnn's kernel would leave rounding, and all of that breaks the symmetry."""
    space, cls = SPACES["SO(2)"], SoftR2ConvTransposed if transposed else SoftR2Conv
    group = space.fibergroup
    types = space.type(group.irrep(0)), space.type(group.irrep(2))
    for seed, (dilation, dtype) in enumerate((d, t) for d in (4, 5, 6) for t in (torch.float32, torch.float64)):
        torch.manual_seed(seed)
        layer = cls(*types, 3, dilation=dilation, softness=Budget(0.02), bias=False).to(dtype)
        torch.nn.init.normal_(layer.weights)
        torch.nn.init.normal_(layer.soft_weights, std=1e4)
        found = layer.certificate()
        assert found.norm == 0.0 or found.relative.sup <= 0.02
        assert found.sup <= layer.bound() * found.norm


def test_a_budget_with_a_chain_drops_what_of_escnns_kernel_breaks_the_last_subgroup() -> None:
    space = gspaces.flipRot2dOnR2(4, axis=0.0)
    out = space.type(space.trivial_repr, space.quotient_repr((None, 4)))
    layer = SoftR2Conv(
        space.type(space.regular_repr), out, 3, dilation=5, softness=Budget(0.02), bias=False, chain=[(None, 4)]
    )
    torch.manual_seed(0)
    torch.nn.init.normal_(layer.weights)
    torch.nn.init.normal_(layer.soft_weights)
    found = layer.certificate()
    assert all(found.at(g) <= layer.bound(g) * found.norm for g in space.fibergroup.elements)
