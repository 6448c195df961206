"""A quantity along the dial: mean, spread and every single run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from escnn_soft.errors import ArgumentError
from escnn_soft.plots.picture import GREY, HUES, INK, new_figure, quiet

__all__ = ["Curve", "Reference", "draw_dial", "plot_dial"]

_DASHES = ("--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """A quantity at each stop of the dial, measured once or several times.

    Args:
        label: name in the legend; without a name there is no entry.
        softness: stops, increasing, in [0, 1].
        values: the measurements at each stop, e.g. one for each seed.

    Raises:
        ArgumentError: if the stops are not increasing numbers in [0, 1], or a stop has no finite measurement.

    Example:
        >>> Curve("accuracy", (0.0, 1.0), ((0.9, 0.92), (0.88, 0.9))).mean
        (0.91, 0.89)
    """

    label: str
    softness: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Check the stops and the measurements."""
        stops = self.softness
        if not stops or not all(0 <= s <= 1 for s in stops) or any(a >= b for a, b in pairwise(stops)):
            raise ArgumentError("softness", stops, "increasing numbers in [0, 1]", "Sort the stops of the dial.")
        if len(self.values) != len(stops) or not all(row and all(map(math.isfinite, row)) for row in self.values):
            expected = f"one tuple of finite numbers for each of the {len(stops)} stops"
            raise ArgumentError("values", self.values, expected, "Pass a measurement or more for each stop.")

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean at each stop."""
        return tuple(sum(row) / len(row) for row in self.values)

    @property
    def deviation(self) -> tuple[float, ...]:
        """Standard deviation at each stop, over n - 1; 0 for a single measurement."""
        return tuple(float(np.std(row, ddof=1)) if len(row) > 1 else 0.0 for row in self.values)


@dataclass(frozen=True)
class Reference:
    """A quantity of something that is not on the dial, e.g. of a plain network.

    Args:
        label: name in the legend.
        values: measurements, one or more.

    Raises:
        ArgumentError: if there is no finite measurement.
    """

    label: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the measurements."""
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ArgumentError("values", self.values, "finite numbers, one or more", "Pass a measurement or more.")


def plot_dial(curves: Sequence[Curve], *, ylabel: str, title: str = "", references: Sequence[Reference] = ()) -> Figure:
    """Draw quantities against the softness: lines through the means, one deviation as a band, each run as a dot.

    The axis shows the cube root of the softness, for most happens near 0.

    Args:
        curves: what to draw, one or more.
        ylabel: name and unit of the quantity.
        title: what the picture says.
        references: a horizontal line at the mean of each, in another dash each.

    Returns:
        A figure with one axes.

    Raises:
        ArgumentError: if there is no curve.

    Example:
        >>> figure = plot_dial([Curve("", (0.0, 0.5, 1.0), ((0.9,), (0.95,), (0.92,)))], ylabel="accuracy")
        >>> figure.axes[0].get_ylabel()
        'accuracy'
    """
    figure = new_figure(6.4, 4.0)
    draw_dial(figure.add_subplot(), curves, ylabel=ylabel, title=title, references=references)
    return figure


def draw_dial(
    axes: Axes, curves: Sequence[Curve], *, ylabel: str, title: str = "", references: Sequence[Reference] = ()
) -> None:
    """As :func:`plot_dial`, into given axes."""
    if not curves:
        raise ArgumentError("curves", curves, "one Curve or more", "Pass what to draw.")
    quiet(axes, title)
    for curve, hue in zip(curves, HUES * len(curves), strict=False):
        mean, deviation = np.array(curve.mean), np.array(curve.deviation)
        axes.fill_between(curve.softness, mean - deviation, mean + deviation, color=hue, alpha=0.15, linewidth=0)
        dots = [(s, value) for s, row in zip(curve.softness, curve.values, strict=True) for value in row]
        axes.scatter(
            [s for s, _ in dots], [value for _, value in dots], s=12, color=hue, alpha=0.5, linewidths=0, clip_on=False
        )
        axes.plot(
            curve.softness,
            mean,
            color=hue,
            linewidth=2,
            marker="o",
            markersize=5,
            clip_on=False,
            label=curve.label or None,
        )
    for reference, dash in zip(references, _DASHES * len(references), strict=False):
        level = sum(reference.values) / len(reference.values)
        axes.axhline(level, color=GREY, linestyle=dash, linewidth=1.5, label=reference.label)
    stops = sorted({s for curve in curves for s in curve.softness})
    axes.set_xscale("function", functions=(np.cbrt, _cube))
    axes.set_xlim(0, 1.03)
    axes.set_xticks(_apart(stops), labels=[f"{s:g}" for s in _apart(stops)])
    axes.minorticks_off()
    axes.margins(y=0.1)
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set_xlabel("softness (cube-root scale)", color=INK)
    axes.set_ylabel(ylabel, color=INK)
    if references or any(curve.label for curve in curves):
        axes.legend(frameon=False, fontsize=9)


def _cube(place: NDArray[np.float64]) -> NDArray[np.float64]:
    return place**3


def _apart(stops: Sequence[float], gap: float = 0.08) -> list[float]:
    """The stops whose labels do not touch their left neighbour's on the cube-root scale."""
    kept = [stops[0]]
    for stop in stops[1:]:
        if float(np.cbrt(stop) - np.cbrt(kept[-1])) >= gap:
            kept.append(stop)
    return kept
