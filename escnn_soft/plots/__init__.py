"""Pictures of the dial, as matplotlib figures; nothing else in the library imports matplotlib."""

from __future__ import annotations

from escnn_soft.plots.dial_curves import Curve, Reference, plot_dial
from escnn_soft.plots.filters import plot_filters
from escnn_soft.plots.picture import to_png
from escnn_soft.plots.spectrum import plot_spectra, plot_spectrum
from escnn_soft.plots.summary import plot_summary

__all__ = [
    "Curve",
    "Reference",
    "plot_dial",
    "plot_filters",
    "plot_spectra",
    "plot_spectrum",
    "plot_summary",
    "to_png",
]
