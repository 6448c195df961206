"""From runs to a table, and from the table to a sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from escnn_soft.cli.training import Outcome

__all__ = ["HEADINGS", "PLAIN", "Row", "as_csv", "as_text", "cells", "finding", "tabulate"]

PLAIN = "plain torch"
"""Name of the network that is not on the dial."""

HEADINGS = (
    "softness",
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
        name: the softness, or ``PLAIN``.
        softness: the dial; None off the dial.
        weights: directions of weight space that the network can reach.
        runs: outcomes, one a seed.
        gains: accuracy minus the strict network's at the same seed.
    """

    name: str
    softness: float | None
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


def tabulate(runs: Sequence[tuple[float | None, int, Sequence[Outcome]]]) -> tuple[Row, ...]:
    """Pair every network with the strict one, seed by seed.

    Args:
        runs: for each network its softness (None off the dial), the directions it reaches and its outcomes, one a
            seed; the strict network, softness 0, comes first.

    Returns:
        The table.
    """
    assert runs[0][0] == 0.0, "the strict network comes first"
    strict = [run.accuracy for run in runs[0][2]]
    return tuple(
        Row(
            name=PLAIN if softness is None else f"{softness:g}",
            softness=softness,
            weights=weights,
            runs=tuple(outcomes),
            gains=tuple(run.accuracy - base for run, base in zip(outcomes, strict, strict=True)),
        )
        for softness, weights, outcomes in runs
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table as it is shown, under ``HEADINGS``.

    Args:
        row: the row.

    Returns:
        One string a column.
    """
    mean = {
        name: fmean(getattr(run, name) for run in row.runs) for name in ("confusable", "others", "error", "seconds")
    }
    strict = row.softness == 0
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
    """The table for a terminal.

    Args:
        rows: the table.

    Returns:
        Lines of aligned columns.
    """
    lines = [HEADINGS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """The table for a spreadsheet, with every run of every network.

    Args:
        rows: the table.

    Returns:
        A header and a line a run.
    """
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
    """What the run says about the question, whichever way it went.

    Args:
        rows: the table, with stops 0 and 1 of the dial.

    Returns:
        One or two sentences.
    """
    dial = [row for row in rows if row.softness is not None]
    strict, free = dial[0], dial[-1]
    best = max(dial, key=lambda row: row.accuracy)
    said = f"strict {100 * strict.accuracy:.1f} %, unconstrained {100 * free.accuracy:.1f} %"
    if best is strict:
        return f"In this run nothing beat the strict network: {said}."
    if best is free:
        return f"In this run no constraint at all was best: {said}."
    over_free = [run.accuracy - other.accuracy for run, other in zip(best.runs, free.runs, strict=True)]
    wins = sum(gain > 0 for gain in over_free)
    return (
        f"In this run the best stop was softness {best.name} with {100 * best.accuracy:.1f} % ({said}): "
        f"{100 * fmean(best.gains):+.1f} points over strict (ahead in {best.wins} of {len(best.runs)} seeds) and "
        f"{100 * fmean(over_free):+.1f} over unconstrained (ahead in {wins} of {len(best.runs)} seeds)."
    )
