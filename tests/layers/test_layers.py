"""What users of torch and escnn expect of a layer: geometry, conversion, cache, state, dtype, copies."""

import copy
import io

import pytest
import torch
from escnn.nn import Linear, R2Conv
from torch.optim.swa_utils import AveragedModel

from escnn_soft import Cutoff, Exponential, SoftLinear, SoftR2Conv
from tests.cases import field_types, planar, point
from tests.disturbance import disturb

FIELD = planar("D4").type(*[planar("D4").regular_repr] * 2)
IMAGE = torch.randn(2, FIELD.size, 8, 8)


def soft_conv(**arguments) -> SoftR2Conv:
    layer = SoftR2Conv(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, "softness": 0.5, **arguments})
    disturb(layer, 1.0)
    return layer


def soft_linear(softness: float = 0.5) -> tuple[SoftLinear, torch.Tensor]:
    in_type, out_type = field_types(point("D3"))[2]
    layer = SoftLinear(in_type, out_type, softness=softness)
    disturb(layer, 1.0)
    return layer, torch.randn(4, in_type.size)


def low_frequency(attributes) -> bool:
    return attributes["irrep:frequency"] < 2


GEOMETRIES = [
    {"stride": 2},
    {"dilation": 2, "padding": 2},
    {"groups": 2},
    {"bias": False},
    {"padding": (1, 2)},
    {"kernel_size": 4},
    {"kernel_size": 5, "frequencies_cutoff": 1.0},
    {"kernel_size": 5, "rings": [0.0, 2.0], "sigma": [0.01, 0.5]},
    {"kernel_size": 5, "basis_filter": low_frequency},
    *({"padding_mode": mode, "padding": (2, 1)} for mode in ("zeros", "reflect", "replicate", "circular")),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "-".join(g))
def test_geometry_agrees_with_escnn_export_and_shape(geometry) -> None:
    hard = R2Conv(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry})
    soft = soft_conv(**geometry, softness=0.0)
    soft.load_state_dict(hard.state_dict())
    x = FIELD(IMAGE)
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-6
    disturb(soft, 1.0)
    soft.softness = 0.7
    trained = soft(x).tensor
    assert (trained - hard(x).tensor).abs().max() > 1e-3
    assert tuple(trained.shape) == soft.evaluate_output_shape(tuple(IMAGE.shape))
    exported = soft.export()
    assert (soft(x).tensor - trained).abs().max() < 1e-6
    assert (exported(IMAGE) - trained).abs().max() < 1e-5
    assert exported.padding_mode == hard.padding_mode


@pytest.mark.parametrize("geometry", [*GEOMETRIES[:6], *GEOMETRIES[-4:]], ids=lambda g: "-".join(g))
def test_from_dense_keeps_geometry_and_function(geometry) -> None:
    conv = torch.nn.Conv2d(FIELD.size, FIELD.size, **{"kernel_size": 3, "padding": 1, **geometry})
    soft = SoftR2Conv.from_dense(conv, FIELD, FIELD)
    assert (soft(FIELD(IMAGE)).tensor - conv(IMAGE)).abs().max() < 1e-5
    assert (soft.export()(IMAGE) - conv(IMAGE)).abs().max() < 1e-5


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_from_dense_understands_named_padding(padding) -> None:
    conv = torch.nn.Conv2d(FIELD.size, FIELD.size, 3, padding=padding)
    soft = SoftR2Conv.from_dense(conv, FIELD, FIELD)
    assert (soft(FIELD(IMAGE)).tensor - conv(IMAGE)).abs().max() < 1e-5


