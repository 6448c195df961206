"""The table pairs seeds, rounds honestly and says what it found, whichever way it went."""

from __future__ import annotations

import csv
import io
import re

import pytest

from escnn_soft.cli.classifier import Network
from escnn_soft.cli.table import HEADINGS, as_csv, as_text, cells, finding, tabulate
from escnn_soft.cli.training import Outcome


def outcomes(*accuracies, error=0.3):
    return [Outcome(a, a - 0.1, a + 0.1, error, 0.01, 2.0) for a in accuracies]


def network(name, on_dial=True):
    return Network(name, None, (1, 1, 1), on_dial)


def table(strict, soft, free, plain=(0.5, 0.5)):
    dial = {"0": outcomes(*strict, error=4e-7), "0.1": outcomes(*soft), "1": outcomes(*free)}
    results = [(network(name), 900, runs) for name, runs in dial.items()]
    return tabulate([*results, (network("plain torch", on_dial=False), 900, outcomes(*plain))])


ROWS = table((0.90, 0.92), (0.93, 0.91), (0.85, 0.87))


def test_gains_are_paired():
    assert [row.name for row in ROWS] == ["softness 0", "softness 0.1", "softness 1", "plain torch"]
    assert ROWS[1].gains == pytest.approx((0.03, -0.01))
    assert ROWS[1].wins == 1
    assert ROWS[1].accuracy == pytest.approx(0.92)
    assert ROWS[1].deviation == pytest.approx(0.0141421, abs=1e-6)


def test_cells():
    assert cells(ROWS[1]) == ("softness 0.1", "92.0 ± 1.4", "+1.0", "1 of 2", "82.0", "102.0", "30.0", "900", "2.0")
    assert cells(ROWS[0])[2:4] == ("-", "-")
    assert cells(ROWS[0])[6] == "4e-05"  # rounding is not shown as 0
    assert len(HEADINGS) == len(cells(ROWS[0]))


def test_one_seed_has_no_spread():
    rows = tabulate([(network("0"), 1, outcomes(0.9)), (network("1"), 2, outcomes(0.8))])
    assert cells(rows[1])[1] == "80.0 ± 0.0"


def test_text_is_aligned():
    lines = as_text(ROWS).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1


def test_csv_has_a_line_a_run():
    lines = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert len(lines) == 8
    assert lines[2]["network"] == "softness 0.1"
    assert float(lines[2]["gain_over_strict"]) == pytest.approx(0.03)
    assert float(lines[2]["accuracy"]) == pytest.approx(0.93)


@pytest.mark.parametrize(
    ("strict", "soft", "free", "said"),
    [
        (
            (0.9, 0.9),
            (0.8, 0.8),
            (0.7, 0.7),
            "nothing on the dial beat the strict network: strict 90.0 %, unconstrained 70.0 %",
        ),
        (
            (0.9, 0.9),
            (0.9, 0.9),
            (0.9, 0.9),
            "nothing on the dial beat the strict network",
        ),  # a tie goes to the constraint
        ((0.7, 0.7), (0.8, 0.8), (0.9, 0.9), "no constraint at all was best"),
        ((0.7, 0.9), (0.8, 0.88), (0.7, 0.7), r"softness 0.1 with 84.0 % .*\+4.0 points over strict \(ahead in 1 of 2"),
        ((0.7, 0.7), (0.8, 0.8), (0.7, 0.85), r"\+2.5 over unconstrained \(ahead in 1 of 2 seeds\)"),
    ],
)
def test_finding_follows_the_data(strict, soft, free, said):
    said_now = finding(table(strict, soft, free))
    assert re.search(said, said_now)
    assert said_now.endswith("For comparison: plain torch 50.0 %.")
