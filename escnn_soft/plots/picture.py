"""What all figures share: a canvas without a window, quiet axes, a few colours."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["GREY", "HUES", "INK", "new_figure", "quiet", "to_png"]

INK = "#22303c"
GREY = "#8a949d"
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, which the colour-blind can tell apart."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, with a canvas of its own; pyplot and its global state stay out of it."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes, title: str = "") -> None:
    """Take away what the eye does not need, and set a left-aligned title."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, color=INK)


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """The content of a figure's PNG file; ``dpi`` in pixels per inch."""
    stream = io.BytesIO()
    # no version string inside: equal figures give equal files
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()
