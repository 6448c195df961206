"""``escnn-soft demo``: run the study and write the page, the tables and the pictures."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from escnn_soft.cli import words
from escnn_soft.cli.classifier import LAYERS
from escnn_soft.cli.guarantee import GUARANTEE_HEADINGS, guarantee_cells
from escnn_soft.cli.report import Picture, Table, render
from escnn_soft.cli.settings import Settings, quick
from escnn_soft.cli.study import Study, networks, study
from escnn_soft.cli.table import HEADINGS, aligned, as_csv, as_text, cells, finding
from escnn_soft.plots import Curve, Reference, plot_dial, plot_filters, plot_spectra, plot_summary, to_png

__all__ = ["run", "run_demo", "write"]


def run_demo(options: argparse.Namespace) -> int:
    """Run the study with the settings of the command line."""
    base = quick() if options.quick else Settings()
    given = {name: getattr(options, name) for name in ("seeds", "angle", "images", "epochs") if hasattr(options, name)}
    torch.set_num_threads(1)  # on layers this small a second thread costs more than it brings
    run(replace(base, **given), options.output, options.workers)
    return 0


def run(settings: Settings, output: Path, workers: int = 1) -> None:
    """Train, write everything to a folder, which is made before the first training, and print the table."""
    output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(networks(settings)) * settings.seeds, desc="training", unit="network", leave=False) as bar:
        result = study(settings, workers, lambda _: bar.update())
    write(result, settings, output)
    certified = aligned([GUARANTEE_HEADINGS, *map(guarantee_cells, result.guarantees)])
    print(f"{as_text(result.rows)}\n\n{finding(result.rows)}\n")
    print(f"Errors of the logits and their certified bounds:\n\n{certified}\n")
    print(f"Everything is in {output / 'index.html'}.")


def write(result: Study, settings: Settings, output: Path) -> None:
    """Write ``index.html``, ``summary.png``, ``table.csv`` and ``results.json`` to an existing folder."""
    rows = result.rows
    colophon = _colophon(result)
    summary, pictures = _pictures(result, settings)
    page = render(
        title=words.TITLE,
        introduction=words.introduction(settings),
        finding=finding(rows),
        table=Table(
            HEADINGS,
            [cells(row) for row in rows],
            words.LEGEND,
            best=max(range(len(rows)), key=lambda index: rows[index].accuracy),
        ),
        pictures=pictures,
        guarantees=Table(GUARANTEE_HEADINGS, list(map(guarantee_cells, result.guarantees)), words.GUARANTEES),
        fairness=words.fairness(settings),
        colophon="; ".join(f"{name} {value}" for name, value in {**asdict(settings), **colophon}.items()),
    )
    record = {
        "settings": asdict(settings),
        "run": colophon,
        "finding": finding(rows),
        "rows": list(map(asdict, rows)),
        "guarantees": list(map(asdict, result.guarantees)),
    }
    (output / "index.html").write_text(page, encoding="utf-8")
    (output / "summary.png").write_bytes(summary)
    (output / "table.csv").write_text(as_csv(rows), encoding="utf-8")
    (output / "results.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _pictures(result: Study, settings: Settings) -> tuple[bytes, tuple[Picture, ...]]:
    """The README's picture, and those of the page."""
    dial = [row for row in result.rows if row.on_dial]

    def curve(name: str, label: str = "") -> Curve:
        values = tuple(tuple(100 * getattr(run, name) for run in row.runs) for row in dial)
        return Curve(label, settings.softness, values)

    accuracy, error = curve("accuracy"), curve("error")
    references = [
        Reference(row.name, tuple(100 * run.accuracy for run in row.runs)) for row in result.rows if not row.on_dial
    ]
    parts = [curve("confusable", "6 and 9"), curve("others", "all other digits")]
    layers = {
        f"layer {index + 1} ({size})": {stop: spectra[index] for stop, spectra in result.spectra.items()}
        for index, size in enumerate(LAYERS)
    }
    turns = [f"{90 * turn}°" for turn in range(4)]
    pictures = (
        Picture(
            "Accuracy along the dial",
            to_png(plot_dial([accuracy], ylabel="test accuracy (%)", references=references)),
            "Line: mean over the seeds. Band: one standard deviation. Dots: single seeds.",
        ),
        Picture(
            "Who gains and who loses",
            to_png(plot_dial(parts, ylabel="test accuracy (%)")),
            "A strict network gives an image and its half turn the same answer, so it can tell a 6 from a 9 only by "
            "how people write them.",
        ),
        Picture(
            "How equivariant the trained networks are",
            to_png(plot_dial([error], ylabel="change of the logits under quarter turns (%)")),
            "Measured on test images, on a grid that quarter turns map to itself: no interpolation enters.",
        ),
        Picture(
            "Filters along the dial", to_png(plot_filters(result.filters, rows=turns, xlabel="softness")), words.FILTERS
        ),
        Picture(
            "Weight spectra along the dial",
            to_png(plot_spectra(layers, xlabel="softness")),
            "How the energy of the trained weights spreads over the levels, seed 0. irrep_0 is escnn's own equivariant "
            "part, the others break the symmetry; dashed is the remainder, beyond the band limit of escnn's harmonics.",
        ),
    )
    return to_png(plot_summary(accuracy, error, result.filters, references=references)), pictures


def _colophon(result: Study) -> dict[str, str]:
    packages = {name: version(name) for name in ("escnn", "torch", "mlxtend")}
    return {**packages, "python": platform.python_version(), "minutes": f"{result.seconds / 60:.1f}"}
