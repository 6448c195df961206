"""Claim: softening a network of 64 C8-regular fields, k = 5, takes under 0.3 s a layer.

escnn's own construction and initialisation of one such layer stand beside it. What layers of a kind share is built
once: the first call of a process pays for it, and is printed by itself.
"""

from __future__ import annotations

import time

import torch
from _harness import arguments, print_setting, side_by_side
from escnn import gspaces, nn
from escnn.nn.init import generalized_he_init

from escnn_soft import soften

FIELDS, KERNEL, LAYERS = 64, 5, 4


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting(f"Softening {LAYERS} layers, {FIELDS} C8-regular fields, k = {KERNEL}", options.threads)
    space = gspaces.rot2dOnR2(8)
    field = space.type(*[space.regular_repr] * FIELDS)

    def network() -> torch.nn.Sequential:
        layers = [nn.R2Conv(field, field, KERNEL, padding=KERNEL // 2, initialize=False) for _ in range(LAYERS)]
        return torch.nn.Sequential(*layers)

    model = network()
    weights, basis = model[0].weights.data, model[0].basisexpansion
    start = time.perf_counter()
    soften(model, 0.5)
    rows = {"soften, the first call": ([time.perf_counter() - start], LAYERS)}
    runs = {"soften": lambda: soften(model, 0.5), "escnn's construction without initialisation": network}
    rows |= {name: (seconds, LAYERS) for name, seconds in side_by_side(runs, options.repeats).items()}
    initialisation = {"escnn's initialisation": lambda: generalized_he_init(weights, basis, cache=False)}
    rows |= {name: (seconds, 1) for name, seconds in side_by_side(initialisation, 1).items()}
    for name, (seconds, layers) in rows.items():
        print(f"  {name:<44}{sorted(seconds)[len(seconds) // 2] / layers:>8.3f} s a layer")


if __name__ == "__main__":
    main()
