"""Networks of escnn's to convert."""

from __future__ import annotations

import torch
from escnn import group, gspaces, nn
from torch import Tensor

PLANE = gspaces.rot2dOnR2(8)
IMAGE = PLANE.type(*[PLANE.trivial_repr] * 3)
HIDDEN = PLANE.type(*[PLANE.regular_repr] * 3)
POINT = gspaces.no_base_space(group.cyclic_group(8))
VECTOR = POINT.type(*[POINT.regular_repr] * 2)
PICTURES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def sequential() -> nn.SequentialModule:
    """A few layers of each kind, all steerable ones with random weights and biases."""
    return randomised(
        nn.SequentialModule(
            nn.R2Conv(IMAGE, HIDDEN, kernel_size=5, padding=2),
            nn.InnerBatchNorm(HIDDEN),
            nn.ReLU(HIDDEN),
            nn.R2Conv(HIDDEN, HIDDEN, kernel_size=3, padding=1),
            nn.GroupPooling(HIDDEN),
        )
    )


class Classifier(torch.nn.Module):
    """Steerable and plain modules side by side, nested, with one convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.R2Conv(IMAGE, HIDDEN, kernel_size=3, padding=1, bias=False)
        self.body = torch.nn.ModuleList([nn.R2Conv(HIDDEN, HIDDEN, kernel_size=3, padding=1)])
        self.again = self.body[0]
        self.act = nn.ELU(HIDDEN)
        self.read = nn.Linear(VECTOR, VECTOR)
        self.head = torch.nn.Linear(VECTOR.size, 5)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.again(self.act(self.body[0](self.stem(IMAGE(x)))))).tensor.mean((2, 3))
        return self.head(self.read(VECTOR(h[:, : VECTOR.size])).tensor)


def randomised(model):
    """The model with random parameters and statistics."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for n, b in model.named_buffers() if "running_mean" in n)]:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 3)
    return model


def output(model, x: Tensor = PICTURES) -> Tensor:
    """What a model makes of pictures."""
    parameter = next(model.parameters())
    x = x.to(parameter)
    y = model(x if isinstance(model, Classifier) else IMAGE(x))
    return y if isinstance(y, Tensor) else y.tensor


OCTAHEDRAL = gspaces.octaOnR3()
VOLUME = OCTAHEDRAL.type(OCTAHEDRAL.trivial_repr, OCTAHEDRAL.irrep(1))
ICO = [gspaces.icoOnR3().type(gspaces.icoOnR3().irrep(i)) for i in (0, 1)]
HARD_LAYERS = {
    "R2Conv": lambda: nn.R2Conv(IMAGE, HIDDEN, 3),
    "R2Conv without bias": lambda: nn.R2Conv(IMAGE, HIDDEN, 3, bias=False),
    "R2ConvTransposed": lambda: nn.R2ConvTransposed(IMAGE, HIDDEN, 3),
    "R3Conv": lambda: nn.R3Conv(VOLUME, VOLUME, 3),
    "R3ConvTransposed": lambda: nn.R3ConvTransposed(VOLUME, VOLUME, 3),
    "R3IcoConv": lambda: nn.R3IcoConv(*ICO, 3, samples="ico"),
    "R3IcoConvTransposed": lambda: nn.R3IcoConvTransposed(*ICO, 3, samples="ico"),
    "Linear": lambda: nn.Linear(VECTOR, VECTOR),
    "TensorProductModule": lambda: nn.TensorProductModule(HIDDEN, HIDDEN),
}
"""Every kind of layer that has a soft twin."""
