"""Every python block of the README and the docs runs as it stands, and prints what the page shows, numbers aside."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+)\.py\n")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)", re.IGNORECASE)


def blocks(page: Path) -> Iterator[tuple[str, str | None]]:
    """The python blocks of a page, each with what it is said to print."""
    for code, printed in BLOCK.findall(page.read_text()):
        # what stands below a file of tests is pytest's, and takes pytest to compare
        yield code, None if FILE.match(code) else printed or None


def shape(text: str) -> str:
    """A text without its numbers and the width of its columns."""
    return " ".join(NUMBER.sub("#", text).replace("-", " ").split())


def agree(shown: str, printed: str) -> bool:
    """Whether a text was printed, numbers aside; ``...`` stands for anything."""
    parts = re.split(r" ?\.\.\. ?", shape(shown))
    return re.fullmatch(".*?".join(map(re.escape, parts)), shape(printed)) is not None


class NumbersAside(doctest.OutputChecker):
    """Answers of a session are compared as texts are."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return agree(want, got)


def run(code: str, namespace: dict[str, object]) -> str:
    """What a block prints; one that names a file in its first line is that file, and one with prompts a session."""
    printed = io.StringIO()
    name = FILE.match(code)
    with contextlib.redirect_stdout(printed):
        if ">>> " in code:
            session = doctest.DocTestParser().get_doctest(code, namespace, "block", None, 0)
            doctest.DocTestRunner(NumbersAside()).run(session, clear_globs=False)
            namespace.update(session.globs)
        elif name:
            module = ModuleType(name[1])
            sys.modules[name[1]] = module
            exec(code, vars(module))
        else:
            exec(code, namespace)
    return printed.getvalue()


@pytest.fixture
def apart(tmp_path, monkeypatch) -> Iterator[None]:
    """A folder of its own, torch's state put back, and no modules left behind."""
    before, threads = set(sys.modules), torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules.keys() - before if name.startswith("test_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(page) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, shown in blocks(page):
        printed = run(code, namespace)
        assert "Failed example" not in printed, printed
        assert shown is None or agree(shown, printed), f"{code}\nprints\n{printed}"


def test_every_page_says_how_it_runs() -> None:
    assert sum(1 for page in PAGES for _ in blocks(page)) > 20


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("accuracy 93.1 %\n", "accuracy  9.25 %", True),
        ("sup 1e-07, -3", "sup 2.1, 4", True),
        ("first\n...\nlast 1\n", "first\na\nb 7\nlast 2", True),
        ("first\n...\n", "first\na", True),
        ("breaking 3 %", "breaking of energy 3 %", False),
        ("one line", "one line\nand another", False),
    ],
)
def test_texts_are_compared_but_for_their_numbers(shown, printed, same) -> None:
    assert agree(shown, printed) == same


def test_a_session_that_answers_otherwise_fails() -> None:
    assert "Failed example" in run(">>> 'a'\n'b'\n", {})
    assert "Failed example" in run(">>> x\n3\n", {})
    assert "Failed example" not in run(">>> 1 + 1\n3\n", {})
