"""Vision transformers of timm, transformers and torchvision with random weights: invariant at 0, untouched at 1."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from escnn import gspaces
from torch import Tensor
from torch.nn import Module

from escnn_soft import (
    Budget,
    Position,
    TokenShifts,
    bake,
    harden,
    register_positions,
    set_softness,
    soft_status,
    soften,
)
from escnn_soft.convert.vision_transformers.positions import _READERS
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import TokenTable

D4 = gspaces.flipRot2dOnR2(4)
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 5}


def of_transformers(family: str, **options: object) -> Module:
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, family + "Model")(getattr(transformers, family + "Config")(**{**SIZES, **options}))


def of_timm(module: str, family: str, **options: object) -> Module:
    pytest.importorskip("timm")
    models = pytest.importorskip(f"timm.models.{module}")
    return getattr(models, family)(**{**TIMM, **options})


def of_torchvision(family: str, **options: object) -> Module:
    return getattr(pytest.importorskip("torchvision").models, family)(num_classes=5, **options)


def eva(**options: object) -> Module:
    return of_timm("eva", "Eva", **{"use_rot_pos_emb": True, "use_abs_pos_emb": False, **options})


WINDOWS = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}
DINOV3 = {"rope_type": "dinov3", "rope_rotate_half": True, "num_reg_tokens": 2, "dynamic_img_size": True}
POSITIONS: dict[str, Callable[[], Module]] = {
    "transformers ViT": lambda: of_transformers("ViT"),
    "transformers DeiT": lambda: of_transformers("DeiT"),
    "transformers DINOv2": lambda: of_transformers("Dinov2"),
    "transformers DINOv2 with registers": lambda: of_transformers("Dinov2WithRegisters"),
    "timm ViT": lambda: of_timm("vision_transformer", "VisionTransformer", reg_tokens=2),
    "timm ViT, grid alone": lambda: of_timm("vision_transformer", "VisionTransformer", no_embed_class=True),
    "torchvision ViT": lambda: of_torchvision(
        "VisionTransformer", image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
    ),
}
"""Those with a learned table of positions and nothing else that knows them."""

ROTARY: dict[str, Callable[[], Module]] = {
    "transformers DINOv3": lambda: of_transformers("DINOv3ViT", num_register_tokens=2, key_bias=True),
    "timm DINOv3": lambda: eva(**DINOV3),
    "timm DINOv3, interleaved": lambda: eva(**{**DINOV3, "rope_rotate_half": False}, qkv_fused=False),
    "timm EVA without class token": lambda: eva(class_token=False, use_abs_pos_emb=True),
}
OFFSETS: dict[str, Callable[[], Module]] = {
    "transformers BEiT": lambda: of_transformers("Beit", use_relative_position_bias=True),
    "timm BEiT": lambda: of_timm("beit", "Beit", use_rel_pos_bias=True, use_abs_pos_emb=False),
    "timm Swin": lambda: swin(),
    "transformers Swin": lambda: swin_of_transformers(),
    "torchvision Swin": lambda: of_torchvision("SwinTransformer", **WINDOWS, patch_size=[2, 2], window_size=[4, 4]),
}
MODELS = {**POSITIONS, **ROTARY, **OFFSETS}


def built(name: str) -> Module:
    """A model in evaluation mode whose every parameter is random, norms and biases included."""
    model = MODELS[name]()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, mean=float("norm" in key and parameter.ndim == 1), std=0.3)
    return model.eval()


def swin(window_size: int = 4) -> Module:
    models = pytest.importorskip("timm.models.swin_transformer")
    return models.SwinTransformer(
        img_size=8 * window_size, patch_size=2, window_size=window_size, num_classes=5, **WINDOWS
    )


def swin_of_transformers() -> Module:
    transformers = pytest.importorskip("transformers")
    return transformers.SwinModel(transformers.SwinConfig(image_size=32, patch_size=2, window_size=4, **WINDOWS))


def output(model: Module, images: Tensor) -> Tensor:
    """Class token, pooled features or logits."""
    result = model(images)
    if isinstance(result, Tensor):
        return result
    return result.pooler_output if hasattr(result, "reshaped_hidden_states") else result.last_hidden_state[:, 0]


def changes(model: Module, images: Tensor, moves: list[Callable[[Tensor], Tensor]]) -> float:
    """Largest relative change of the output under moves of the image."""
    with torch.no_grad():
        before = output(model, images)
        return max(float((output(model, move(images)) - before).norm() / before.norm()) for move in moves)


TURNS = [lambda x: x.rot90(1, (2, 3)), lambda x: x.rot90(2, (2, 3)), lambda x: x.flip(3), lambda x: x.mT]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("name", MODELS)
def test_invariant_at_zero_and_untouched_at_one(name, images) -> None:
    model = built(name)
    with torch.no_grad():
        original = output(model, images)
    soft = soften(model, 0.0, gspace=D4, on_unsupported="raise")
    assert changes(model, images, TURNS) > 1e-3
    assert changes(soft, images, TURNS) < 1e-5
    with torch.no_grad():
        assert (output(soft, images) - original).norm() > 1e-3 * original.norm()
        set_softness(soft, 1.0)
        assert torch.allclose(output(soft, images), original, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["transformers ViT", "timm ViT", "torchvision ViT"])
@pytest.mark.parametrize("group", [gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(-1), gspaces.rot2dOnR2(-1)], ids=str)
def test_other_groups_are_kept_by_the_turns_of_the_grid(name, group, images) -> None:
    soft = soften(built(name), 0.0, gspace=group, on_unsupported="raise")
    turns = TURNS if group.fibergroup.name == "O(2)" else TURNS[:2]
    assert changes(soft, images, turns) < 1e-5


@pytest.mark.parametrize("name", POSITIONS)
def test_shifts_by_whole_patches(name, images) -> None:
    shifts = [lambda x: x.roll(8, 2), lambda x: x.roll((-8, 16), (2, 3))]
    model = built(name)
    soft = soften(model, 0.0, gspace=TokenShifts(), on_unsupported="raise")
    assert changes(model, images, shifts) > 1e-3
    assert changes(soft, images, shifts) < 1e-5
    assert soft_status(soft).grid == ()


@pytest.mark.parametrize("name", ["timm ViT", "transformers DINOv3"])
def test_the_error_falls_with_the_softness(name, images) -> None:
    soft = soften(built(name), 1.0, gspace=D4)
    errors = []
    for softness in (0.5, 0.1, 0.01, 0.0):
        set_softness(soft, softness)
        errors.append(changes(soft, images, TURNS))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5 < errors[-2]


def test_class_and_register_tokens_are_left_alone() -> None:
    model = built("timm ViT")
    soft = soften(model, 0.0, gspace=D4)
    assert torch.allclose(soft.pos_embed[:, :3], model.pos_embed[:, :3], atol=1e-6)
    grid = soft.pos_embed[:, 3:].unflatten(1, (4, 4))
    assert torch.allclose(grid.rot90(1, (1, 2)), grid, atol=1e-6)
    assert grid.var((1, 2)).max() > 1e-3


def test_queries_and_keys_keep_one_channel_in_four_and_distances() -> None:
    soft = soften(built("transformers DINOv3"), 0.0, gspace=D4)
    query = soft.model.layer[0].attention.q_proj.weight.view(2, 4, 4, 32)  # head, (re y, re x, im y, im x), frequency
    assert torch.allclose(query[:, 0], query[:, 1], atol=1e-6)
    assert query[:, 2:].abs().max() < 1e-6
    assert query[:, 0].norm() > 1e-2


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: eva(), "centre of the grid"),
        (lambda: eva(rope_type="mixed"), "one table of angles"),
        (lambda: eva(**DINOV3, qk_norm=True, norm_layer=torch.nn.LayerNorm), "a norm of their own"),
        (lambda: swin(window_size=5), "shifted by half a window"),
        (lambda: swin_v2(), "a network of the offset's coordinates"),
    ],
    ids=["class token", "mixed", "norm", "window", "network"],
)
def test_what_is_out_of_reach_is_named(build, reason) -> None:
    model = build()
    with pytest.warns(UserWarning, match=reason):
        soft = soften(model, 0.0, gspace=D4)
    assert soft_status(soft).grid
    with pytest.raises(ArgumentError, match=reason):
        soften(model, 0.0, gspace=D4, on_unsupported="raise")


def swin_v2() -> Module:
    models = pytest.importorskip("timm.models.swin_transformer_v2")
    return models.SwinTransformerV2(img_size=32, patch_size=2, window_size=4, num_classes=5, **WINDOWS)


def test_a_table_of_an_unknown_grid_is_named() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    model.pos_embed = torch.nn.Parameter(torch.randn(1, 10, 4))
    with pytest.warns(UserWarning, match="tells its token grid"):
        soften(model, 0.0, gspace=D4)


def test_a_model_within_another_is_known(images) -> None:
    outer = torch.nn.Module()
    outer.encoder = built("timm ViT")
    outer.forward = outer.encoder.forward
    assert [layer.name for layer in soft_status(soften(outer, 0.0, gspace=D4, on_unsupported="raise")).layers] == [
        "encoder.pos_embed", "encoder.patch_embed.proj",
    ]  # fmt: skip


def test_rotary_axes_go_to_no_axes_under_eighth_turns() -> None:
    model = built("transformers DINOv3")
    with pytest.warns(UserWarning, match="permutes the rotary axes"):
        soft = soften(model, 0.0, gspace=gspaces.rot2dOnR2(8))
    assert [layer.name for layer in soft_status(soft).layers] == ["embeddings.patch_embeddings"]


def test_status_names_what_knows_positions() -> None:
    lines = str(soft_status(soften(built("timm ViT"), 0.5, gspace=D4), (1, 3, 32, 32)))
    assert "pos_embed" in lines
    assert "position table, 4 x 4 tokens" in lines
    assert "Conv2d (patches)" in lines
    assert "breaks" not in lines
    rotary = str(soft_status(soften(built("timm DINOv3"), 0.5, gspace=D4)))
    assert "rotary queries and keys, 4 x 16 channels" in rotary
    offsets = str(soft_status(soften(built("timm BEiT"), 0.5, gspace=D4)))
    assert "relative positions, 7 x 7 offsets" in offsets
    left_out = soften(built("timm ViT"), 0.5, gspace=D4, filter_fn=lambda module, name: name == "patch_embed.proj")
    assert [(each.name, each.reason) for each in soft_status(left_out).grid if each.kind == "position table"] == [
        ("pos_embed", "has no filter")
    ]


def test_softness_of_a_table_by_its_name(images) -> None:
    soft = soften(built("timm ViT"), 0.0, gspace=D4, per_layer={"pos_embed": 1.0})
    softness = {layer.name: layer.softness for layer in soft_status(soft).layers}
    assert softness == {"pos_embed": 1.0, "patch_embed.proj": 0.0}
    set_softness(soft, 0.5, per_layer={"pos_*": 0.25})
    assert {layer.softness for layer in soft_status(soft).layers} == {0.25, 0.5}
    with pytest.raises(ArgumentError, match="pos_embed"):
        soften(built("timm ViT"), 0.0, gspace=D4, per_layer={"positions": 1.0})


@pytest.mark.parametrize("name", ["timm ViT", "transformers DINOv3", "timm Swin"])
def test_hardened_and_baked_models_are_plain(name, images) -> None:
    soft = soften(built(name), 0.5, gspace=D4)
    with torch.no_grad():
        assert torch.allclose(output(bake(soft), images), output(soft, images), atol=1e-6)
        hard = harden(soft)
        set_softness(soft, 0.0)
        assert torch.allclose(output(hard, images), output(soft, images), atol=1e-6)
    assert not any("parametrizations" in key for key in hard.state_dict())


def test_training_reaches_the_table(images) -> None:
    soft = soften(built("timm ViT"), 0.5, gspace=D4).train()
    output(soft, images).square().sum().backward()
    gradient = soft.parametrizations.pos_embed.original.grad
    assert gradient is not None
    assert gradient[:, 3:].norm() > 0
    clone = copy.deepcopy(soft).eval()
    soft.eval()
    with torch.no_grad():
        assert torch.equal(output(clone, images), output(soft, images))


@pytest.mark.parametrize("name", ["timm ViT", "timm DINOv3"])
def test_soft_transformers_compile(name, images) -> None:
    soft = soften(built(name), 0.5, gspace=D4)
    with torch.no_grad():
        compiled = torch.compile(soft, backend="eager", fullgraph=True)
        assert torch.allclose(output(compiled, images), output(soft, images), atol=1e-5)


def test_a_budget_bounds_kernels_only() -> None:
    with pytest.warns(UserWarning, match="needs no bound"):
        soft = soften(built("timm ViT"), Budget(0.1), gspace=D4)
    assert [layer.name for layer in soft_status(soft).layers] == ["patch_embed.proj"]


class Tokens(Module):
    """A module of the user's own: columns of a plane of tokens, one more row at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.where = torch.nn.Parameter(torch.randn(7, 17))


