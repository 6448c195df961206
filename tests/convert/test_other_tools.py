"""What other tools see of a softened model: names, writes, resizing, files, ties."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import gspaces
from escnn import nn as enn
from torch import nn
from torch.nn import functional
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import weight_norm

import escnn_soft as es
from escnn_soft.dial import weight_filter
from tests.processes import python

C4 = gspaces.rot2dOnR2(4)
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def timm_vit(**arguments) -> nn.Module:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **arguments})


def timm_swin() -> nn.Module:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 2, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4)}
    return timm.create_model("swin_tiny_patch4_window7_224", window_size=4, num_classes=5, **sizes)


def turned(model: nn.Module, size: int) -> float:
    """How far a classifier is from not noticing a quarter turn."""
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        return float((model(x) - model(x.rot90(1, (2, 3)))).abs().max())


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("build", [timm_vit, timm_swin])
def test_names_and_order_of_the_parameters_stay(build) -> None:
    hard = build()
    soft = es.soften(hard, 0.3, gspace=C4, on_unsupported="ignore")
    assert [(name, id(p)) for name, p in soft.named_parameters()] == [(n, id(p)) for n, p in hard.named_parameters()]
    assert [name for name, _ in soft.named_buffers() if not name.endswith("softened")] == [
        name for name, _ in hard.named_buffers()
    ]
    assert set(hard.state_dict()) <= set(soft.state_dict())
    again = copy.deepcopy(soft)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in hard.named_parameters()]
    assert not {id(p) for p in again.parameters()} & {id(p) for p in hard.parameters()}
    for plain in (es.bake(again), es.harden(again)):
        assert [name for name, _ in plain.named_parameters()] == [name for name, _ in hard.named_parameters()]
        assert set(plain.state_dict()) == set(hard.state_dict())


@pytest.mark.parametrize("build", [timm_vit, timm_swin])
def test_timms_groups_by_name_are_the_same_after_softening(build) -> None:
    factory = pytest.importorskip("timm.optim")
    hard = build()

    def groups(model: nn.Module) -> list[dict[int, tuple[float, float]]]:
        return [
            {
                id(p): (group.get("lr", 1e-3), group["weight_decay"])
                for group in optimizer.param_groups
                for p in group["params"]
            }
            for optimizer in (
                factory.create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05),
                factory.create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.65),
            )
        ]

    soft = es.soften(hard, 0.3, gspace=C4, on_unsupported="ignore")
    assert groups(soft) == groups(hard)


def test_an_optimisers_state_goes_on_by_position() -> None:
    hard = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    optimizer = torch.optim.Adam(hard.parameters())
    hard(PICTURES).square().sum().backward()
    optimizer.step()
    soft = es.soften(copy.deepcopy(hard), 0.5, gspace=C4)
    again = torch.optim.Adam(soft.parameters())
    again.load_state_dict(optimizer.state_dict())
    assert all(again.state[p]["exp_avg"].shape == p.shape for p in soft.parameters())


def test_states_with_torchs_names_are_read_and_hard_models_refuse_soft_ones() -> None:
    hard = nn.Sequential(nn.Conv2d(3, 4, 3))
    soft = es.soften(hard, 0.5, gspace=C4)
    state = {"0.bias": torch.ones(4), "0.parametrizations.weight.original": torch.ones(4, 3, 3, 3)}
    soft.load_state_dict(state)
    assert bool((soft[0].parametrizations.weight.original == 1).all())
    assert bool((soft[0].bias == 1).all())
    soft.load_state_dict(nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict())  # a pretrained one
    with pytest.raises(RuntimeError, match=r"Unexpected key.*softened"):
        nn.Sequential(nn.Conv2d(3, 4, 3)).load_state_dict(soft.state_dict())


def test_assigned_and_functional_parameters_reach_the_filter() -> None:
    soft = es.soften(nn.Conv2d(3, 4, 3), 0.5, gspace=C4).eval()
    soft(PICTURES)
    other = es.soften(nn.Conv2d(3, 4, 3), 0.5, gspace=C4).eval()
    expected = other(PICTURES)
    own = torch.func.functional_call(soft, dict(other.named_parameters()), (PICTURES,))
    assert torch.equal(own, expected)
    soft.load_state_dict(other.state_dict(), assign=True)
    assert torch.equal(soft(PICTURES), expected)


# ---------------------------------------------------------------------- writes

LORA = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))


def add(conv: nn.Module) -> None:
    conv.weight.data += LORA


def add_without_gradient(conv: nn.Module) -> None:
    with torch.no_grad():
        conv.weight += LORA


def set_rows(conv: nn.Module) -> None:
    conv.weight.data[1:, 0].mul_(3)


def set_data(conv: nn.Module) -> None:
    conv.weight.data = LORA


def copy_out(conv: nn.Module) -> None:
    with torch.no_grad():
        torch.add(LORA, 1, out=conv.weight)


def start_orthogonal(conv: nn.Module) -> None:
    nn.init.orthogonal_(conv.weight)


def start_normal(conv: nn.Module) -> None:
    nn.init.trunc_normal_(conv.weight, std=0.02)


def assign(conv: nn.Module) -> None:
    conv.weight = nn.Parameter(LORA.clone())


WRITES = {
    f.__name__: f
    for f in (add, add_without_gradient, set_rows, set_data, copy_out, start_orthogonal, start_normal, assign)
} | {
    "zeros": lambda conv: nn.init.zeros_(conv.weight),
    "kaiming": lambda conv: nn.init.kaiming_uniform_(conv.weight),
    "dirac": lambda conv: nn.init.dirac_(conv.weight),
    "reset": lambda conv: conv.reset_parameters(),
    "detached": lambda conv: conv.weight.detach().view(-1)[5:].fill_(2),
    "unbound": lambda conv: conv.weight.detach().unbind(0)[2].zero_(),
    "copied": lambda conv: conv.weight.data.copy_(LORA),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", [0.5, es.Exponential(0.5)], ids=str)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_into_a_filtered_weight_is_one_into_the_unfiltered(write, policy, training) -> None:
    hard = nn.Conv2d(3, 4, 3, padding=1)
    soft = es.soften(copy.deepcopy(hard), policy, gspace=C4).train(training)
    x = PICTURES.clone()
    soft(x), soft.weight
    for conv in (hard, soft):
        torch.manual_seed(0)
        write(conv)
    assert torch.equal(soft.parametrizations.weight.original, hard.weight)
    expected = es.soften(hard, policy, gspace=C4)
    assert torch.equal(soft(x), expected(x))
    assert torch.equal(soft.weight, expected.weight)


def test_the_tensor_that_was_written_shows_what_passes() -> None:
    soft = es.soften(nn.Conv2d(3, 4, 3), 0.0, gspace=C4)
    weight = soft.weight
    nn.init.normal_(weight)
    assert torch.equal(weight, soft.weight)


def test_reading_a_filtered_weight_gives_plain_tensors() -> None:
    soft = es.soften(nn.Conv2d(3, 4, 3), 0.5, gspace=C4)
    weight = soft.weight
    for value in (weight * 2, weight.clone(), weight.sum((2, 3)), torch.cat([weight]), copy.deepcopy(weight.detach())):
        assert type(value) is torch.Tensor
    own = nn.Parameter(weight)  # shares nothing
    assert type(own) is nn.Parameter
    assert own.is_leaf
    assert own.requires_grad
    frozen = nn.Parameter(weight.data, requires_grad=False)
    assert type(frozen) is nn.Parameter
    assert not frozen.requires_grad
    before = soft.parametrizations.weight.original.clone()
    with torch.no_grad():
        own.zero_()
        frozen.zero_()
    assert torch.equal(soft.parametrizations.weight.original, before)
    assert soft.parametrizations.weight.original.requires_grad
    with pytest.raises(ValueError, match="read-only"):
        weight.detach().numpy()[:] = 0
    weight.square().sum().backward()
    assert soft.parametrizations.weight.original.grad is not None
    soft.weight.requires_grad_(False)
    assert not soft.parametrizations.weight.original.requires_grad


def test_in_torchs_own_forward_it_is_a_plain_tensor() -> None:
    seen = []

    class Spy(nn.Conv2d):
        def _conv_forward(self, input, weight, bias):
            seen.append(type(weight))
            return super()._conv_forward(input, weight, bias)

    soft = es.soften(Spy(3, 4, 3), 0.5, gspace=C4)
    soft(PICTURES)
    assert seen == [torch.Tensor]


def test_timms_init_weights_starts_a_softened_model_anew() -> None:
    hard = timm_vit()
    soft = es.soften(copy.deepcopy(hard), 0.5, gspace=C4)
    for model in (hard, soft):
        torch.manual_seed(0)
        model.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(hard.parameters(), soft.parameters(), strict=True))


# ---------------------------------------------------------------------- resizing


@pytest.mark.filterwarnings("ignore:.*non-tuple sequence")  # timm's own
@pytest.mark.parametrize("build", [timm_vit, timm_swin])
@pytest.mark.parametrize("policy", [0.0, es.Learned(0.3)], ids=str)
def test_set_input_size_grades_the_positions_anew(build, policy) -> None:
    soft = es.soften(build(), policy, gspace=C4, on_unsupported="ignore").eval()
    soft = copy.deepcopy(soft)
    names = list(es.layers.dials(soft))
    soft.set_input_size(img_size=(64, 64))
    assert list(es.layers.dials(soft)) == names
    soft(torch.randn(1, 3, 64, 64)).sum().backward()
    if policy == 0.0 and build is timm_vit:
        assert turned(soft, 64) < 1e-5
        assert "8 x 8 tokens" in str(es.soft_status(soft))
    es.load_softness(soft, es.softness_config(soft))
    hard = es.harden(soft)
    assert "set_input_size" not in vars(hard)
    hard.set_input_size(img_size=(32, 32))


@pytest.mark.parametrize("arguments", [{"img_size": (64, 32)}, {"patch_size": (4, 4)}], ids=str)
def test_what_a_filter_cannot_follow_is_refused_before_anything_changes(arguments) -> None:
    soft = es.soften(timm_vit(), 0.0, gspace=C4).eval()
    expected, state = soft(PICTURES), copy.deepcopy(soft.state_dict())
    with pytest.raises(es.errors.ArgumentError):
        soft.set_input_size(**arguments)
    assert torch.equal(soft(PICTURES), expected)
    assert state.keys() == soft.state_dict().keys()
    assert soft.patch_embed.grid_size == (4, 4)
    assert soft.patch_embed.patch_size == (8, 8)


def test_a_parameter_of_another_shape_is_refused() -> None:
    soft = es.soften(nn.Conv2d(3, 4, 3), 0.0, gspace=C4)
    before = soft.weight
    for value in (nn.Parameter(torch.zeros(4, 3, 5, 5)), torch.zeros(4, 3, 5, 5)):
        with pytest.raises(es.errors.ShapeError, match="weight"):
            soft.weight = value
    with pytest.raises(es.errors.ArgumentError, match="bake or harden"):
        soft.weight = None
    assert torch.equal(soft.weight, before)


# ---------------------------------------------------------------------- files


def test_transformers_own_files_hold_the_trained_weights(tmp_path, caplog) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8)
    soft = es.soften(transformers.ViTForImageClassification(config).eval(), 0.3, gspace=C4)
    with torch.no_grad():
        for p in soft.parameters():
            p.add_(0.1 * torch.randn_like(p))
    soft.save_pretrained(tmp_path)
    again, report = transformers.ViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert any("softened" in key for key in report["unexpected_keys"])  # and says that a filter is missing
    again = es.load_softness(again.eval(), es.softness_config(soft))
    assert torch.equal(again(PICTURES).logits, soft(PICTURES).logits)
    assert weight_filter(again.vit.embeddings.patch_embeddings.projection).softness == 0.3


# ---------------------------------------------------------------------- ties

FIELD = C4.type(*[C4.regular_repr] * 2)


def tied() -> enn.SequentialModule:
    """Two layers of escnn's with one set of parameters."""
    model = enn.SequentialModule(enn.R2Conv(FIELD, FIELD, 3), enn.ReLU(FIELD), enn.R2Conv(FIELD, FIELD, 3))
    model[2].weights, model[2].bias = model[0].weights, model[0].bias
    return model


