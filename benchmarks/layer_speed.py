"""Claim: a soft convolution trains at most 1.25 x as slowly as a plain one of the same size, 1.02 x an R2Conv at 0.

Also: in evaluation mode 1.02 x ``torch.nn.Conv2d``. Train step: forward, sum of squares, backward.
``--device cuda`` measures the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _harness import arguments, print_ratios, print_setting, side_by_side
from escnn import gspaces
from escnn.nn import FieldType, GeometricTensor, R2Conv

from escnn_soft import SoftR2Conv

CASES = [(16, 24, 7), (8, 24, 5), (8, 8, 3)]  # rotations, fields, kernel size


def train_step(layer: torch.nn.Module, x: torch.Tensor | GeometricTensor) -> Callable[[], None]:
    def run() -> None:
        for parameter in layer.parameters():
            parameter.grad = None
        y = layer(x)
        (y.tensor if isinstance(y, GeometricTensor) else y).square().sum().backward()

    return run


def evaluation(layer: torch.nn.Module, x: torch.Tensor | GeometricTensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def measure(field: FieldType, kernel_size: int, repeats: int, device: torch.device) -> None:
    geometry = {"kernel_size": kernel_size, "padding": kernel_size // 2}
    dense = torch.nn.Conv2d(field.size, field.size, **geometry)
    hard = R2Conv(field, field, **geometry, initialize=False)
    layers = {s: SoftR2Conv(field, field, **geometry, softness=s) for s in (0.0, 0.5, 1.0)}
    hard.load_state_dict(layers[0.0].state_dict(), strict=False)
    for layer in (dense, hard, *layers.values()):
        layer.to(device)
    x = torch.randn(8, field.size, 32, 32, device=device)
    fx = field(x)

    runs = {"Conv2d, train step": train_step(dense, x), "R2Conv, train step": train_step(hard, fx)}
    runs |= {f"SoftR2Conv at {s}, train step": train_step(layer, fx) for s, layer in layers.items()}
    seconds = side_by_side(runs, repeats)
    print("  relative to Conv2d")
    print_ratios(seconds, "Conv2d, train step")
    print("  relative to R2Conv")
    print_ratios({k: v for k, v in seconds.items() if "Soft" not in k or "0.0" in k}, "R2Conv, train step")

    dense.eval(), layers[1.0].eval()
    runs = {"Conv2d, eval": evaluation(dense, x), "SoftR2Conv, eval": evaluation(layers[1.0], fx)}
    print_ratios(side_by_side(runs, 2 * repeats), "Conv2d, eval")


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("Speed of SoftR2Conv, batch 8, 32 x 32, float32", options.threads, options.device)
    for rotations, fields, kernel_size in CASES:
        space = gspaces.rot2dOnR2(rotations)
        field = space.type(*[space.regular_repr] * fields)
        print(f"{fields} C{rotations}-regular fields ({field.size} channels), k = {kernel_size}")
        measure(field, kernel_size, options.repeats, options.device)


if __name__ == "__main__":
    main()
