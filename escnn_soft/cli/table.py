"""From runs to a table, and from the table to a sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from escnn_soft.cli.classifier import Network
from escnn_soft.cli.training import Outcome

__all__ = ["HEADINGS", "Row", "aligned", "as_csv", "as_text", "cells", "finding", "tabulate"]

HEADINGS = (
    "network",
    "accuracy %",
    "vs strict",
    "seeds won",
    "6 and 9 %",
    "others %",
    "equivariance error %",
    "open directions",
    "train s",
)


@dataclass(frozen=True)
class Row:
    """One network of the demo, over all seeds.

    Attributes:
        name: the softness, or what the network is.
        on_dial: whether it is a stop of the dial.
        weights: directions of weight space that the network can reach.
        runs: outcomes, one a seed.
        gains: accuracy minus the strict network's at the same seed.
    """

    name: str
    on_dial: bool
    weights: int
    runs: tuple[Outcome, ...]
    gains: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy."""
        return fmean(run.accuracy for run in self.runs)

    @property
    def deviation(self) -> float:
        """Standard deviation of the accuracy over the seeds, over n - 1; 0 for one seed."""
        return stdev(run.accuracy for run in self.runs) if len(self.runs) > 1 else 0.0

    @property
    def wins(self) -> int:
        """Seeds at which the network beats the strict one."""
        return sum(gain > 0 for gain in self.gains)


def tabulate(results: Sequence[tuple[Network, int, Sequence[Outcome]]]) -> tuple[Row, ...]:
    """Pair every network with the strict one, which comes first, seed by seed."""
    strict = [run.accuracy for run in results[0][2]]
    return tuple(
        Row(
            name=f"softness {network.name}" if network.on_dial else network.name,
            on_dial=network.on_dial,
            weights=weights,
            runs=tuple(outcomes),
            gains=tuple(run.accuracy - base for run, base in zip(outcomes, strict, strict=True)),
        )
        for network, weights, outcomes in results
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table as it is shown, under ``HEADINGS``."""
    strict = row.name == "softness 0"
    mean = {
        name: fmean(getattr(run, name) for run in row.runs) for name in ("confusable", "others", "error", "seconds")
    }
    return (
        row.name,
        f"{100 * row.accuracy:.1f} ± {100 * row.deviation:.1f}",
        "-" if strict else f"{100 * fmean(row.gains):+.1f}",
        "-" if strict else f"{row.wins} of {len(row.runs)}",
        f"{100 * mean['confusable']:.1f}",
        f"{100 * mean['others']:.1f}",
        # a strict network's error is rounding: show its size, do not round it to a flattering 0
        f"{100 * mean['error']:.1f}" if mean["error"] > 1e-3 else f"{100 * mean['error']:.0e}",
        f"{row.weights:,}",
        f"{mean['seconds']:.1f}",
    )


def as_text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    return aligned([HEADINGS, *map(cells, rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Headings and rows of equal length as lines of aligned columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """The table for a spreadsheet, with every run of every network."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    measured = tuple(Outcome.__dataclass_fields__)
    writer.writerow(("network", "seed", "open_directions", "gain_over_strict", *measured))
    for row in rows:
        for seed, (run, gain) in enumerate(zip(row.runs, row.gains, strict=True)):
            numbers = (f"{value:.6g}" for value in (gain, *(getattr(run, name) for name in measured)))
            writer.writerow((row.name, seed, row.weights, *numbers))
    return stream.getvalue()


def finding(rows: Sequence[Row]) -> str:
    """What the run says about the question, whichever way it went."""
    dial = [row for row in rows if row.on_dial]
    strict, free = dial[0], dial[-1]
    best = max(dial, key=lambda row: row.accuracy)
    ends = f"strict {100 * strict.accuracy:.1f} %, unconstrained {100 * free.accuracy:.1f} %"
    others = ", ".join(f"{row.name} {100 * row.accuracy:.1f} %" for row in rows if not row.on_dial)
    if best is strict:
        said = f"In this run nothing on the dial beat the strict network: {ends}."
    elif best is free:
        said = f"In this run no constraint at all was best: {ends}."
    else:
        over_free = [run.accuracy - other.accuracy for run, other in zip(best.runs, free.runs, strict=True)]
        wins, seeds = sum(gain > 0 for gain in over_free), len(over_free)
        said = (
            f"In this run the best stop was {best.name} with {100 * best.accuracy:.1f} % ({ends}): "
            f"{100 * fmean(best.gains):+.1f} points over strict (ahead in {best.wins} of {seeds} seeds) and "
            f"{100 * fmean(over_free):+.1f} over unconstrained (ahead in {wins} of {seeds} seeds)."
        )
    return f"{said} For comparison: {others}." if others else said