@pytest.mark.parametrize("policy", [0.5, es.Learned(0.5)], ids=str)
def test_tied_layers_stay_tied_in_training(policy) -> None:
    soft = es.soften(tied(), 0.5)
    es.set_softness(soft, policy)
    optimizer = torch.optim.SGD(soft.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        soft(FIELD(torch.randn(1, 8, 9, 9))).tensor.square().mean().backward()
        optimizer.step()
    first, second = soft[0], soft[2]
    assert bool(first.soft_weights.any())
    assert bool(first.soft_bias.any())
    for name, parameter in first.named_parameters(recurse=False):
        assert getattr(second, name) is parameter, name
    hard = es.harden(soft)
    assert hard[0].weights is hard[2].weights
    again = es.load_softness(tied(), es.softness_config(soft))
    again.load_state_dict(soft.state_dict())
    assert again[0].soft_weights is again[2].soft_weights
    assert copy.deepcopy(again)[2].soft_weights is not again[2].soft_weights


def test_layers_that_mean_other_things_by_the_same_weights_keep_their_own() -> None:
    model = tied()
    soft = es.soften(model, 0.5, per_layer={"2": {"softness": 0.5, "chain": [2]}})
    assert soft[0].weights is soft[2].weights
    assert soft[0].soft_weights is not soft[2].soft_weights


def test_tied_filters_share_what_they_learn_and_stay_tied_without() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[2].weight = model[0].weight
    soft = es.soften(model, es.Learned(0.5), gspace=C4)
    assert weight_filter(soft[0]).level_logits is weight_filter(soft[2]).level_logits
    for plain in (es.bake(soft), es.harden(soft), es.bake(copy.deepcopy(soft), inplace=True)):
        assert plain[0].weight is plain[2].weight


# ---------------------------------------------------------------------- norms of weights

NORMS = {"parametrization": weight_norm, "hook": old_weight_norm}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_soften_says_that_a_weight_normed_layer_stays_hard(norm) -> None:
    model = enn.SequentialModule(norm(enn.R2Conv(FIELD, FIELD, 3), "weights"), enn.R2Conv(FIELD, FIELD, 3))
    with pytest.warns(UserWarning, match="leaves 1 steerable layers hard:\n  0: .*off first"):
        soft = es.soften(model, 0.5)
    x = FIELD(torch.randn(1, 8, 9, 9))
    assert torch.allclose(soft(x).tensor, model(x).tensor, atol=5e-6)
    with pytest.raises(es.errors.ArgumentError, match="off first"):
        es.soften(model, 0.5, on_unsupported="raise")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tensors", [["weights"], ["soft_weights"], ["weights", "soft_weights"]], ids=str)
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_weight_normed_soft_layer_hardens_to_one_that_runs(norm, tensors, training) -> None:
    layer = es.SoftR2Conv(FIELD, FIELD, 3, softness=0.5)
    nn.init.normal_(layer.soft_weights)
    for tensor in tensors:
        norm(layer, tensor, dim=None)
    x = FIELD(torch.randn(1, 8, 9, 9))
    layer.train(training)(x)
    hard = copy.deepcopy(es.harden(layer))
    layer.softness = 0.0
    assert torch.equal(hard(x).tensor, layer(x).tensor)
    hard.train()(x).tensor.sum().backward()
    assert all(p.grad is not None for name, p in hard.named_parameters() if "soft" not in name)
    assert not isinstance(hard, es.layers.SoftLayer)
    assert any("weights" in name and "soft" not in name for name, _ in hard.named_parameters())


# ---------------------------------------------------------------------- raw parameters


class Raw(nn.Module):
    """A convolution that soften knows, and something of one's own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.own = nn.Parameter(torch.randn(*shape))

    def forward(self, x):
        return self.apply_own(self.stem(x)).mean((2, 3))


class Kernel(Raw):
    def __init__(self) -> None:
        super().__init__(4, 4, 3, 3)

    def apply_own(self, x):
        return functional.conv2d(x, self.own, padding=1).relu()


class ScaledKernel(Kernel):
    def apply_own(self, x):
        return functional.conv2d(x, self.own / self.own.flatten(1).norm(dim=1)[:, None, None, None]).relu()


class Transposed(Kernel):
    def apply_own(self, x):
        return functional.conv_transpose2d(x, self.own, padding=1).relu()


class Added(Raw):
    def __init__(self) -> None:
        super().__init__(1, 4, 8, 8)

    def apply_own(self, x):
        return (x + self.own).relu()


class Multiplied(Added):
    def apply_own(self, x):
        return x.mul(self.own).relu()


class Interpolated(Added):
    def apply_own(self, x):
        return torch.where(x > 0, x, functional.interpolate(self.own, x.shape[2:])).relu()


class Gate(Raw):
    def __init__(self) -> None:
        super().__init__(8, 8)

    def apply_own(self, x):
        return x * self.own.sigmoid()


class Tokens(Raw):
    def __init__(self) -> None:
        super().__init__(1, 64, 4)

    def apply_own(self, x):
        return (x.flatten(2).mT + self.own).relu().mT[..., None]


BREAKING = [Kernel, ScaledKernel, Transposed, Added, Multiplied, Interpolated, Gate, Tokens]


@pytest.mark.parametrize("build", BREAKING)
def test_the_status_names_parameters_that_move_and_have_no_dial(build) -> None:
    model = es.soften(build(), 0.0, gspace=C4).eval()
    x = torch.randn(1, 3, 8, 8)
    assert (model(x) - model(x.rot90(1, (2, 3)))).abs().max() > 1e-3
    named = {each.name: each.reason for each in es.soft_status(model, (1, 3, 8, 8)).grid}
    assert "has no filter" in named["own"]
    assert set(named) == {"own"}
    if model.own.ndim == 4:
        assert "pass input_shape" in {each.name: each.reason for each in es.soft_status(model).grid}["own"]


class PerChannel(Raw):
    def __init__(self) -> None:
        super().__init__(1, 4, 1, 1)

    def apply_own(self, x):
        return x * self.own + self.own.flatten()[:1]


class OfOnePixel(Raw):
    def __init__(self) -> None:
        super().__init__(4, 4, 1, 1)

    def apply_own(self, x):
        return functional.conv2d(x, self.own)


class ChannelsLast(Raw):
    def __init__(self) -> None:
        super().__init__(4)

    def apply_own(self, x):
        return (x.permute(0, 2, 3, 1) * self.own).permute(0, 3, 1, 2)


@pytest.mark.parametrize("build", [PerChannel, OfOnePixel, ChannelsLast])
@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_parameters_that_no_turn_moves_are_not_named(build, softness) -> None:
    model = es.soften(build(), softness, gspace=C4).eval()
    assert es.soft_status(model, (1, 3, 8, 8)).grid == ()
    assert es.soft_status(model).grid == ()


def test_norms_over_positions_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LayerNorm([4, 8, 8]))
    model = es.soften(model, 0.0, gspace=C4)
    for status in (es.soft_status(model), es.soft_status(model, (1, 3, 8, 8))):
        assert [each.name for each in status.grid] == ["1.weight", "1.bias"]


@pytest.mark.parametrize("build", [timm_vit, timm_swin])
def test_nothing_of_a_softened_transformer_is_named_twice_or_wrongly(build) -> None:
    model = es.soften(build(), 0.0, gspace=C4, on_unsupported="ignore").eval()
    assert not any("no filter" in each.reason for each in es.soft_status(model, (1, 3, 32, 32)).grid)
    assert not any("no filter" in each.reason for each in es.soft_status(model).grid)


# ---------------------------------------------------------------------- shards

SHARDED = """
import copy, tempfile
import torch
import torch.distributed as dist
from escnn import gspaces
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
import escnn_soft as es
from tests.processes import leave

def second(model):
    for layer in model:
        fully_shard(layer)
    return fully_shard(model)

def first(model, **arguments):
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **arguments)

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/meet", rank=0, world_size=1)
for shard in (second, lambda model: first(model, use_orig_params=True), first):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))
    model = es.soften(model, 0.4, gspace=gspaces.rot2dOnR2(4))
    names, twin = [name for name, _ in model.named_parameters()], copy.deepcopy(model)
    model, x = shard(model), torch.randn(2, 3, 9, 9)
    optimizers = [(each, torch.optim.AdamW(each.parameters())) for each in (model, twin)]
    for _ in range(3):
        for each, optimizer in optimizers:
            optimizer.zero_grad()
            each(x).square().mean().backward()
            optimizer.step()
    for training in (True, False):
        assert torch.equal(model.train(training)(x), twin.train(training)(x))
    if shard is second:
        assert [name for name, _ in model.named_parameters()] == names
        state, _ = get_state_dict(model, optimizers[0][1], options=StateDictOptions(full_state_dict=True))
        assert all(torch.equal(state[name], p) for name, p in twin.named_parameters())
leave()
"""


def test_sharded_parameters_go_through_their_filters() -> None:
    python(SHARDED)