def test_readers_of_the_user() -> None:
    def read(module: Module):
        yield Position(module, "where", "position table", TokenTable((7, 17), axis=1, sides=(4, 4)))

    with pytest.raises(ArgumentError, match="hard steerable layers"):
        soften(Tokens(), 0.0, gspace=D4)
    try:
        register_positions(Tokens)(read)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            soft = soften(Tokens(), 0.0, gspace=D4)
        grid = soft.where[:, :16].unflatten(1, (4, 4))
        assert torch.allclose(grid.mT, grid, atol=1e-6)
    finally:
        _READERS.pop(Tokens)


@pytest.mark.parametrize("family", ["Segformer", "ResNet"])
def test_convolutional_families_of_transformers(family) -> None:
    """On sizes that the strides keep centred, SegFormer's and ResNet's maps turn with the image."""
    transformers = pytest.importorskip("transformers")
    options = {
        "Segformer": {
            "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [1, 1], "hidden_sizes": [8, 16],
            "num_attention_heads": [1, 2], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
        },
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    }[family]  # fmt: skip
    model = getattr(transformers, family + "Model")(getattr(transformers, family + "Config")(**options)).eval()
    soft = soften(model, 0.0, gspace=D4)
    kinds = {layer.kind for layer in soft_status(soft).layers}
    assert kinds == {"Conv2d"}
    centred, off_centre = torch.randn(1, 3, 33, 33), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        feature, turned = (soft(x).last_hidden_state for x in (centred, centred.rot90(1, (2, 3))))
        assert torch.allclose(turned, feature.rot90(1, (2, 3)), atol=1e-5 * float(feature.abs().max()))
        off, turned_off = (soft(x).last_hidden_state for x in (off_centre, off_centre.rot90(1, (2, 3))))
        assert (turned_off - off.rot90(1, (2, 3))).norm() > 1e-3 * off.norm()
    assert any("stride" in each.reason for each in soft_status(soft, (1, 3, 32, 32)).grid)
    assert not soft_status(soft, (1, 3, 33, 33)).grid
