"""Filters along the dial, a column a stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from escnn_soft.errors import ArgumentError, ShapeError
from escnn_soft.plots.picture import GREY, INK, new_figure, quiet

__all__ = ["draw_filters", "plot_filters"]

_MARGIN = 0.16
"""Gap between filters, as a fraction of a filter's side."""


def plot_filters(
    filters: Mapping[str, ArrayLike], *, rows: Sequence[str] = (), xlabel: str = "", title: str = ""
) -> Figure:
    """Draw stacks of filters side by side, red positive and blue negative, each column on its own scale.

    Args:
        filters: the stacks and their names, e.g. the softness; plain arrays.  # shape of each: (rows, height, width)
        rows: names of the rows; none by default.
        xlabel: what the names of the stacks mean.
        title: what the picture says.

    Returns:
        A figure with one axes and an image for each filter.

    Raises:
        ArgumentError: if there is no stack, or not one name for each row.
        ShapeError: if the stacks differ in shape, or are not stacks of planar filters.

    Example:
        >>> import numpy as np
        >>> figure = plot_filters({"0": np.eye(5)[None], "1": np.ones((1, 5, 5))})
        >>> len(figure.axes[0].images)
        2
    """
    stacks = _stacks(filters)
    columns, count = len(stacks), len(next(iter(stacks.values())))
    figure = new_figure(1.0 + 0.95 * columns, 0.8 + 0.95 * count)
    draw_filters(figure.add_subplot(), filters, rows=rows, xlabel=xlabel, title=title)
    return figure


def draw_filters(
    axes: Axes, filters: Mapping[str, ArrayLike], *, rows: Sequence[str] = (), xlabel: str = "", title: str = ""
) -> None:
    """As :func:`plot_filters`, into given axes."""
    stacks = _stacks(filters)
    count = len(next(iter(stacks.values())))
    if rows and len(rows) != count:
        raise ArgumentError("rows", rows, f"{count} names, one for each row", "Name every row, or none.")
    step = 1 + _MARGIN
    for column, stack in enumerate(stacks.values()):
        scale = float(np.abs(stack).max()) or 1.0
        for row, image in enumerate(stack):
            left, top = column * step, row * step
            # extent is (left, right, bottom, top) with the vertical axis pointing down
            axes.imshow(image, cmap="RdBu_r", vmin=-scale, vmax=scale, extent=(left, left + 1, top + 1, top))
    axes.set_xlim(-_MARGIN, len(stacks) * step)
    axes.set_ylim(count * step, -_MARGIN)
    quiet(axes, title)
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")  # square pixels leave room: keep it below, so that titles of neighbours align
    axes.set_xticks([column * step + 0.5 for column in range(len(stacks))], labels=list(stacks))
    axes.set_yticks([row * step + 0.5 for row in range(count)] if rows else [], labels=list(rows))
    axes.set_xlabel(xlabel, color=INK)
    axes.tick_params(length=0, colors=INK)
    axes.set_facecolor("white")
    for label in axes.get_yticklabels():
        label.set_color(GREY)


def _stacks(filters: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """The filters as float arrays of one shape."""
    stacks = {name: np.asarray(stack, dtype=float) for name, stack in filters.items()}
    if not stacks:
        raise ArgumentError("filters", filters, "one stack of filters or more", "Pass what to draw.")
    shapes = [stack.shape for stack in stacks.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 3 or 0 in shapes[0]:
        remedy = "Pass stacks with as many filters, of one size, for each name."
        raise ShapeError("filters", shapes, "stacks of one shape (rows, height, width)", remedy)
    return stacks
