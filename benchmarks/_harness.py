"""How the benchmarks measure: interleaved repetitions, medians of ratios in one run, versions and threads printed."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable

import escnn
import numpy
import torch

import escnn_soft


def arguments(description: str) -> argparse.Namespace:
    """Parse the options every benchmark has, and set the number of threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", type=torch.device, default="cpu", help="where the claim names one: cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def print_setting(title: str, threads: int, device: torch.device | None = None) -> None:
    """Say what is measured, on what."""
    if device is not None and device.type == "cuda":
        title = f"{title}, on {torch.cuda.get_device_name(device)}"
    print(
        f"{title}\n  {processor()}, {threads} threads, Python {platform.python_version()}, torch {torch.__version__},"
    )
    print(f"  escnn {escnn.__version__}, numpy {numpy.__version__}, escnn_soft {escnn_soft.__version__}\n")


def processor() -> str:
    """Name of the processor, where Linux tells it."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def side_by_side(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, repetition by repetition in turn, so that a busy machine slows all of them alike."""
    for run in runs.values():
        run()
    finish()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            finish()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def finish() -> None:
    """Wait for what a GPU is still doing."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratios(seconds: dict[str, list[float]], baseline: str) -> dict[str, float]:
    """The median over repetitions of the ratio to the baseline's time next to it."""
    return {
        name: statistics.median(t / b for t, b in zip(times, seconds[baseline], strict=True))
        for name, times in seconds.items()
    }


def print_ratios(seconds: dict[str, list[float]], baseline: str) -> None:
    """Median seconds, and the ratio to the baseline."""
    for name, ratio in ratios(seconds, baseline).items():
        print(f"  {name:<44}{1e3 * statistics.median(seconds[name]):>10.2f} ms   x {ratio:.3f}")
    print()
