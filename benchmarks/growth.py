"""Claim: time and memory of a soft train step grow no faster than those of the convolution.

Layers of which one number grows: channels, kernel size, rotations (regular fields of cyclic groups) and frequency
(regular fields of SO(2), up to a frequency). Train step at batch 8 on 32 x 32 pixels: the exponent of a power law by
least squares in the logarithms, for the plain convolution, escnn's layer and the soft one; and the most memory that a
step takes beside what is there before it, the parameters' gradients included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from _harness import print_setting, side_by_side
from escnn import gspaces
from escnn.nn import FieldType, R2Conv
from layer_speed import train_step
from torch.profiler import ProfilerActivity, profile

from escnn_soft import SoftR2Conv

SOFTNESS = 0.3


def regular(rotations: int, fields: int) -> FieldType:
    """Regular fields of a cyclic group."""
    space = gspaces.rot2dOnR2(rotations)
    return space.type(*[space.regular_repr] * fields)


def band_limited(frequency: int) -> FieldType:
    """Regular fields of SO(2), up to a frequency: 2 frequency + 1 channels each."""
    space = gspaces.rot2dOnR2(-1, maximum_frequency=frequency)
    return space.type(*[space.fibergroup.bl_regular_representation(frequency)] * 8)


SERIES: dict[str, tuple[Sequence[int], Callable[[int], tuple[FieldType, int]]]] = {
    "channels (C8, k 3)": ((32, 64, 128, 256), lambda n: (regular(8, n // 8), 3)),
    "kernel size (C8, 64 channels)": ((3, 5, 7, 9), lambda n: (regular(8, 8), n)),
    "rotations (64 channels, k 5)": ((2, 4, 8, 16), lambda n: (regular(n, 64 // n), 5)),
    "frequency (SO(2), 8 fields, k 5)": ((1, 2, 4, 6), lambda n: (band_limited(n), 5)),
}


def layers_of(field: FieldType, kernel_size: int) -> dict[str, torch.nn.Module]:
    """The plain layer, escnn's and the soft one."""
    geometry = {"kernel_size": kernel_size, "padding": kernel_size // 2}
    layers = {
        "plain": torch.nn.Conv2d(field.size, field.size, **geometry),
        "escnn": R2Conv(field, field, initialize=False, **geometry),
        "soft": SoftR2Conv(field, field, softness=SOFTNESS, initialize=False, **geometry),
    }
    for layer in layers.values():
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
    return layers


def most_memory(step: Callable[[], None]) -> int:
    """Bytes that a step takes at its peak."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    assert record.profiler is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    taken = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(max(taken, default=0))


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Of the power law through some values."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print_setting(f"Growth of a train step, batch 8, float32, softness {SOFTNESS}", options.threads)
    print(f"  {'what grows':<42}{'time, ms (to the plain convolution)':>48}   exponent   memory, MB")
    for name, (sizes, layer_at) in SERIES.items():
        times: dict[str, list[float]] = {}
        memory: dict[str, list[float]] = {}
        for size in sizes:
            field, kernel_size = layer_at(size)
            x = torch.randn(8, field.size, 32, 32)
            steps = {
                kind: train_step(layer, x if kind == "plain" else field(x))
                for kind, layer in layers_of(field, kernel_size).items()
            }
            for kind, seconds in side_by_side(steps, options.repeats).items():
                times.setdefault(kind, []).append(min(seconds))
                memory.setdefault(kind, []).append(most_memory(steps[kind]) / 1e6)
        print(f"  {name:<34}{'':>8}" + "".join(f"{size:>12}" for size in sizes))
        for kind, values in times.items():
            cells = (f"{1e3 * t:>6.1f} ({t / p:.2f})" for t, p in zip(values, times["plain"], strict=True))
            megabytes = "".join(f"{m:>7.1f}" for m in memory[kind])
            law = f"{exponent(sizes, values):>9.2f}"
            print(
                f"  {'':<34}{kind:>8}" + "".join(f"{cell:>12}" for cell in cells) + f"{law}   {megabytes}", flush=True
            )


if __name__ == "__main__":
    main()
