"""The demo's page: one HTML file with everything inside, readable on a phone, light or dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

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


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #22303c; --paper: #fbfbf9; --soft: #5f6b76; --line: #d9dee2; --mark: #e8f1f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe6ec; --paper: #15191d; --soft: #9aa7b2; --line: #333c44; --mark: #1e2d38; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p, li { max-width: 46rem; }
.lead { font-size: 1.08rem; padding: .8rem 1rem; background: var(--mark); border-radius: .5rem; max-width: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); white-space: normal; vertical-align: bottom; }
tr.best td { background: var(--mark); font-weight: 600; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; background: white; border-radius: .5rem; }
figcaption, .small { color: var(--soft); font-size: .92rem; margin-top: .4rem; max-width: 46rem; }
</style>
</head>
<body>
<h1>$title</h1>
$introduction
<p class="lead">$finding</p>
<h2>The table</h2>
$table
$pictures
<h2>What is guaranteed</h2>
$guarantees
<h2>Is the question fair?</h2>
<ul>
$fairness
</ul>
<h2>This run</h2>
<p class="small">$colophon</p>
</body>
</html>
""")


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
    """Lay out the page; all text is escaped, all pictures are embedded."""
    return _PAGE.substitute(
        title=escape(title),
        introduction="\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in introduction),
        finding=escape(finding),
        table=_table(table),
        pictures="\n".join(map(_figure, pictures)),
        guarantees=_table(guarantees),
        fairness="\n".join(f"<li>{escape(item)}</li>" for item in fairness),
        colophon=escape(colophon),
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    lines = [
        f"<tr{' class=best' if index == table.best else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for index, row in enumerate(table.rows)
    ]
    body = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>"
    return f'<div class="scroll">\n{body}\n</div>\n<p class="small">{escape(table.legend)}</p>'


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    title, caption = escape(picture.title), escape(picture.caption)
    return (
        f'<h2>{title}</h2>\n<figure><img alt="{title}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )
