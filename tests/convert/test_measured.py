"""The status measures: what no list of operations names is not passed over, and nothing changes by asking."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from escnn import gspaces
from escnn import nn as enn
from torch import Tensor, nn
from torch.nn import functional

import escnn_soft as es
from escnn_soft.convert.grid.measurement import Measurement

C4, D4, MIRROR = gspaces.rot2dOnR2(4), gspaces.flipRot2dOnR2(4), gspaces.flip2dOnR2()
SHAPE = (2, 3, 9, 9)


class Function(nn.Module):
    """A function of an image as a module, with a table that may be a buffer."""

    def __init__(self, function, *shape: int) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("table", torch.randn(shape) if shape else None)

    def forward(self, x: Tensor) -> object:
        return self.function(x) if self.table is None else self.function(x, self.table)


class Mean(nn.Module):
    """The mean over the pixels, however many axes they have."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class Recurrent(nn.GRU):
    """A recurrence over the rows of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2).mT)[0].mT


class Masked(nn.Conv2d):
    """PixelCNN's: it sees what comes before."""

    def forward(self, x: Tensor) -> Tensor:
        mask = (torch.arange(9) < 5).view(3, 3).to(x)
        return functional.conv2d(x, self.weight * mask, self.bias, padding=1)


class Conditional(nn.Module):
    """CondConv's: kernels mixed by the image."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 8 * 8 * 9) / 9)
        self.route = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mix = self.route(x.mean((2, 3))).softmax(1)
        kernels = torch.einsum("bk,kp->bp", mix, self.experts).view(-1, 8, 3, 3)
        return functional.conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=len(x)).view_as(x)


class Attention(nn.Module):
    """Attention between pixels in which each sees those before it."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.values = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        v = self.values(tokens)
        if self.causal:
            return functional.scaled_dot_product_attention(tokens, tokens, v, is_causal=True).mT
        scores = tokens @ tokens.mT
        later = torch.ones_like(scores).triu(1).bool()
        return (scores.masked_fill(later, -torch.inf).softmax(-1) @ v).mT


def hooked(*, before: bool) -> nn.Module:
    layer = nn.Identity()
    ramp = torch.linspace(0.5, 1.5, 9)
    if before:
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * ramp,))
    else:
        layer.register_forward_hook(lambda _, inputs, output: output * ramp)
    return layer


def unfolded(x: Tensor, table: Tensor) -> Tensor:
    return (table @ functional.unfold(x, 3, padding=1)).relu()


def folded(x: Tensor) -> Tensor:
    return functional.fold(functional.pad(x, (0, 0, 0, 0)).flatten(2)[:, :8, :49], (8, 8), 2).relu()


def sobel(x: Tensor) -> Tensor:
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).expand(8, 1, 3, 3)
    return functional.conv2d(x, kernel, padding=1, groups=8).relu()


SILENT = {
    "Linear over the width": lambda: nn.Linear(9, 9),
    "Linear over tokens": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(81, 81), nn.ReLU()),
    "x @ P": lambda: Function(lambda x, table: (x @ table).relu(), 9, 9),
    "P @ x": lambda: Function(lambda x, table: (table @ x).relu(), 9, 9),
    "einsum": lambda: Function(lambda x, table: torch.einsum("bchw,hk->bckw", x, table).relu(), 9, 9),
    "GRU": lambda: Recurrent(8, 8, batch_first=True),
    "a buffer for a kernel": lambda: Function(
        lambda x, table: functional.conv2d(x, table, padding=1).relu(), 8, 8, 3, 3
    ),
    "a literal kernel": lambda: Function(sobel),
    "Conv3d": lambda: nn.Sequential(nn.Unflatten(1, (8, 1)), nn.Conv3d(8, 8, (1, 3, 3)), nn.ReLU()),
    "unfold": lambda: Function(unfolded, 8, 72),
    "conditional": lambda: nn.Sequential(Conditional(), nn.ReLU()),
    "masked kernel": lambda: nn.Sequential(Masked(8, 8, 3, padding=1), nn.ReLU()),
    "oblong pooling": lambda: nn.Sequential(nn.AdaptiveAvgPool2d((4, 1)), nn.Hardshrink(0.1)),
    "oblong maxima": lambda: nn.AdaptiveMaxPool2d((4, 1)),
    "scaled by 0.7": lambda: Function(lambda x: functional.interpolate(x, scale_factor=0.7, mode="bilinear").square()),
    "scaled by 0.7, cubic": lambda: Function(
        lambda x: functional.interpolate(x, scale_factor=0.7, mode="bicubic").square()
    ),
    "nearest by 0.7": lambda: Function(lambda x: functional.interpolate(x, scale_factor=0.7).square()),
    "fractional pooling": lambda: nn.FractionalMaxPool2d(2, output_size=5),
    "sampled": lambda: Function(
        lambda x, table: functional.grid_sample(x, table[None].expand(len(x), -1, -1, -1).tanh(), align_corners=False),
        9, 9, 2,
    ),
    "folded": lambda: Function(folded),
    "cumsum": lambda: Function(lambda x: x.cumsum(2).sin()),
    "causal mask": lambda: Attention(causal=False),
    "is_causal": lambda: Attention(causal=True),
    "hook": lambda: hooked(before=False),
    "hook before": lambda: hooked(before=True),
    "times a buffer": lambda: Function(torch.mul, 1, 1, 9, 9),
    "baddbmm": lambda: Function(
        lambda x, table: torch.baddbmm(table.expand(len(x), -1, -1), x.flatten(2), x.flatten(2).mT).relu()[..., None]
        * x.flatten(2)[..., :8, None], 8, 8,
    ),
    "crop": lambda: Function(lambda x: x[:, :, 1:]),
    "roll": lambda: Function(lambda x: x.roll(1, 2) * x),
}  # fmt: skip
"""Layers that treat positions apart, each after a convolution and before the mean over the pixels."""