def test_from_dense_at_softness_0_keeps_the_equivariant_part() -> None:
    conv = torch.nn.Conv2d(FIELD.size, FIELD.size, 3, dtype=torch.float64)
    strict = SoftR2Conv.from_dense(conv, FIELD, FIELD, softness=0.0)
    spectrum = SoftR2Conv.from_dense(conv, FIELD, FIELD).spectrum()
    assert strict.spectrum().breaking < 1e-20
    assert strict.spectrum().energy == pytest.approx(spectrum.levels[0].energy)
    assert spectrum.energy == pytest.approx(conv.weight.square().sum().item())


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "-".join(g))
def test_from_hard_keeps_parameters_and_function(geometry) -> None:
    hard = R2Conv(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry})
    hard.weights.requires_grad_(False)
    hard.eval()
    unstored = {k: v for k, v in geometry.items() if k in ("frequencies_cutoff", "basis_filter")}
    soft = SoftR2Conv.from_hard(hard, softness=0.5, **unstored)
    assert soft.weights is hard.weights
    assert soft.bias is hard.bias
    assert not soft.training
    assert not soft.soft_weights.requires_grad
    assert (soft(FIELD(IMAGE)).tensor - hard(FIELD(IMAGE)).tensor).abs().max() < 3e-6


def test_from_hard_linear() -> None:
    in_type, out_type = field_types(point("O(3)"))[2]
    hard = Linear(in_type, out_type, recompute=True).double()  # else it casts every layer's basis
    soft = SoftLinear.from_hard(hard, softness=0.3)
    x = in_type(torch.randn(3, in_type.size, dtype=torch.float64))
    assert soft.weights is hard.weights
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-6
    assert (soft.export()(x.tensor) - soft(x).tensor).abs().max() < 1e-10


def test_initialisation_is_escnns_number_for_number() -> None:
    for in_type, out_type in field_types(planar("D6")):
        torch.manual_seed(7)
        hard = R2Conv(in_type, out_type, 5)
        torch.manual_seed(7)
        soft = SoftR2Conv(in_type, out_type, 5)
        assert torch.equal(hard.weights, soft.weights)
        assert not soft.soft_weights.any()


# ---------------------------------------------------------------------- the cache of evaluation mode


def changes(layer: SoftR2Conv) -> dict:
    state = {k: 2 * v for k, v in layer.state_dict().items()}

    def optimizer_step() -> None:
        layer.train()
        layer(FIELD(IMAGE)).tensor.square().mean().backward()
        torch.optim.SGD(layer.parameters(), lr=10.0).step()
        layer.eval()

    def in_place() -> None:
        with torch.no_grad():
            layer.soft_weights.mul_(2)

    def replaced() -> None:
        layer.weights.data = layer.weights.data * 2

    return {
        "in place": in_place,
        "replaced data": replaced,
        "optimizer": optimizer_step,
        "softness": lambda: setattr(layer, "softness", 0.9),
        "policy": lambda: setattr(layer, "softness", Cutoff(1.5)),
        "state": lambda: layer.load_state_dict(state),
    }


@pytest.mark.parametrize("change", changes(soft_conv()))
def test_cache_is_refreshed(change) -> None:
    layer = soft_conv().eval()
    before = layer(FIELD(IMAGE)).tensor
    changes(layer)[change]()
    after = layer(FIELD(IMAGE)).tensor
    assert (after - before).abs().max() > 1e-3
    layer.train()
    assert (layer(FIELD(IMAGE)).tensor - after).abs().max() < 1e-6


def test_cache_is_kept_detached_and_out_of_the_state() -> None:
    layer = soft_conv()
    keys = set(layer.state_dict())
    layer.eval()
    kernel = layer.filter
    layer(FIELD(IMAGE))
    assert layer.filter is kernel
    assert not kernel.requires_grad
    assert set(layer.state_dict()) == keys
    x = IMAGE.clone().requires_grad_()
    layer(FIELD(x)).tensor.sum().backward()  # gradients still reach the input
    assert x.grad is not None
    with torch.inference_mode():
        layer.softness = 0.8
        layer(FIELD(IMAGE))
    layer(FIELD(x)).tensor.sum().backward()


