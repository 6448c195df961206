"""A tiny run of the whole demo, and the page it writes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from escnn_soft.cli.demo import run
from escnn_soft.cli.report import Picture, Table, render
from escnn_soft.cli.settings import Settings
from escnn_soft.cli.table import HEADINGS

TINY = Settings(
    softness=(0.0, 0.3, 1.0), seeds=2, images=2, tests=3, probes=5, epochs=2, batch=5, fields=(1, 1, 2), wide=2
)


class Balance(HTMLParser):
    """Complains about tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "deep" / "demo"
    run(TINY, folder)
    return folder


def test_writes_all_artefacts(output):
    names = {path.name for path in output.iterdir()}
    assert names == {"index.html", "summary.png", "table.csv", "results.json"}
    assert (output / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_page_holds_table_and_pictures_and_needs_nothing_else(output):
    page = (output / "index.html").read_text(encoding="utf-8")
    checker = Balance()
    checker.feed(page)
    assert not checker.open
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"', page)) == 5
    assert page.count("<tr") == 1 + 5 + 1 + 3
    assert all(f"<th>{heading}</th>" in page for heading in HEADINGS)
    assert "In this run" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page
    assert not re.search(r"\$|{{|{%|Undefined", page)


def test_results_hold_every_run(output):
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["settings"]["softness"] == [0.0, 0.3, 1.0]
    assert [row["name"] for row in results["rows"]] == [
        "softness 0",
        "softness 0.3",
        "softness 1",
        "strict, 2 x wide",
        "plain torch",
    ]
    assert all(len(row["runs"]) == 2 for row in results["rows"])
    assert results["rows"][0]["runs"][0]["error"] < 1e-4 < results["rows"][2]["runs"][0]["error"]
    assert {"escnn", "torch", "python"} <= set(results["run"])
    assert len((output / "table.csv").read_text(encoding="utf-8").splitlines()) == 1 + 10


def test_run_prints_the_table_and_workers_change_nothing(output, tmp_path, capsys):
    run(TINY, tmp_path, workers=2)
    printed = capsys.readouterr().out
    assert all(heading in printed for heading in HEADINGS)
    assert "In this run" in printed
    assert str(tmp_path / "index.html") in printed
    without_time = [
        [line.rsplit(",", 1)[0] for line in (folder / "table.csv").read_text(encoding="utf-8").splitlines()]
        for folder in (output, tmp_path)
    ]
    assert without_time[0] == without_time[1]


def test_errors_stay_below_their_certified_bounds(output):
    record = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in record["guarantees"]] == ["0", "0.3", "1"]
    for row in record["guarantees"]:
        assert row["violations"] == 0
        assert row["ratio"] >= 1.0
        assert row["error"] <= row["bound"]
    assert record["guarantees"][0]["bound"] < 1e-6 < record["guarantees"][2]["bound"]


def test_text_is_escaped():
    page = render(
        title="<b>", introduction=["a & b"], finding="<i>", table=Table(["<h>"], [["<c>"]], "<l>", best=0),
        guarantees=Table(["<h>"], [["<c>"]], "<l>"), pictures=[Picture('"t"', b"png", "<c>")],
        fairness=["<f>"], colophon="$x {{ y }}",
    )  # fmt: skip
    for raw in ("<b>", "<i>", "<h>", "<c>", "<l>", "<f>", '"t"'):
        assert raw not in page
    assert "a &amp; b" in page
    assert "$x {{ y }}" in page
    assert page.count('class="best"') == 1