def network(layer: nn.Module, gspace=C4, softness: float = 0.0) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), layer, Mean())
    return es.soften(model, softness, gspace=gspace, on_unsupported="ignore").eval()


def change(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> float:
    """Relative change of the scores under a quarter turn."""
    x = torch.randn(shape)
    with torch.no_grad():
        y = model(x)
        return float((model(x.rot90(1, (2, 3))) - y).norm() / y.norm())


@pytest.mark.parametrize("name", SILENT)
def test_no_broken_symmetry_is_passed_over(name) -> None:
    model = network(SILENT[name]())
    assert change(model) > 1e-3
    status = es.soft_status(model, SHAPE)
    assert status.grid
    assert status.measured is not None
    assert status.measured.change > 1e-3
    assert "measured at softness 0" in str(status)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oblong pooling", "pools 9 x 9 to 4 x 1"),
        ("oblong maxima", "pools 9 x 9 to 4 x 1"),
        ("scaled by 0.7", r"scales 9 x 9 by (0.7, 0.7), which is not quite 6 x 6"),
        ("scaled by 0.7, cubic", "scales 9 x 9"),
        ("nearest by 0.7", "takes nearest neighbours from 9 x 9 to 6 x 6"),
    ],
)
def test_resampling_that_is_off_centre_is_named(name, words) -> None:
    assert words in str(es.soft_status(network(SILENT[name]()), SHAPE).grid)


@pytest.mark.parametrize("softness", [0.3, 1.0, es.Exponential(0.5), es.Learned(), es.Budget(0.1)], ids=str)
def test_an_open_dial_is_no_fault(softness) -> None:
    assert es.soft_status(network(nn.Identity(), softness=softness), SHAPE).grid == ()
    (found,) = es.soft_status(network(nn.Linear(9, 9), softness=softness), SHAPE).grid
    assert found.name == ""
    assert "under a quarter turn, and by" in found.reason
    assert "a reason that is not named" in found.reason


def test_what_is_named_is_measured_too() -> None:
    model = network(nn.Conv2d(8, 8, 3, stride=2))
    status = es.soft_status(model, (1, 3, 8, 8))
    assert [each.name for each in status.grid] == ["2"]
    assert status.measured.change > 1e-2
    assert status.to_dict()["measured"]["move"] == "a quarter turn"
    assert es.soft_status(model).measured is None


SYMMETRIC = {
    "pointwise": lambda: nn.GELU(),
    "circular": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    "reflected": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "norm": lambda: nn.GroupNorm(2, 8),
    "dropout": lambda: nn.Dropout(0.5),
    "centred": lambda: es.centre_strides(
        nn.Sequential(nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.MaxPool2d(2))
    ),
    "attention": lambda: Function(
        lambda x: functional.scaled_dot_product_attention(*[x.flatten(2).mT] * 3).mT
    ),
    "pooled": lambda: nn.AdaptiveAvgPool2d(4),
    "scaled": lambda: nn.Upsample(size=(13, 13), mode="bilinear"),
    "scaled by 2": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "aligned": lambda: nn.Upsample(scale_factor=0.7, mode="bilinear", align_corners=True),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gspace", [C4, D4, MIRROR, gspaces.rot2dOnR2(-1)], ids=lambda each: each.name)
@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_models_stay_silent(name, gspace, dtype) -> None:
    status = es.soft_status(network(SYMMETRIC[name](), gspace).to(dtype), SHAPE)
    assert status.grid == ()
    assert status.measured.fault is None
    assert status.measured.undecided == ()
    assert status.measured.change < 1e-6


@dataclass
class Answer:
    features: Tensor
    scores: Tensor


def tokens(x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3))[:, None], x.flatten(2).mT], 1)


