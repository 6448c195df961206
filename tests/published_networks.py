"""escnn's published examples, narrow, and written with the habits of their code.

What ``tests/examples/networks.py`` rebuilds from modules alone is here with what stands between modules in the
originals: functions of torch on ``.tensor``, shapes read off an activation, sums in place, plain functions as skip
connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from escnn import group, gspaces, nn
from escnn.group import Representation, directsum
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """A network of escnn's examples.

    Attributes:
        model: in evaluation mode, with statistics of its own.
        in_type: type of its input.
        shape: of one input, channels first; every element that moves pixels onto pixels keeps the network's windows
            centred on it.
        typed: whether the model takes a field, or a plain tensor that it gives the type itself.
    """

    model: torch.nn.Module
    in_type: FieldType
    shape: tuple[int, ...]
    typed: bool

    def input(self, samples: int = 2) -> GeometricTensor | Tensor:
        """Random inputs as the model takes them."""
        x = torch.randn(samples, *self.shape)
        return self.in_type(x) if self.typed else x


# ---------------------------------------------------------------------- the Wide ResNet


def _sharp(field: FieldType, out: FieldType, kernel: int, stride: int = 1) -> nn.R2Conv:
    frequencies = {"sigma": None, "frequencies_cutoff": lambda r: 3 * r}
    return nn.R2Conv(field, out, kernel, padding=kernel // 2, stride=stride, bias=False, **frequencies)


class WideBlock(nn.EquivariantModule):
    """Two convolutions, normalised and rectified before each; the sum with the skip connection is taken in place."""

    def __init__(self, in_type: FieldType, inner: FieldType, out_type: FieldType, stride: int) -> None:
        super().__init__()
        assert isinstance(in_type.gspace, GSpace2D)
        self.in_type, self.out_type = in_type, out_type
        kernel = 3 if in_type.gspace.rotations_order in (0, 2, 4) else 5
        self.norm1, self.relu1 = nn.InnerBatchNorm(in_type), nn.ReLU(in_type, inplace=True)
        self.conv1 = _sharp(in_type, inner, kernel)
        self.norm2, self.relu2 = nn.InnerBatchNorm(inner), nn.ReLU(inner, inplace=True)
        self.dropout = nn.PointwiseDropout(inner, p=0.3)
        self.conv2 = _sharp(inner, out_type, kernel, stride)
        self.shortcut = _sharp(in_type, out_type, 1, stride) if stride > 1 or in_type != out_type else None

    def forward(self, x: GeometricTensor) -> GeometricTensor:
        active = self.relu1(self.norm1(x))
        out = self.dropout(self.relu2(self.norm2(self.conv1(active))))
        out = self.conv2(out)
        out += x if self.shortcut is None else self.shortcut(active)
        return out

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape if self.shortcut is None else self.shortcut.evaluate_output_shape(input_shape)


class WideResNet(torch.nn.Module):
    """Stages of ever fewer rotations, ending in scalars; the mean by a window as large as the image."""

    def __init__(self, rotations: tuple[int, int, int], widths: tuple[int, ...], blocks: int = 1) -> None:
        super().__init__()
        space = gspaces.flipRot2dOnR2(rotations[0])
        self.in_type = FieldType(space, [space.trivial_repr] * 3)
        field = FieldType(space, [space.regular_repr] * widths[0])
        self.conv1 = _sharp(self.in_type, field, 5)
        self.restrictions: list[Callable[[GeometricTensor], GeometricTensor]] = []
        for stage, (order, width) in enumerate(zip(rotations, widths[1:], strict=True)):
            restriction: Callable[[GeometricTensor], GeometricTensor] = lambda x: x  # noqa: E731  as in the original
            if stage and order != rotations[stage - 1]:
                subgroup = nn.RestrictionModule(field, (0, order))
                restriction = nn.SequentialModule(subgroup, nn.DisentangleModule(subgroup.out_type))
                field = restriction.out_type
                self.add_module(f"restrict{stage}", restriction)
            self.restrictions.append(restriction)
            space, layers = field.gspace, []
            for block in range(blocks):
                inner = FieldType(space, [space.regular_repr] * width)
                last = stage == len(rotations) - 1 and block == blocks - 1
                out = FieldType(space, [space.trivial_repr] * (4 * width)) if last else inner
                layers.append(WideBlock(field, inner, out, 2 if stage and not block else 1))
                field = out
            self.add_module(f"layer{stage + 1}", nn.SequentialModule(*layers))
        self.bn, self.relu = nn.InnerBatchNorm(field, momentum=0.9), nn.ReLU(field, inplace=True)
        self.linear = torch.nn.Linear(field.size, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(GeometricTensor(x, self.in_type))
        for stage, restriction in enumerate(self.restrictions):
            out = self.get_submodule(f"layer{stage + 1}")(restriction(out))
        out = self.relu(self.bn(out)).tensor
        _, _, height, width = out.shape
        out = F.avg_pool2d(out, (height, width))
        out = out.view(out.size(0), -1)
        return self.linear(out)


# ---------------------------------------------------------------------- the notebooks


class SteerableCNN(torch.nn.Module):
    """The notebook on models: regular fields of eight rotations, blurred, and the strongest orientation."""

    def __init__(self, widths: tuple[int, ...] = (2, 3, 3, 4, 4, 3), size: int = 29) -> None:
        super().__init__()
        space = gspaces.rot2dOnR2(N=8)
        self.input_type = field = FieldType(space, [space.trivial_repr])
        for i, width in enumerate(widths):
            out = FieldType(space, width * [space.regular_repr])
            mask = [nn.MaskModule(field, size, margin=1)] if i == 0 else []
            kernel, padding = (7, 1) if i == 0 else (5, 1 if i == len(widths) - 1 else 2)
            conv = nn.R2Conv(field, out, kernel_size=kernel, padding=padding, bias=False)
            block = nn.SequentialModule(*mask, conv, nn.InnerBatchNorm(out), nn.ReLU(out, inplace=True))
            self.add_module(f"block{i + 1}", block)
            field = out
            if i % 2 and i < len(widths) - 1:
                pool = nn.SequentialModule(nn.PointwiseAvgPoolAntialiased(field, sigma=0.66, stride=2))
                self.add_module(f"pool{i // 2 + 1}", pool)
        self.last_pool = nn.PointwiseAvgPoolAntialiased(field, sigma=0.66, stride=1, padding=0)
        self.gpool = nn.GroupPooling(field)
        self.fully_net = torch.nn.Sequential(
            torch.nn.Linear(self.gpool.out_type.size, 8), torch.nn.BatchNorm1d(8), torch.nn.ELU(inplace=True),
            torch.nn.Linear(8, 10),
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        x = GeometricTensor(input, self.input_type)
        for name, part in self.named_children():
            if name != "fully_net":
                x = part(x)
        x = x.tensor
        return self.fully_net(x.reshape(x.shape[0], -1))


def introduction() -> nn.SequentialModule:
    """The hands-on tutorial's stack of convolutions between regular fields of quarter turns."""
    space = gspaces.rot2dOnR2(N=4)
    image = FieldType(space, [space.trivial_repr])
    hidden, out = FieldType(space, 3 * [space.regular_repr]), FieldType(space, 2 * [space.regular_repr])
    return nn.SequentialModule(
        nn.R2Conv(image, hidden, kernel_size=3), nn.InnerBatchNorm(hidden), nn.ReLU(hidden, inplace=True),
        nn.R2Conv(hidden, hidden, kernel_size=3), nn.InnerBatchNorm(hidden), nn.ReLU(hidden, inplace=True),
        nn.R2Conv(hidden, out, kernel_size=3),
    )  # fmt: skip


