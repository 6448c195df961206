"""Each of escnn's modules alone, in torch.export, ONNX and one compiled graph."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import nn
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from escnn_soft import harden, projected, soften
from escnn_soft.errors import ArgumentError, NoPlainLayerError
from escnn_soft.export import plain, save_program
from tests.export.modules import C4, MODULES, OF_SEVERAL_FIELDS, OVER_POINTS, TRIVIAL, VECTOR, apart, mixed, regular
from tests.kinds import COORDS, EDGES, KINDS, POINT_KINDS, POINTS

READ_THEIR_STATISTICS = ("GNormBatchNorm", "IIDBatchNorm")
"""escnn asserts the values of running statistics in training mode, which no compiler knows."""
SIZES = {0: (), 2: (9, 9), 3: (5, 5, 5)}
BATCH = ({0: torch.export.Dim.DYNAMIC},)


class Tensors(torch.nn.Module):
    """A module between fields as one between tensors, as a user writes it."""

    def __init__(self, module: EquivariantModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(self.module.in_type(x)).tensor


def built(name: str) -> EquivariantModule:
    torch.manual_seed(0)
    module = MODULES[name]()
    for parameter in module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    for name, buffer in module.named_buffers():
        if "running_var" in name:
            buffer.uniform_(0.5, 2.0)
    return module.eval()


@pytest.fixture(params=MODULES)
def module(request) -> EquivariantModule:
    return built(request.param)


def picture(module: EquivariantModule) -> Tensor:
    return torch.randn(3, module.in_type.size, *SIZES[module.in_type.gspace.dimensionality])


def test_every_module_of_escnns_is_in_the_table() -> None:
    classes = {name for name in nn.__all__ if isinstance(cls := getattr(nn, name), type) and _is_layer(cls)}
    aliases = {name for name in classes if getattr(nn, name).__name__ != name}
    assert classes - aliases - {"EquivariantModule"} == {
        *(name.partition(",")[0] for name in MODULES), *OF_SEVERAL_FIELDS, *OVER_POINTS
    }  # fmt: skip


def _is_layer(cls: type) -> bool:
    return issubclass(cls, EquivariantModule)


def test_each_is_written_and_compiled(module) -> None:
    x = picture(module)
    expected = module(module.in_type(x)).tensor
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    with torch.no_grad():
        for function in (plain(module), torch.export.export(Tensors(module), (x,), dynamic_shapes=BATCH).module()):
            for part, wanted in ((x, expected), (x[:2], expected[:2])):
                assert (function(part) - wanted).abs().max() < 1e-5
        torch._dynamo.reset()
        assert torch.equal(compiled(module.in_type(x)).tensor, expected)


class Beside(torch.nn.Module):
    """Modules side by side, each on the first channels."""

    def __init__(self, modules: list[EquivariantModule]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        fields = [part(part.in_type(x[:, : part.in_type.size].clone())).tensor for part in self.parts]
        return torch.cat([field.flatten(1) for field in fields], dim=1)


@pytest.mark.parametrize("start", range(0, len(MODULES), 12))
def test_all_are_written_in_onnx(start, tmp_path) -> None:
    """A few at a time: the exporter takes longer for three files than for one of three modules."""
    modules = [built(name) for name in list(MODULES)[start : start + 12]]
    for dims, sizes in SIZES.items():
        if few := [m for m in modules if m.in_type.gspace.dimensionality == dims]:
            x = torch.randn(3, max(m.in_type.size for m in few), *sizes)
            assert save_program(Beside(few), x, tmp_path / "module.onnx", "onnx") < 1e-5


def test_each_compiles_in_training_mode(module) -> None:
    module.train()
    again = copy.deepcopy(module)
    x = module.in_type(picture(module))
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    if type(module).__name__.startswith(READ_THEIR_STATISTICS):
        with pytest.raises(TorchDynamoException):
            compiled(x)
    else:
        torch.manual_seed(1)
        y = compiled(x).tensor
        torch.manual_seed(1)
        assert torch.allclose(again(x).tensor, y, atol=1e-5)


# ---------------------------------------------------------------------- ranges of channels


def test_ranges_stay_in_checkpoints_and_follow_copies() -> None:
    norm = nn.InnerBatchNorm(mixed)
    assert norm.state_dict()["indices_4"].tolist() == list(norm.indices_4) == [0, 8]
    norm.load_state_dict(norm.state_dict(), strict=True)
    with torch.no_grad():
        x = mixed(torch.randn(2, 9, 5, 5))
        again = torch.func.functional_call(norm, norm.state_dict(), (x,))
        assert torch.equal(again.tensor, norm(x).tensor)
    assert apart.size == 6
    assert nn.InnerBatchNorm(apart).indices_1 == (0, 5)  # no range, but both channels are indexed by it


def test_modules_without_memory_are_built_as_escnn_builds_them() -> None:
    register = torch.nn.Module.register_buffer

    def elsewhere(module, name, buffer, persistent=True):
        register(module, name, buffer if buffer is None else buffer.to("meta"), persistent)

    with pytest.MonkeyPatch.context() as patch:  # as accelerate.init_empty_weights(include_buffers=True)
        patch.setattr(torch.nn.Module, "register_buffer", elsewhere)
        norm = nn.InnerBatchNorm(mixed)
    assert norm.indices_4.is_meta


def test_equal_bases_of_two_layers_are_two_modules() -> None:
    model = nn.SequentialModule(nn.R2Conv(regular, regular, 3), nn.R2Conv(regular, regular, 3))
    names = [name for name, module in model.named_modules() if hasattr(module, "_representations_pairs")]
    assert len(names) == len(set(map(id, model.modules())) & {id(layer.basisexpansion) for layer in model}) == 2


# ---------------------------------------------------------------------- whole networks


class Gates(torch.nn.Module):
    """Scalars that open vectors, each from a convolution."""

    def __init__(self) -> None:
        super().__init__()
        scalars, vectors = C4.type(TRIVIAL, TRIVIAL), C4.type(VECTOR, VECTOR)
        self.in_type = regular
        self.gates, self.vectors = nn.R2Conv(regular, scalars, 3), nn.R2Conv(regular, vectors, 3)
        self.gated = nn.GatedNonLinearity2((scalars, vectors))

    def forward(self, x: Tensor) -> Tensor:
        field = self.in_type(x)
        return self.gated(self.gates(field), self.vectors(field)).tensor


def test_layers_of_several_fields_stay_in_their_network(tmp_path) -> None:
    model, x = soften(Gates(), 0.3).eval(), picture(nn.ReLU(regular))
    assert (plain(model)(x) - model(x)).abs().max() < 1e-5
    assert save_program(model, x, tmp_path / "model.onnx", "onnx") < 1e-5
    for module in (model.gated, nn.BranchingModule(mixed, ["a", "b", "b"])):
        with pytest.raises(NoPlainLayerError, match="Pass the network that holds it"):
            plain(module)


class Edges(torch.nn.Module):
    """A convolution over points between two non-linearities."""

    def __init__(self, conv: torch.nn.Module) -> None:
        super().__init__()
        self.first, self.conv, self.last = nn.ELU(POINTS), conv, nn.GroupPooling(POINTS)

    def forward(self, x: Tensor, coords: Tensor, edges: Tensor) -> Tensor:
        return self.last(self.conv(self.first(GeometricTensor(x, POINTS, coords)), edges)).tensor


def test_networks_over_points_are_written_with_the_convolution_inside() -> None:
    model = Edges(KINDS["SoftR2PointConv"]().conv).eval()
    inputs = torch.randn(4, POINTS.size), COORDS, EDGES
    network = plain(model)
    assert not isinstance(network.first, nn.ELU)
    assert torch.allclose(network(*inputs), model(*inputs), atol=1e-6)
    program = torch.export.export(network, inputs).module()
    assert torch.allclose(program(*inputs), model(*inputs), atol=1e-6)


@pytest.mark.parametrize("kind", POINT_KINDS)
def test_a_convolution_over_points_alone_is_refused(kind) -> None:
    layer = KINDS[kind]().conv
    for verb in (plain, projected, lambda layer: layer.export(), lambda layer: plain(harden(layer))):
        with pytest.raises(NoPlainLayerError, match=r"torch\.export|the network that holds it"):
            verb(layer)
    assert not hasattr(layer, "dense")


def test_a_norm_of_the_batch_alone_stays_and_is_not_written(tmp_path) -> None:
    norm = nn.InnerBatchNorm(mixed, track_running_stats=False).eval()
    x = picture(norm)
    assert torch.equal(plain(norm)(x), norm(mixed(x)).tensor)
    with pytest.raises(ArgumentError, match="difference"):
        save_program(norm, x, tmp_path / "norm.onnx", "onnx")