def test_dtype_follows_the_module_and_leaves_other_layers_alone() -> None:
    layer, other = soft_conv().eval(), soft_conv()
    expected = layer(FIELD(IMAGE)).tensor
    layer.double()
    assert (layer(FIELD(IMAGE.double())).tensor - expected).abs().max() < 1e-5
    other(FIELD(IMAGE))  # escnn shares its basis between layers
    layer.float()
    assert (layer(FIELD(IMAGE)).tensor - expected).abs().max() < 1e-5
    layer.bfloat16()
    assert layer(FIELD(IMAGE.bfloat16())).tensor.dtype == torch.bfloat16
    layer.float()
    layer.softness = 0.0
    strict, kernel = layer._transform.equivariant, layer.expand_parameters()[0].detach().double()
    assert (strict.project(kernel) - kernel).abs().max() < 1e-6  # bfloat16 did not stay in the basis


def test_built_from_a_basis_that_another_layer_has_cast() -> None:
    try:
        hard = R2Conv(FIELD, FIELD, 3, padding=1).double()  # casts escnn's shared basis
        soft = soft_conv()
        assert soft(FIELD(IMAGE)).tensor.dtype == torch.float32
        twin = SoftR2Conv.from_hard(hard, softness=0.5)
        kernel = twin.expand_parameters()[0].detach()
        assert (twin._transform.equivariant.project(kernel) - kernel).abs().max() < 1e-12
    finally:
        hard.float()


def test_default_dtype_is_respected() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        layer = SoftR2Conv(FIELD, FIELD, 3)
        assert layer(FIELD(IMAGE.double())).tensor.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_autocast_expands_in_full_precision() -> None:
    layer = soft_conv()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kernel = layer.expand_parameters()[0]
        assert layer(FIELD(IMAGE)).tensor.dtype == torch.bfloat16
    assert torch.equal(kernel, layer.expand_parameters()[0])


# ---------------------------------------------------------------------- state and copies


@pytest.mark.parametrize("target", ["fresh", "train", "eval"])
@pytest.mark.parametrize("source", ["fresh", "train", "eval"])
@pytest.mark.parametrize("kind", ["soft", "escnn"])
def test_strict_state_between_modes(kind, source, target) -> None:
    mode = {"fresh": lambda m: m, "train": lambda m: m.eval().train(), "eval": lambda m: m.eval()}
    first = mode[source](soft_conv(softness=0.5) if kind == "soft" else R2Conv(FIELD, FIELD, 3, padding=1))
    second = mode[target](soft_conv())
    second(FIELD(IMAGE))
    second.load_state_dict(first.state_dict())
    assert (second(FIELD(IMAGE)).tensor - first(FIELD(IMAGE)).tensor).abs().max() < 5e-6


def test_missing_and_unexpected_keys_are_still_reported() -> None:
    state = soft_conv().state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*extra"):
        soft_conv().load_state_dict({**state, "extra": torch.zeros(1)})
    del state["weights"], state["soft_weights"]
    with pytest.raises(RuntimeError, match="Missing key"):
        soft_conv().load_state_dict(state)


def test_a_checkpoint_with_another_basis_is_taken_over_without_touching_other_layers() -> None:
    first, second, third = soft_conv(), soft_conv(), soft_conv()
    with torch.no_grad():  # as escnn's random coefficients would have it on another machine
        for block in first._basisexpansion._modules.values():
            block.sampled_basis = block.sampled_basis.flip(0)
    before = third(FIELD(IMAGE)).tensor
    second.load_state_dict(first.state_dict())
    assert (second(FIELD(IMAGE)).tensor - first(FIELD(IMAGE)).tensor).abs().max() < 1e-6
    assert torch.equal(third(FIELD(IMAGE)).tensor, before)
    second.double()
    assert (second(FIELD(IMAGE.double())).tensor - first(FIELD(IMAGE)).tensor).abs().max() < 1e-5