Activation = Callable[[int, int], nn.EquivariantModule]


class MLP(nn.EquivariantModule):
    """The notebook on MLPs: linear maps, batch norms and sampled non-linearities of functions on a group or sphere."""

    def __init__(self, space: gspaces.GSpace, vector: Representation, out: Representation, act: Activation) -> None:
        super().__init__()
        self.in_type, self.out_type = space.type(vector), space.type(out)
        layers: list[nn.EquivariantModule] = []
        field = self.in_type
        for channels, frequency in ((2, 1), (3, 2)):
            activation = act(channels, frequency)
            block = nn.SequentialModule(
                nn.Linear(field, activation.in_type), nn.IIDBatchNorm1d(activation.in_type), activation
            )
            layers.append(block)
            field = activation.out_type
        self.block1, self.block2 = layers
        self.block3 = nn.Linear(field, self.out_type)

    def forward(self, x: GeometricTensor) -> GeometricTensor:
        assert x.type == self.in_type
        return self.block3(self.block2(self.block1(x)))

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*input_shape[:1], self.out_type.size)


def so3_mlp() -> MLP:
    """Functions on the sphere, rectified on points spread evenly over it, that no rotation permutes."""
    so3 = group.so3_group()
    space = gspaces.no_base_space(so3)

    def activation(channels: int, frequency: int) -> nn.EquivariantModule:
        irreps = so3.bl_sphere_representation(L=frequency).irreps
        grid = so3.sphere_grid(type="thomson", N=16 * frequency)
        return nn.QuotientFourierELU(space, (False, -1), channels, irreps=irreps, grid=grid, inplace=True)

    return MLP(space, so3.standard_representation(), so3.irrep(2), activation)


