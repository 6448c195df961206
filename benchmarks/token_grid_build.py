"""How long equivariant filters on token grids take to build and to apply, and what they keep.

    python benchmarks/token_grid_build.py [--threads 2] [--repeats 15]

Tables of positions have 384 columns. For maps from a grid to itself (C_4, D_4) the equivariant level is checked: its
dimension is the number of orbits of pairs of tokens, counted one by one up to 32 x 32, and the residual is
max_g ||g W g^-1 - W|| / ||W|| of a random filtered W in double precision. Maps between grids of 64 x 64 tokens have
16.8 million weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from _harness import arguments, print_setting
from escnn import gspaces
from torch import Tensor

from escnn_soft import TokenShifts
from escnn_soft.grading import GradedPermutation, TokenTable, token_maps, token_permutations, token_spectrum
from escnn_soft.grading.positions import shifts, tokens
from escnn_soft.grading.positions import token_rings as rings

SIDES = (7, 8, 14, 16, 32, 64)
COLUMNS = 384
SPACES = {"C4": gspaces.rot2dOnR2(4), "D4": gspaces.flipRot2dOnR2(4)}
SYMMETRIES = {**SPACES, "C8": gspaces.rot2dOnR2(8), "SO(2)": gspaces.rot2dOnR2(-1), "shifts": TokenShifts()}


def cold() -> None:
    """Forget what layers of one model share, so that every repetition builds anew."""
    for remembered in (tokens._permutations, rings._fitted, shifts._waves, shifts._torus):
        remembered.cache_clear()


def median_seconds(run: Callable[[], object], repeats: int, before: Callable[[], None] = lambda: None) -> float:
    """The median over some repetitions, the first left out."""
    seconds = []
    for _ in range(repeats + 1):
        before()
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def orbits(space: str, side: int) -> int:
    """Pairs of tokens up to the group: those that no element sends to a smaller one."""
    source, n = token_permutations(SPACES[space], (side, side)).source, side * side
    smallest = torch.arange(n * n)
    for row in source:
        smallest = torch.minimum(smallest, (row[:, None] * n + row).flatten())
    return int((smallest == torch.arange(n * n)).sum())


def residual(graded: GradedPermutation, weight: Tensor) -> float:
    """max_g ||g W g^-1 - W|| / ||W||."""
    moved = (weight[row][:, row] for row in graded.rows.source)
    return max(float((m - weight).norm() / weight.norm()) for m in moved)


def maps(name: str, side: int, repeats: int) -> str:
    """One line on the maps from a grid to itself."""
    sides = side, side
    build = median_seconds(lambda: token_maps(SPACES[name], sides, sides), repeats, cold)
    graded = token_maps(SPACES[name], sides, sides)
    weight, strict = torch.randn(side**2, side**2, dtype=torch.float64), (graded.dial == 0).double()
    apply = median_seconds(lambda: graded.filtered(weight, strict), repeats if side <= 32 else 1)
    counted = f"{orbits(name, side):>15,}" if side <= 32 else " " * 15
    left = residual(graded, graded.filtered(weight, strict))
    return (
        f"  {name:<6}{f'{side} x {side}':<16}{1e3 * build:>12.2f} ms{1e3 * apply:>9.1f} ms"
        f"{graded.levels[0].dim:>14,}{counted}{left:>12.1e}"
    )


def tables(name: str, side: int, repeats: int) -> str:
    """One line on a table of positions."""
    table = TokenTable((1, side * side + 1, COLUMNS), axis=1, sides=(side, side), before=1)
    build = median_seconds(lambda: token_spectrum(SYMMETRIES[name], table), repeats, cold)
    graded = token_spectrum(SYMMETRIES[name], table).to(torch.device("cpu"), torch.float32)
    weight, strict = torch.randn(table.shape), (graded.dial == 0).float()
    apply = median_seconds(lambda: graded.filtered(weight, strict), repeats)
    return f"  {name:<8}{f'{side} x {side}':<30}{1e3 * build:>20.2f} ms{1e3 * apply:>9.1f} ms{len(graded.levels):>12}"


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("Filters on token grids", options.threads)
    print("maps from a grid to itself       build       apply   equivariant         orbits    residual")
    for name in SPACES:
        for side in SIDES:
            print(maps(name, side, options.repeats), flush=True)
    print(f"\ntables of positions, {COLUMNS} columns and a class token          build       apply      levels")
    for name in SYMMETRIES:
        for side in SIDES:
            print(tables(name, side, min(options.repeats, 5)), flush=True)


if __name__ == "__main__":
    main()
