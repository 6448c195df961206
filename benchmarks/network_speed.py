"""Claim: a whole soft network trains at little more than the cost of the strict one; a plain one at that of the plain.

Train step: forward, cross entropy, backward, 28 x 28 or 64 x 64 pixels. A C8 network of five convolutions, one of
residual blocks and timm's ResNet-18 are softened by ``soften`` and compared with themselves, unsoftened.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from _harness import arguments, print_setting, ratios, side_by_side
from _torchvision import make_torchvision_importable
from escnn import gspaces, nn

from escnn_soft import Budget, Exponential, soften

STOPS = {"softness 0": 0.0, "0.3": 0.3, "1": 1.0, "Exponential(0.3)": Exponential(0.3), "Budget(0.1)": Budget(0.1)}


class Fields(torch.nn.Module):
    """Tensors in, invariants out, fields between.

    Args:
        body: from one scalar field to regular fields.
        classes: of the output.
    """

    def __init__(self, body: nn.SequentialModule, classes: int) -> None:
        super().__init__()
        self.body, self.pool = body, nn.GroupPooling(body.out_type)
        self.head = torch.nn.Linear(self.pool.out_type.size, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.head(self.pool(self.body(self.body.in_type(x))).tensor.mean((2, 3)))


class Block(nn.EquivariantModule):
    """Two convolutions beside nothing."""

    def __init__(self, field: nn.FieldType) -> None:
        super().__init__()
        self.in_type = self.out_type = field
        self.first, self.second = (convolution(field, field, 3) for _ in range(2))

    def forward(self, x: nn.GeometricTensor) -> nn.GeometricTensor:
        """x and its correction."""
        return x + self.second(self.first(x))

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        return input_shape


def convolution(in_type: nn.FieldType, out_type: nn.FieldType, kernel_size: int) -> nn.SequentialModule:
    """Convolution, batch norm, ReLU."""
    conv = nn.R2Conv(in_type, out_type, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.SequentialModule(conv, nn.InnerBatchNorm(out_type), nn.ReLU(out_type, inplace=True))


def plain_stack() -> Fields:
    """Five convolutions."""
    space = gspaces.rot2dOnR2(8)
    types = [space.type(space.trivial_repr), *(space.type(*[space.regular_repr] * n) for n in (4, 8, 8, 12, 12))]
    layers = [convolution(a, b, 5 if i < 2 else 3) for i, (a, b) in enumerate(pairwise(types))]
    return Fields(nn.SequentialModule(*layers), 10)


def residual() -> Fields:
    """A stem and four residual blocks."""
    space = gspaces.rot2dOnR2(8)
    field = space.type(*[space.regular_repr] * 8)
    stem = convolution(space.type(space.trivial_repr), field, 5)
    return Fields(nn.SequentialModule(stem, *(Block(field) for _ in range(4))), 10)


def train_step(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()

    return run


def measure(name: str, hard: torch.nn.Module, x: torch.Tensor, repeats: int, **options: object) -> None:
    """Print one line."""
    y = torch.randint(10, (len(x),))
    models = {"hard": hard} | {stop: soften(copy.deepcopy(hard), s, **options) for stop, s in STOPS.items()}
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(1e-2 * torch.randn_like(parameter))
    found = ratios(side_by_side({n: train_step(m.train(), x, y) for n, m in models.items()}, repeats), "hard")
    print(f"  {name:<34}" + "".join(f"{found[stop]:>18.2f}" for stop in STOPS), flush=True)


def main() -> None:
    options = arguments(__doc__ or "")
    torch.manual_seed(0)
    print_setting("Train step of whole networks, float32, relative to the same network hard", options.threads)
    print(f"  {'network':<34}" + "".join(f"{stop:>18}" for stop in STOPS))
    for batch in (8, 64):
        measure(f"C8, five convolutions, batch {batch}", plain_stack(), torch.randn(batch, 1, 28, 28), options.repeats)
        measure(f"C8, residual, batch {batch}", residual(), torch.randn(batch, 1, 28, 28), options.repeats)
    make_torchvision_importable()  # which timm needs
    import timm

    resnet = timm.create_model("resnet18", num_classes=10)
    space = gspaces.flipRot2dOnR2(4)
    measure("ResNet-18 under D4, batch 8", resnet, torch.randn(8, 3, 64, 64), options.repeats, gspace=space)


if __name__ == "__main__":
    main()