def so2_mlp() -> MLP:
    """Functions on the circle, rectified on equally spaced points."""
    so2 = group.so2_group()
    space = gspaces.no_base_space(so2)

    def activation(channels: int, frequency: int) -> nn.EquivariantModule:
        irreps = so2.bl_regular_representation(L=frequency).irreps
        return nn.FourierELU(space, channels, irreps=irreps, inplace=True, type="regular", N=6 * frequency)

    return MLP(space, so2.standard_representation(), so2.irrep(2), activation)


def so3_tensor_mlp() -> nn.SequentialModule:
    """Tensor products in the place of sampled non-linearities; one field, as escnn's fail on several in a batch."""
    so3 = group.so3_group()
    space = gspaces.no_base_space(so3)
    vector, sphere = space.type(so3.standard_representation()), space.type(so3.bl_sphere_representation(L=2))
    second = space.type(so3.irrep(2))
    return nn.SequentialModule(
        nn.IIDBatchNorm1d(vector), nn.TensorProductModule(vector, sphere),
        nn.Linear(sphere, sphere), nn.IIDBatchNorm1d(sphere), nn.TensorProductModule(sphere, second),
        nn.Linear(second, second),
    )  # fmt: skip


# ---------------------------------------------------------------------- in space


def octahedral() -> nn.SequentialModule:
    """One convolution into regular fields of the cube's rotations, and a ReLU."""
    space = gspaces.octaOnR3()
    field = FieldType(space, [space.regular_repr])
    return nn.SequentialModule(nn.R3Conv(FieldType(space, [space.trivial_repr]), field, kernel_size=3), nn.ReLU(field))


class SpatialBlock(nn.EquivariantModule):
    """Tensor fields, to functions on SO(3) that are rectified on samples, and back; a blurred skip connection."""

    def __init__(self, in_type: FieldType, out_type: FieldType, channels: int) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        space = in_type.gspace
        activation = nn.FourierELU(
            space, channels, irreps=space.fibergroup.bl_irreps(1), inplace=True, type="thomson_cube", N=1
        )
        inner = activation.in_type
        self.res_block = nn.SequentialModule(
            nn.R3Conv(in_type, inner, kernel_size=3, padding=1, bias=False, initialize=False),
            nn.IIDBatchNorm3d(inner, affine=True), activation,
            nn.R3Conv(inner, out_type, kernel_size=3, padding=1, stride=2, bias=False, initialize=False),
        )  # fmt: skip
        self.downsample = nn.PointwiseAvgPoolAntialiased3D(in_type, 0.33, 2, 1)
        same = in_type == out_type
        self.skip = (lambda x: x) if same else nn.R3Conv(in_type, out_type, kernel_size=1, bias=False)

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        assert input.type == self.in_type
        return self.skip(self.downsample(input)) + self.res_block(input)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.res_block.evaluate_output_shape(input_shape)


