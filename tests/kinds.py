"""Every kind of softness there is, one small model each, and what it makes of fixed numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from escnn import gspaces
from torch import Tensor
from torch.nn import Module

import escnn_soft as es
from escnn_soft.grading import TokenTable
from tests.workflows.carriers import CARRIERS, V, filled

SHAPES = gspaces.rot2dOnR2(4)
POINTS = SHAPES.type(SHAPES.regular_repr, SHAPES.trivial_repr)
EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
COORDS = torch.tensor([[0.3, 0.0], [1.0, 0.4], [-0.5, 0.8], [0.1, -0.9]])


class Points(Module):
    """A convolution over four points on the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = es.SoftR2PointConv(POINTS, POINTS, sigma=0.5, rings=[0.0, 1.0], frequencies_cutoff=2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(POINTS(x, COORDS.to(x)), EDGES).tensor


class Volume(Module):
    """Likewise in space."""

    def __init__(self) -> None:
        super().__init__()
        space = gspaces.octaOnR3()
        self.field = space.type(space.trivial_repr, space.irrep(1))
        arguments = {"sigma": 0.5, "rings": [0.0, 1.0], "frequencies_cutoff": 1.0}
        self.conv = es.SoftR3PointConv(self.field, self.field, **arguments)

    def forward(self, x: Tensor) -> Tensor:
        coords = torch.cat([COORDS, COORDS[:, :1]], dim=1)
        return self.conv(self.field(x, coords.to(x)), EDGES).tensor


class Table(Module):
    """A table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(1, 16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


@es.register_positions(Table)
def tables(module: Table) -> list[es.Position]:
    return [es.Position(module, "table", "table", TokenTable((1, 16, 3), 1, (4, 4)))]


def table() -> Module:
    return es.soften(Table(), 0.5, gspace=SHAPES)


def ranked() -> Module:
    fields = SHAPES.type(*[SHAPES.regular_repr] * 2)
    return es.SoftR2Conv(fields, fields, 3, softness=0.5, rank=2)


KINDS: dict[str, Callable[[], Module]] = {
    "SoftLinear": CARRIERS["Linear D4"],
    "SoftR2Conv, on the pixels": CARRIERS["R2Conv C4"],
    "SoftR2Conv, off the pixels": CARRIERS["R2Conv C8"],
    "SoftR2Conv, infinite": CARRIERS["R2Conv O(2)"],
    "SoftR2Conv of a rank": ranked,
    "SoftR2ConvTransposed": CARRIERS["R2ConvTransposed D4"],
    "SoftR3Conv": CARRIERS["R3Conv octahedral"],
    "SoftR3ConvTransposed": CARRIERS["R3ConvTransposed octahedral"],
    "SoftR3IcoConv": CARRIERS["R3IcoConv"],
    "SoftR3IcoConvTransposed": CARRIERS["R3IcoConvTransposed"],
    "SoftTensorProduct": CARRIERS["TensorProduct C4"],
    "SoftR2PointConv": Points,
    "SoftR3PointConv": Volume,
    "SoftMatrixLinear": CARRIERS["MatrixLinear"],
    "SoftMatrixBilinear": lambda: es.SoftMatrixBilinear(2 * V, V**2, factors=2 * V, softness=0.5),
    "filter, on the pixels": CARRIERS["filter C4"],
    "filter of fields, on the pixels": CARRIERS["filter C4 fields"],
    "filter, off the pixels": CARRIERS["filter C8"],
    "filter of fields, off the pixels": CARRIERS["filter C8 fields"],
    "table of positions": table,
    "ProjectedLayer": lambda: es.projected(filled(CARRIERS["R2Conv C4"]())),
}
POINT_KINDS = ("SoftR2PointConv", "SoftR3PointConv")
PLAIN = ("SoftMatrixLinear", "SoftMatrixBilinear", "table of positions", *(k for k in KINDS if k.startswith("filter")))
TWINS = tuple(kind for kind in KINDS if kind not in (*PLAIN, "ProjectedLayer"))


def example(model: Module) -> Any:
    """Fixed numbers of the shape that a model takes, with their type if it has one."""
    if isinstance(model, Table):
        shape, wrap = (1, 16, 3), lambda x: x
    elif hasattr(model, "conv"):
        shape, wrap = (4, model.conv.in_type.size), lambda x: x
    elif hasattr(model, "in_type"):
        dims = model.in_type.gspace.dimensionality
        sides = [3 if dims == 3 else 4] * dims
        shape, wrap = (1, model.in_type.size, *sides), model.in_type
    elif isinstance(model, torch.nn.Linear):
        shape, wrap = (2, model.in_features), lambda x: x
    elif hasattr(model, "in_representation"):
        shape, wrap = (2, model.in_representation.size), lambda x: x
    else:
        first = model if hasattr(model, "in_channels") else model.get_submodule("0")
        shape, wrap = (1, first.in_channels, 4, 4), lambda x: x
    steps = torch.arange(torch.Size(shape).numel(), dtype=torch.float32)
    return wrap(torch.sin(3 * steps + 1).view(shape))


def value(model: Module) -> Tensor:
    with torch.no_grad():
        y = model(example(model))
    return y if isinstance(y, Tensor) else y.tensor
