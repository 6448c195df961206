"""Claim: a step of LayerwiseAdam takes at most 1.3 x as long as torch's fused Adam, on 10 million parameters.

Also, for orientation: torch's Adam as it is by default, LayerwiseAdam with ordinary moments of strict weights, and
DampedMuon. ``--device cuda`` measures the same on a GPU.
"""

from __future__ import annotations

import torch
from _harness import arguments, print_ratios, print_setting, side_by_side
from escnn import gspaces

from escnn_soft import SoftR2Conv
from escnn_soft.training import DampedMuon, LayerwiseAdam

ROTATIONS, FIELDS, LAYERS = 8, 24, 11  # 192 channels, 5 x 5: 0.92 million parameters a layer
MUON = 5  # its steps are slower: one in so many repetitions is enough


def network(device: torch.device) -> torch.nn.Module:
    """Soft convolutions with gradients; none is run."""
    space = gspaces.rot2dOnR2(ROTATIONS)
    field = space.type(*[space.regular_repr] * FIELDS)
    layers = [SoftR2Conv(field, field, 5, softness=1.0, initialize=False) for _ in range(LAYERS)]
    model = torch.nn.Sequential(*layers).to(device)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.01)
        parameter.grad = torch.randn_like(parameter)
    return model


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("A step of the optimiser, float32", options.threads, options.device)
    model = network(options.device)
    parameters = list(model.parameters())
    print(f"{LAYERS} SoftR2Conv, {sum(p.numel() for p in parameters) / 1e6:.1f} million parameters")
    optimizers: dict[str, torch.optim.Optimizer] = {
        "torch.optim.Adam, fused": torch.optim.Adam(parameters, lr=1e-5, fused=True),
        "torch.optim.Adam": torch.optim.Adam(parameters, lr=1e-5),
        "LayerwiseAdam": LayerwiseAdam(model, lr=1e-5),
        "LayerwiseAdam, strict='adam'": LayerwiseAdam(model, lr=1e-5, strict="adam"),
    }
    seconds = side_by_side({name: optimizer.step for name, optimizer in optimizers.items()}, options.repeats)
    print_ratios(seconds, "torch.optim.Adam, fused")
    del optimizers["LayerwiseAdam, strict='adam'"], optimizers["torch.optim.Adam"], optimizers["LayerwiseAdam"]
    optimizers["DampedMuon"] = DampedMuon(model, lr=1e-5)
    seconds = side_by_side({name: o.step for name, o in optimizers.items()}, max(1, options.repeats // MUON))
    print_ratios(seconds, "torch.optim.Adam, fused")


if __name__ == "__main__":
    main()