class SE3CNN(torch.nn.Module):
    """The rotation-equivariant network on volumes, invariant at a single voxel, with a plain classifier."""

    def __init__(self) -> None:
        super().__init__()
        space = gspaces.rot3dOnR3()
        so3 = space.fibergroup
        self.in_type = FieldType(space, [space.trivial_repr])
        vector = so3.irrep(1)
        second = directsum([space.trivial_repr, vector, vector.tensor(vector)], name="polynomial_2")
        types = [FieldType(space, [second]), FieldType(space, [second] * 2)]
        pool = nn.QuotientFourierELU(
            space, (False, -1), 4, irreps=so3.bl_irreps(2), out_irreps=so3.bl_irreps(0),
            grid=so3.sphere_grid(type="thomson_cube", N=1),
        )  # fmt: skip
        self.blocks = nn.SequentialModule(
            nn.R3Conv(self.in_type, types[0], kernel_size=5, padding=2, bias=False, initialize=False),
            *[SpatialBlock(a, b, 1) for a, b in pairwise(types)],
            nn.R3Conv(types[-1], pool.in_type, kernel_size=3, padding=0, bias=False, initialize=False), pool,
        )  # fmt: skip
        self.classifier = torch.nn.Sequential(
            torch.nn.Linear(pool.out_type.size, 8, bias=False), torch.nn.BatchNorm1d(8, affine=True),
            torch.nn.ELU(inplace=True), torch.nn.Dropout(0.1), torch.nn.Linear(8, 10),
        )  # fmt: skip
        for module in self.blocks.modules():
            if isinstance(module, nn.R3Conv):
                module.weights.data[:] = 0.3 * torch.randn_like(module.weights)

    def forward(self, input: Tensor) -> Tensor:
        features = self.blocks(GeometricTensor(input, self.in_type))
        shape = features.shape
        return self.classifier(features.tensor.reshape(shape[0], shape[1]))


# ---------------------------------------------------------------------- all of them


def _of(model: torch.nn.Module, in_type: FieldType, *sizes: int, typed: bool) -> Published:
    return Published(_settled(model, in_type, sizes, typed), in_type, (in_type.size, *sizes), typed)


@torch.no_grad()
def _settled(model: torch.nn.Module, in_type: FieldType, sizes: tuple[int, ...], typed: bool) -> torch.nn.Module:
    """A few batches through the model in training mode, for the statistics of its batch norms."""
    model.train()
    for _ in range(3):
        x = torch.randn(8, in_type.size, *sizes)
        model(in_type(x) if typed else x)
    return model.eval()


def _wide(rotations: tuple[int, int, int], widths: tuple[int, ...]) -> Published:
    model = WideResNet(rotations, widths)
    return _of(model, model.in_type, 17, 17, typed=False)


def _steerable() -> Published:
    model = SteerableCNN()
    return _of(model, model.input_type, 29, 29, typed=False)


def _typed(model: nn.EquivariantModule, *sizes: int) -> Published:
    return _of(model, model.in_type, *sizes, typed=True)


def _se3() -> Published:
    model = SE3CNN()
    return _of(model, model.in_type, 5, 5, 5, typed=False)


PUBLISHED: dict[str, Callable[[], Published]] = {
    "Wide ResNet D8 D4 D1": lambda: _wide((8, 4, 1), (1, 1, 1, 2)),
    "Wide ResNet D4": lambda: _wide((4, 4, 4), (1, 2, 2, 1)),
    "steerable CNN": _steerable,
    "introduction": lambda: _typed(introduction(), 13, 13),
    "SO(3) MLP": lambda: _typed(so3_mlp()),
    "SO(3) MLP of tensor products": lambda: _typed(so3_tensor_mlp()),
    "SO(2) MLP": lambda: _typed(so2_mlp()),
    "octahedral CNN": lambda: _typed(octahedral(), 5, 5, 5),
    "SE(3) CNN": _se3,
}
"""Builders by name: each makes a new network with random weights, from torch's seed."""
