"""The dial in one picture: what it gives, what it costs, what it does to filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from escnn_soft.plots.dial_curves import Curve, Reference, draw_dial
from escnn_soft.plots.filters import draw_filters
from escnn_soft.plots.picture import new_figure

__all__ = ["plot_summary"]


def plot_summary(
    accuracy: Curve, error: Curve, filters: Mapping[str, ArrayLike], *, references: Sequence[Reference] = ()
) -> Figure:
    """Draw accuracy, equivariance error and filters along the dial, side by side, for a README.

    Args:
        accuracy: test accuracy in per cent.
        error: relative equivariance error in per cent.
        filters: a stack of filters, turned back, for each stop.  # shape of each: (rows, height, width)
        references: accuracies of networks that are not on the dial.

    Returns:
        A figure with three axes.

    Raises:
        ArgumentError: if there are no filters.
        ShapeError: if the stacks differ in shape, or are not stacks of planar filters.
    """
    figure = new_figure(13.0, 3.6)
    left, middle, right = figure.subplots(1, 3, width_ratios=(4.3, 4.3, 4.2))
    draw_dial(left, [accuracy], ylabel="test accuracy (%)", title="Accuracy", references=references)
    draw_dial(middle, [error], ylabel="change under quarter turns (%)", title="Measured equivariance error")
    draw_filters(right, filters, xlabel="softness", title="One field's filters, turned back")
    return figure
