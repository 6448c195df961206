"""The demo's page: one HTML file with everything inside, readable on a phone, light or dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["Picture", "Table", "render"]


@dataclass(frozen=True)
class Picture:
    """A picture on the page.

    Attributes:
        title: heading above it.
        png: the file's content.
        caption: what to see in it.
    """

    title: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Table:
    """A table on the page.

    Attributes:
        headings: of its columns.
        rows: its cells.
        legend: what the columns mean.
        best: index of the row to mark, or None.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    legend: str
    best: int | None = None


def render(
    *,
    title: str,
    introduction: Sequence[str],
    finding: str,
    table: Table,
    pictures: Sequence[Picture],
    guarantees: Table,
    fairness: Sequence[str],
    colophon: str,
) -> str:
    """Lay out the page by ``report.html.jinja``; all text is escaped, all pictures are embedded."""
    environment = Environment(
        loader=PackageLoader("escnn_soft.cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    return environment.get_template("report.html.jinja").render(
        title=title,
        introduction=introduction,
        finding=finding,
        table=table,
        pictures=pictures,
        guarantees=guarantees,
        fairness=fairness,
        colophon=colophon,
    )