@pytest.mark.parametrize("train", [True, False])
def test_copies_and_averages(train) -> None:
    layer = soft_conv().train(train)
    layer.softness = Exponential(0.5)  # a mean of parameters is a mean of kernels
    expected = layer(FIELD(IMAGE)).tensor
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(FIELD(IMAGE)).tensor, expected)
    disturb(twin, 1.0)
    assert torch.equal(layer(FIELD(IMAGE)).tensor, expected)
    average = AveragedModel(layer)
    for member in (layer, twin):
        average.update_parameters(member)
    mean = (layer.soft_weights + twin.soft_weights) / 2
    assert torch.allclose(average.module.soft_weights, mean)
    between = (layer(FIELD(IMAGE)).tensor + twin(FIELD(IMAGE)).tensor) / 2
    assert (average.module.train(train)(FIELD(IMAGE)).tensor - between).abs().max() < 1e-5
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(twin(FIELD(IMAGE)).tensor, expected)


@pytest.mark.parametrize("train", [True, False])
def test_compiles_to_one_graph(train) -> None:
    layer = soft_conv().train(train)
    compiled = torch.compile(lambda x: layer(FIELD(x)).tensor, fullgraph=True, backend="aot_eager")
    assert (compiled(IMAGE) - layer(FIELD(IMAGE)).tensor).abs().max() < 1e-5


def test_gradients_reach_every_parameter_and_are_right() -> None:
    layer, x = soft_linear()
    layer, x = layer.double(), layer.in_type(x.double())
    parameters = dict(layer.named_parameters())
    assert set(parameters) == {"weights", "bias", "soft_weights", "soft_bias"}
    assert torch.autograd.gradcheck(
        lambda *p: torch.func.functional_call(layer, dict(zip(parameters, p, strict=True)), (x,)).tensor,
        tuple(parameters.values()),
    )


def test_a_soft_layer_learns_to_break_the_symmetry() -> None:
    layer, x = soft_linear(softness=1.0)
    target = torch.nn.Linear(layer.in_type.size, layer.out_type.size)(x).detach()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (layer(layer.in_type(x)).tensor - target).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert loss().item() < 1e-6


@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"kernel_size": 5, "padding": (2, 2)}], ids=str)
@pytest.mark.parametrize("name", ["C4", "C8", "O(2)"])
def test_check_equivariance_passes_strict_layers_and_fails_soft_ones(name, geometry) -> None:
    in_type, out_type = field_types(planar(name))[1]
    layer = SoftR2Conv(in_type, out_type, **{"kernel_size": 3, "padding": 1, **geometry})
    assert all(error < 0.1 for _, error in layer.check_equivariance())
    layer.softness = 1.0
    disturb(layer, 1.0)
    with pytest.raises(AssertionError, match="the error is up to"):
        layer.check_equivariance()


# ---------------------------------------------------------------------- the spectrum


def test_spectrum_is_frozen_readable_and_follows_the_dial() -> None:
    layer = soft_conv()
    layer.softness = Exponential(0.5)
    spectrum = layer.spectrum()
    with pytest.raises(AttributeError):
        spectrum.levels = ()
    kernel, bias = layer.expand_parameters()
    assert spectrum.energy == pytest.approx(kernel.square().sum().item(), rel=1e-5)
    assert sum(level.energy for level in spectrum.bias) == pytest.approx(bias.square().sum().item(), rel=1e-5)
    for level in spectrum.levels:
        assert level.gain == pytest.approx(0.5**level.dial)
    assert "irrep_1,1 remainder" in repr(spectrum)
    layer.softness = 0.0
    assert layer.spectrum().breaking < 1e-9
    assert layer.spectrum() == layer.spectrum()
    assert hash(layer.spectrum()) == hash(layer.spectrum())


def test_eval_begins_anew_after_a_write_that_cannot_be_seen() -> None:
    field = planar("C4").type(planar("C4").regular_repr)
    layer, x = SoftR2Conv(field, field, 3).eval(), field(torch.randn(1, 4, 5, 5))
    before = layer(x).tensor
    layer.weights.data.mul_(2)
    assert torch.allclose(layer.eval()(x).tensor, 2 * before, atol=1e-6)
