"""Weight spectra: how the energy of the weights spreads over the levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from escnn_soft.errors import ArgumentError
from escnn_soft.grading import Level, WeightSpectrum
from escnn_soft.plots.picture import GREY, HUES, INK, new_figure, quiet

__all__ = ["plot_spectra", "plot_spectrum"]

_NEGLIGIBLE = 1e-6
"""Share of the energy below which a level is not drawn."""


def plot_spectrum(spectrum: WeightSpectrum, *, title: str = "") -> Figure:
    """Draw the energy of one layer's weights, a bar a level, in the order of the dial, on a logarithmic axis.

    Args:
        spectrum: what ``layer.spectrum()`` returns.
        title: what the picture says.

    Returns:
        A figure with one axes; a level without energy has no bar.

    Raises:
        ArgumentError: if the spectrum has no energy.
    """
    if not spectrum.energy > 0:
        raise ArgumentError(
            "spectrum", spectrum, "a spectrum with energy", "Pass layer.spectrum() of non-zero weights."
        )
    figure = new_figure(1.8 + 0.9 * len(spectrum.levels), 3.6)
    axes = figure.add_subplot()
    quiet(axes, title)
    hues = _hues(spectrum.levels)
    for place, level in enumerate(spectrum.levels):
        hatch = "////" if level.remainder else None
        axes.bar(place, level.energy, 0.8, facecolor=hues[level.name], edgecolor="white", hatch=hatch)
    axes.set_yscale("log")
    names = [_legend(level).replace(" ", "\n", 1) for level in spectrum.levels]
    axes.set_xticks(range(len(names)), labels=names)
    axes.set_ylabel("energy (squared norm)", color=INK)
    return figure


def plot_spectra(panels: Mapping[str, Mapping[str, WeightSpectrum]], *, xlabel: str, title: str = "") -> Figure:
    """Draw how spectra differ: a panel a layer, a line a level, energy shares on a logarithmic axis.

    Levels of one irrep share a colour across the panels; what lies in the remainder is dashed.

    Args:
        panels: for each panel, e.g. each layer, the spectra and their names, e.g. the softness.
        xlabel: what the names mean.
        title: what the picture says.

    Returns:
        A figure with one axes a panel and a common legend. A line ends where its level has less than a millionth of
        the energy.

    Raises:
        ArgumentError: if there is no panel, or a panel without spectrum.
    """
    if not panels or not all(panels.values()):
        raise ArgumentError("panels", panels, "panels with a spectrum or more each", "Pass layer.spectrum() by name.")
    figure = new_figure(2.0 + 2.6 * len(panels), 3.8)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    everything = [level for panel in panels.values() for spectrum in panel.values() for level in spectrum.levels]
    levels = sorted({level.name: level for level in everything}.values(), key=lambda level: level.dial)
    hues = _hues(levels)
    for axes, (name, panel) in zip(grid, panels.items(), strict=True):
        quiet(axes, name)
        for level in levels:
            shares = [_share(spectrum, level.name) for spectrum in panel.values()]
            if not all(map(math.isnan, shares)):
                axes.plot(shares, color=hues[level.name], linestyle=_dash(level), marker="o", markersize=4)
        axes.set_xticks(range(len(panel)), labels=list(panel))
        axes.set_xlim(-0.4, len(panel) - 0.6)
        axes.set_xlabel(xlabel, color=INK)
        axes.grid(axis="y", color=GREY, alpha=0.2)
    grid[0].set_yscale("log")
    grid[0].set_ylim(_NEGLIGIBLE, 1.5)
    grid[0].set_ylabel("share of the weights' energy", color=INK)
    handles = [
        Line2D([], [], color=hues[level.name], linestyle=_dash(level), marker="o", markersize=4, label=_legend(level))
        for level in levels
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    return figure


def _share(spectrum: WeightSpectrum, name: str) -> float:
    """Energy share of a level; nan where there is no such level, or next to nothing in it."""
    energy = sum(level.energy for level in spectrum.levels if level.name == name)
    return energy / spectrum.energy if energy > _NEGLIGIBLE * spectrum.energy else math.nan


def _hues(levels: Sequence[Level]) -> dict[str, str]:
    """A colour for each violation, dark for what is equivariant."""
    violations = sorted({level.sigma for level in levels if level.sigma > 0})
    hue = {sigma: HUES[index % len(HUES)] for index, sigma in enumerate(violations)}
    return {level.name: hue.get(level.sigma, INK) for level in levels}


def _dash(level: Level) -> Literal["-", "--"]:
    return "--" if level.remainder else "-"


def _legend(level: Level) -> str:
    return level.name if level.irrep is None else f"{level.name} (σ = {level.sigma:.2f})"
