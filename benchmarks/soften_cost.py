"""Claim: softening a network of 64 C8-regular fields, k = 5, takes under 0.3 s a layer, and draws no weight anew.

escnn's own construction and initialisation of one such layer stand beside it. What all layers of a kind share is built once;
the first call of a process pays for it, and is printed by itself.
"""

from __future__ import annotations

import time

from _harness import arguments, print_setting, side_by_side
from escnn import gspaces, nn
from escnn.nn.init import generalized_he_init
from torch import nn as plain

from escnn_soft import soften

FIELDS, KERNEL, LAYERS = 64, 5, 4


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting(f"Softening {LAYERS} layers, {FIELDS} C8-regular fields, k = {KERNEL}", options.threads)
    space = gspaces.rot2dOnR2(8)
    field = space.type(*[space.regular_repr] * FIELDS)

    def layer() -> nn.R2Conv:
        return nn.R2Conv(field, field, KERNEL, padding=KERNEL // 2, initialize=False)

    model = plain.Sequential(*[layer() for _ in range(LAYERS)])
    start = time.perf_counter()
    soften(model, 0.5)
    print(f"  {'first call, a layer':<44}{(time.perf_counter() - start) / LAYERS:>10.3f} s")
    weights, basis = model[0].weights.data, model[0].basisexpansion
    runs = {
        "soften, a layer": lambda: soften(model, 0.5),
        "escnn's construction, a layer": lambda: [layer() for _ in range(LAYERS)],
        "escnn's initialisation, a layer": lambda: generalized_he_init(
            hard.weights.data, hard.basisexpansion, cache=False
        ),
    }
    for name, seconds in side_by_side(runs, min(options.repeats, 3)).items():
        layers = 1 if name.startswith("escnn's initialisation") else LAYERS
        print(f"  {name:<44}{sorted(seconds)[len(seconds) // 2] / layers:>10.3f} s")


if __name__ == "__main__":
    main()
