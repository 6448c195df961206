"""Figures have the axes, labels and lines they promise, and refuse what they cannot draw."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from escnn import gspaces
from escnn.nn import FieldType

from escnn_soft.errors import ArgumentError, ShapeError
from escnn_soft.grading import WeightSpectrum
from escnn_soft.groups import orthogonal_group, vector
from escnn_soft.layers import SoftMatrixLinear, SoftR2Conv
from escnn_soft.plots import (
    Curve,
    Reference,
    plot_dial,
    plot_filters,
    plot_spectra,
    plot_spectrum,
    plot_summary,
    to_png,
)

STOPS = (0.0, 0.1, 1.0)
CURVE = Curve("soft", STOPS, ((0.8, 0.9), (0.95, 0.93), (0.9, 0.88)))
FILTERS = {f"{s:g}": np.random.default_rng(0).normal(size=(4, 5, 5)) for s in STOPS}


def spectrum(kernel_size: int, softness: float) -> WeightSpectrum:
    space = gspaces.rot2dOnR2(4)
    field = FieldType(space, [space.regular_repr])
    layer = SoftR2Conv(field, field, kernel_size, softness=softness)
    torch.nn.init.normal_(layer.soft_weights, generator=torch.Generator().manual_seed(0))
    return layer.spectrum()


def test_curve_statistics():
    assert CURVE.mean == pytest.approx((0.85, 0.94, 0.89))
    assert CURVE.deviation == pytest.approx([np.std(row, ddof=1) for row in CURVE.values])
    assert Curve("", (0.0,), ((0.5,),)).deviation == (0.0,)


@pytest.mark.parametrize("references", [[], [Reference("plain", (0.85, 0.87)), Reference("wide", (0.9,))]])
def test_dial_has_a_line_a_curve_and_a_reference(references):
    figure = plot_dial(
        [CURVE, Curve("other", STOPS, CURVE.values)], ylabel="accuracy", title="T", references=references
    )
    (axes,) = figure.axes
    assert len(axes.lines) == 2 + len(references)
    assert axes.lines[0].get_xdata() == pytest.approx(STOPS)
    assert axes.lines[0].get_ydata() == pytest.approx(CURVE.mean)
    assert (axes.get_ylabel(), axes.get_title("left")) == ("accuracy", "T")
    assert axes.get_xlabel().startswith("softness")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.1", "1"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["soft", "other"] + [reference.label for reference in references]
    assert len(axes.collections[1].get_offsets()) == 6  # every run is a dot


def test_dial_drops_tick_labels_that_would_touch():
    stops = (0.0, 0.5, 0.51, 1.0)
    axes = plot_dial([Curve("", stops, ((1.0,),) * 4)], ylabel="").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.5", "1"]
    assert axes.get_legend() is None


def test_filters_draw_an_image_each():
    (axes,) = plot_filters(FILTERS, rows=["a", "b", "c", "d"], xlabel="softness").axes
    assert len(axes.images) == 12
    assert [label.get_text() for label in axes.get_xticklabels()] == list(FILTERS)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    assert axes.get_xlabel() == "softness"
    assert np.array_equal(axes.images[0].get_array(), FILTERS["0"][0])


def test_filters_scale_is_symmetric_and_survives_zeros():
    (axes,) = plot_filters({"a": np.zeros((1, 3, 3)), "b": np.full((1, 3, 3), -2.0)}).axes
    assert [image.get_clim() for image in axes.images] == [(-1, 1), (-2, 2)]


def test_spectrum_has_a_bar_a_level():
    measured = spectrum(3, 0.5)
    (axes,) = plot_spectrum(measured).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([level.energy for level in measured.levels])
    assert axes.get_yscale() == "log"


def test_spectrum_of_a_matrix_group_has_a_bar_a_level_too():
    measured = SoftMatrixLinear(vector(orthogonal_group(3)), vector(orthogonal_group(3)), softness=0.5).spectrum()
    (axes,) = plot_spectrum(measured).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([level.energy for level in measured.levels])


def test_spectra_have_a_panel_a_layer_and_a_line_a_level():
    panels = {
        "one": {"0": spectrum(1, 0.0), "1": spectrum(1, 1.0)},
        "two": {"0": spectrum(3, 0.0), "1": spectrum(3, 1.0)},
    }
    figure = plot_spectra(panels, xlabel="softness", title="T")
    one, two = figure.axes
    assert len(one.lines) == 3  # a 1 x 1 kernel has no remainder
    assert len(two.lines) == 6
    assert (one.get_title("left"), two.get_title("left"), one.get_xlabel()) == ("one", "two", "softness")
    assert len(figure.legends[0].get_texts()) == 6
    assert one.lines[0].get_ydata()[0] == pytest.approx(1.0)
    assert np.isnan(one.lines[1].get_ydata()[0])  # the strict layer has rounding only
    totals = sum(line.get_ydata()[1] for line in two.lines)
    assert totals == pytest.approx(1.0)


def test_summary_is_a_readme_sized_png():
    figure = plot_summary(CURVE, CURVE, FILTERS, references=[Reference("plain", (0.85,))])
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 0]
    png = to_png(figure)
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1950, 540)
    assert len(png) < 300_000
    assert png == to_png(plot_summary(CURVE, CURVE, FILTERS, references=[Reference("plain", (0.85,))]))


def test_no_global_state():
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Curve("", (0.5, 0.5), ((1.0,), (1.0,))), ArgumentError, "Expected increasing numbers"),
        (lambda: Curve("", (0.5, 1.5), ((1.0,), (1.0,))), ArgumentError, r"softness=\(0.5, 1.5\)"),
        (lambda: Curve("", (), ()), ArgumentError, "Sort the stops"),
        (lambda: Curve("", (0.0,), ((),)), ArgumentError, "for each of the 1 stops"),
        (lambda: Curve("", (0.0,), ((float("nan"),),)), ArgumentError, "finite numbers"),
        (lambda: Curve("", (0.0, 1.0), ((1.0,),)), ArgumentError, "for each of the 2 stops"),
        (lambda: Reference("", ()), ArgumentError, "one or more"),
        (lambda: plot_dial([], ylabel=""), ArgumentError, "one Curve or more"),
        (lambda: plot_filters({}), ArgumentError, "one stack of filters"),
        (lambda: plot_filters({"0": np.zeros((5, 5))}), ShapeError, r"\(rows, height, width\)"),
        (lambda: plot_filters({"0": np.zeros((1, 5, 5)), "1": np.zeros((2, 5, 5))}), ShapeError, "one size"),
        (lambda: plot_filters(FILTERS, rows=["a"]), ArgumentError, "4 names"),
        (lambda: plot_spectrum(WeightSpectrum(())), ArgumentError, "non-zero weights"),
        (lambda: plot_spectra({}, xlabel=""), ArgumentError, "one spectrum|a spectrum or more"),
        (lambda: plot_spectra({"a": {}}, xlabel=""), ArgumentError, "a spectrum or more"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
