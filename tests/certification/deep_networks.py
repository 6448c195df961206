"""Deep networks whose bound, layer by layer, is far from what they do."""

from __future__ import annotations

import torch
from escnn import gspaces, nn

from escnn_soft import SoftR2Conv

SPACE = gspaces.rot2dOnR2(4)
IMAGE = SPACE.type(SPACE.trivial_repr)
HIDDEN = SPACE.type(*[SPACE.regular_repr] * 4)


def deep(depth: int, softness: float) -> nn.SequentialModule:
    """Convolutions with soft parts as large as their strict ones, batch norms with statistics, and ReLUs."""
    layers, field = [], IMAGE
    for _ in range(depth):
        conv = SoftR2Conv(field, HIDDEN, 3, padding=1, softness=softness)
        torch.nn.init.normal_(conv.soft_weights, std=float(conv.weights.detach().std()))
        layers += [conv, nn.InnerBatchNorm(HIDDEN), nn.ReLU(HIDDEN)]
        field = HIDDEN
    model = nn.SequentialModule(*layers).train()
    with torch.no_grad():
        for _ in range(20):
            model(IMAGE(torch.randn(16, 1, 17, 17)))
    return model.eval().requires_grad_(False)