OUTPUTS = {
    "image": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "tokens": tokens,
    "tokens last": lambda x: x.flatten(2),
    "attention": lambda x: (tokens(x) @ tokens(x).mT)[:, None],
    "dictionary": lambda x: OrderedDict(features=x, scores=x.mean((2, 3))),
    "nested": lambda x: [x, (x.mean((2, 3)), None), x.argmax(1)],
    "dataclass": lambda x: Answer(x, x.mean((2, 3))),
    "escnn's": lambda x: C4.type(*[C4.trivial_repr] * 8)(x),
}


@pytest.mark.parametrize("shape", [SHAPE, (1, 3, 6, 10)], ids=str)
@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_move_or_stay_as_their_shape_says(name, shape) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Function(OUTPUTS[name]))
    soft = es.soften(model, 0.5, gspace=C4)
    assert es.soft_status(soft, shape).grid == ()
    soft.insert(1, Function(lambda x, table: x * table, shape[2], shape[3]))
    status = es.soft_status(soft, shape)
    assert [each.name for each in status.grid] == [""]
    assert status.measured.change > 0.1


@pytest.mark.parametrize("size", [8, 9, 16, 17, 64])
def test_maps_without_channels_move(size) -> None:
    """Their sides may fit token grids too: 16 rows could be 4 x 4 tokens."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Flatten(0, 1))
    status = es.soft_status(es.soften(model, 0.3, gspace=C4), (2, 1, size, size))
    assert not status.grid
    assert status.measured.change < 1e-5


def test_of_what_cannot_be_read_nothing_is_said() -> None:
    def said(function) -> Measurement:
        soft = es.soften(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Function(function)), 0.5, gspace=C4)
        status = es.soft_status(soft, SHAPE)
        assert status.grid == ()
        assert "nothing can be said of " in str(status)
        return status.measured

    assert said(lambda x: x.flatten(2)[..., :60]).undecided == (
        "the output, which is neither scores nor an image nor tokens (2 x 8 x 60)",
    )
    assert "does not depend on the image" in said(lambda x: x.mean((2, 3)) * 0).undecided[0]
    assert "holds no tensor" in said(lambda x: {"text": "a cat"}).undecided[0]
    assert "no floating-point" in said(lambda x: x.mean((2, 3)).argmax(1)).undecided[0]
    assert "not finite" in said(lambda x: x.mean((2, 3)) / 0).undecided[0]
    both = said(lambda x: {"labels": x.mean((2, 3)).argmax(1), "scores": x.mean((2, 3))})
    assert both.undecided == ("output labels, which holds no floating-point numbers",)
    assert both.output == "scores"


def test_fields_of_the_models_own_types_turn_with_the_image() -> None:
    image, hidden = C4.type(C4.irrep(1), C4.trivial_repr), C4.type(*[C4.regular_repr] * 2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    types = {"0": (image, hidden), "2": (hidden, hidden)}
    soft = es.soften(model, 0.5, gspace=C4, field_types=types)
    assert es.soft_status(soft, SHAPE).grid == ()
    assert es.soft_status(nn.Sequential(soft, Mean()), SHAPE).grid == ()
    scalars = es.soften(copy.deepcopy(model), 0.5, gspace=C4, field_types={"0": (image, hidden)}, per_layer={"2": 0.0})
    assert es.soft_status(scalars, SHAPE).measured.change > 1e-3  # regular fields are no scalars


def test_escnns_layers_inside_a_plain_model_are_measured() -> None:
    image, hidden = C4.type(*[C4.trivial_repr] * 3), C4.type(*[C4.regular_repr] * 2)

    class Wrapped(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.body = enn.SequentialModule(enn.R2Conv(image, hidden, 3, padding=1), enn.ReLU(hidden))
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.body(image(x)).tensor).mean((2, 3))

    assert es.soft_status(es.soften(Wrapped(nn.Identity()), 0.5), SHAPE).grid == ()
    assert "not named" in es.soft_status(es.soften(Wrapped(nn.Linear(9, 9)), 0.5), SHAPE).grid[0].reason


def test_what_is_drawn_at_random_is_told() -> None:
    (found,) = es.soft_status(network(Function(lambda x: functional.dropout(x, 0.5))), SHAPE).grid
    assert "computed again of the same image" in found.reason


class Scaled(nn.Module):
    """A residual branch behind a layer scale, as networks begin to be trained with."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((8, 1, 1), scale))
        self.branch = nn.Linear(9, 9)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_parameters_that_are_zero_so_far_hide_nothing(scale) -> None:
    model = network(Scaled(scale))
    scales = model[2].scale
    status = es.soft_status(model, SHAPE)
    assert status.measured.awakened == ("2.scale",)
    assert status.measured.change > 1e-4
    assert "not named" in status.grid[0].reason
    assert "with noise for 2.scale" in str(status)
    assert model[2].scale is scales
    assert torch.equal(scales, torch.full_like(scales, scale))
    head = nn.Linear(8, 5)
    nn.init.zeros_(head.weight)
    assert es.soft_status(nn.Sequential(model, head), SHAPE).grid


