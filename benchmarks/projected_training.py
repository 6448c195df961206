"""Claim: projected training takes at most 1.05 x the train step of a plain Conv2d network.

Three convolutions between C8-regular fields with ReLUs. Train step: forward, backward, step of SGD with momentum, and
for the projected network the projection. ``Cutoff`` is a true projection; a float also remembers the weights.
``--device cuda`` measures the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _harness import arguments, print_ratios, print_setting, side_by_side
from escnn import gspaces, nn

from escnn_soft import Cutoff, soften
from escnn_soft.convert import project_after_step, projected

CASES = [(8, 5, 32), (24, 3, 32), (24, 5, 32)]  # fields, kernel size, batch


def train_step(model: torch.nn.Module, x: torch.Tensor, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    def run() -> None:
        optimizer.zero_grad()
        y = model(x)
        (y if isinstance(y, torch.Tensor) else y.tensor).square().mean().backward()
        optimizer.step()

    return run


def measure(fields: int, kernel_size: int, batch: int, repeats: int, device: torch.device) -> None:
    space = gspaces.rot2dOnR2(8)
    field = space.type(*[space.regular_repr] * fields)
    geometry = {"kernel_size": kernel_size, "padding": kernel_size // 2}
    hard = nn.SequentialModule(
        *(m for _ in range(3) for m in (nn.R2Conv(field, field, **geometry, initialize=False), nn.ReLU(field)))
    )
    for conv in hard[::2]:
        torch.nn.init.normal_(conv.weights, std=0.1)
    plain = torch.nn.Sequential(
        *(m for _ in range(3) for m in (torch.nn.Conv2d(field.size, field.size, **geometry), torch.nn.ReLU()))
    )
    hard, plain = hard.to(device), plain.to(device)
    x = torch.randn(batch, field.size, 32, 32, device=device)
    sgd = {"lr": 1e-6, "momentum": 0.9}
    runs = {"Conv2d": train_step(plain, x, torch.optim.SGD(plain.parameters(), **sgd))}
    for softness in (0.0, Cutoff(1.0), 0.5):
        model = projected(soften(hard, softness))
        optimizer = torch.optim.SGD(model.parameters(), **sgd)
        project_after_step(model, optimizer)
        runs[f"projected, {softness}"] = train_step(model, field(x), optimizer)
    soft = soften(hard, 0.5)
    runs["soft, 0.5"] = train_step(soft, field(x), torch.optim.SGD(soft.parameters(), **sgd))
    print_ratios(side_by_side(runs, repeats), "Conv2d")


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("Train step of projected networks, 32 x 32, float32", options.threads, options.device)
    for fields, kernel_size, batch in CASES:
        print(f"3 convolutions of {fields} C8-regular fields ({8 * fields} channels), k = {kernel_size}, batch {batch}")
        measure(fields, kernel_size, batch, options.repeats, options.device)


if __name__ == "__main__":
    main()