class Counter(nn.Module):
    """Writes its buffers, puts others in their place, and draws random numbers of every kind, in any mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = torch.rand(())
        functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)
        return self.norm(x)


@pytest.mark.parametrize("softness", [0.0, 0.5, es.Learned()], ids=str)
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_changed_by_asking(fails, softness) -> None:
    model = network(nn.Sequential(Counter(), Scaled(0.0)), softness=softness).train()
    model[2].eval()
    broken = Function(lambda x: 1 / 0)
    if fails:
        model.append(broken)
    x = torch.randn(SHAPE)
    objects = {id(each) for each in (*model.parameters(), *model.buffers())}
    state, modes = copy.deepcopy(model.state_dict()), [each.training for each in model.modules()]
    dial = es.dials(model)["0"]
    kernel, learned, rng = dial.value.clone(), dial.filter.level_logits, torch.get_rng_state()
    if fails:
        with pytest.raises(ZeroDivisionError):
            es.soft_status(model, SHAPE)
    else:
        es.soft_status(model, SHAPE)
    assert {id(each) for each in (*model.parameters(), *model.buffers())} == objects
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert dial.softness == (softness if isinstance(softness, float) else es.Learned())
    assert dial.filter.level_logits is learned
    assert torch.equal(dial.value, kernel)
    assert all(each.grad is None for each in model.parameters())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    if not fails:
        model(x).sum().backward()


def test_a_model_that_no_group_turns_is_not_measured() -> None:
    timm = pytest.importorskip("timm")
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, num_classes=3)
    shifted = es.soften(vit, 0.0, gspace=es.TokenShifts())
    assert es.soft_status(shifted, (1, 3, 32, 32)).measured is None
    assert es.soft_status(nn.Conv2d(3, 3, 3), SHAPE).measured is None


# ---------------------------------------------------------------------- real models

BROKEN = {
    "mixer_s16_224": {"img_size": 64},
    "resmlp_12_224": {"img_size": 64},
    "gmlp_ti16_224": {"img_size": 64},
    "lambda_resnet26t": {},
}


@pytest.mark.parametrize("name", BROKEN)
def test_networks_that_no_dial_makes_symmetric_are_told(name) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=10, **BROKEN[name]).eval()
    size = BROKEN[name].get("img_size", 128)
    soft = es.soften(model, 0.0, gspace=C4, on_unsupported="ignore")
    if not BROKEN[name]:
        soft = es.centre_strides(soft)
    status = es.soft_status(soft, (1, 3, size, size))
    assert status.measured.change > 1e-4
    assert status.grid


@pytest.mark.parametrize("softness", [0.0, 0.5])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "convnext_atto", "efficientnet_lite0"])
def test_networks_of_timm_that_are_symmetric_stay_silent(name, softness) -> None:
    timm = pytest.importorskip("timm")
    size = {"img_size": 64} if "vit" in name else {}
    model = timm.create_model(name, num_classes=10, **size).eval()
    soft = es.soften(model, softness, gspace=D4)
    soft = soft if size else es.centre_strides(soft)
    assert es.soft_status(soft, (1, 3, 64, 64)).grid == ()


class Sparse(nn.Module):
    """A table that torch compares with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.eye(8).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.Sequential(model, nn.LazyBatchNorm2d()),
        lambda model: nn.Sequential(model, Sparse()),
        lambda model: model.requires_grad_(False),
        lambda model: model.bfloat16(),
    ],
    ids=["compiled", "lazy", "sparse", "frozen", "bfloat16"],
)
def test_every_kind_of_model_can_be_asked(wrapped) -> None:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    assert es.soft_status(wrapped(es.soften(body, 0.5, gspace=D4)), SHAPE).measured.fault is None
    with torch.inference_mode():
        assert es.soft_status(es.soften(body, 0.5, gspace=D4), SHAPE).measured.fault is None
    broken = nn.Sequential(body, nn.Linear(9, 9))
    assert es.soft_status(wrapped(es.soften(broken, 0.5, gspace=D4)), SHAPE).measured.fault is not None
