"""What pyproject.toml, the metadata beside it and the messages say about installing, held against the code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import escnn_soft
from escnn_soft._compat import requirement
from escnn_soft.errors import EscnnSoftError, MissingPackageError
from tests.processes import ROOT, python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL_ROOMS = {"cli": "demo", "plots": "demo", "testing": "testing", "training/lightning.py": "lightning"}
"""Room or file -> extra that brings what it imports."""
OLD_NAMES = {"pytorch_lightning"}  # of lightning
ESCNN = "pip install --no-deps escnn==1.0.11"


def names(requirements: list[str]) -> set[str]:
    """What requirements ask for, spelled as in imports."""
    return {re.match(r"[\w.-]+", line)[0].replace("-", "_").lower() for line in requirements}


def imported(path: Path) -> Iterator[str]:
    """The packages that a module imports as it is imported itself: anywhere but in its functions."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += ast.iter_child_nodes(node)


def third_party(room: str) -> set[str]:
    """What the modules of a room import, or those of all rooms but the optional ones for an empty name."""
    package = ROOT / "escnn_soft"
    optional = {path for name in OPTIONAL_ROOMS for path in modules(package / name)}
    files = modules(package / room) if room else modules(package) - optional
    found = {name for path in files for name in imported(path)}
    return found - sys.stdlib_module_names - OLD_NAMES - {"escnn", "escnn_soft"}


def modules(place: Path) -> set[Path]:
    """A module, or all in a folder."""
    return {place} if place.is_file() else set(place.rglob("*.py"))


# ---------------------------------------------------------------------- versions and requirements


def test_all_files_state_one_version() -> None:
    stated = [PROJECT["version"], escnn_soft.__version__]
    stated += re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    stated += re.findall(r'^  version: "(\S+)"$', (ROOT / ".ci/conda-forge/recipe.yaml").read_text(), re.MULTILINE)
    assert len(stated) == 4
    assert len(set(stated)) == 1, stated


def test_every_import_is_among_the_requirements() -> None:
    found = third_party("")
    assert {"numpy", "torch"} <= found
    assert found <= names(PROJECT["dependencies"])


@pytest.mark.parametrize("room", OPTIONAL_ROOMS)
def test_every_import_of_an_optional_room_is_in_its_extra(room) -> None:
    extra = names(PROJECT["optional-dependencies"][OPTIONAL_ROOMS[room]])
    assert third_party(room) & extra
    assert third_party(room) <= extra | names(PROJECT["dependencies"])


def test_all_that_escnn_asks_for_is_among_the_requirements_but_py3nj() -> None:
    assert names(metadata.requires("escnn") or []) - names(PROJECT["dependencies"]) == {"py3nj"}


def test_nothing_that_is_installed_with_us_asks_for_escnn() -> None:
    """Or pip would go looking for py3nj."""
    everything = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    assert "escnn_soft" in names(everything)
    assert "escnn" not in names(everything)


def test_the_recipe_asks_for_the_same() -> None:
    recipe = (ROOT / ".ci/conda-forge/recipe.yaml").read_text()
    run = re.findall(r"^    - (.+)$", recipe.partition("  run:\n")[2].partition("\ntests:")[0], re.MULTILINE)
    assert {name.replace("pytorch", "torch") for name in names(run)} == names(PROJECT["dependencies"]) | {
        "escnn",
        "python",
    }


# ---------------------------------------------------------------------- messages


def test_without_escnn_the_import_says_what_to_install() -> None:
    printed = python(
        """
        import sys
        sys.modules["escnn"] = None
        try:
            import escnn_soft
        except ImportError as error:
            print(error)
        """
    )
    assert printed.startswith("Expected escnn>=1.0.11,<1.1, on which escnn_soft is built, but got escnn=None")
    assert "Fortran" in printed
    assert ESCNN in [line.strip() for line in printed.splitlines()]


@pytest.mark.parametrize("found", ["0.1.9", "1.0.2", "1.0.10", "1.1", "1.1.0", "2.0"])
def test_another_escnn_is_refused(found, monkeypatch) -> None:
    monkeypatch.setattr(requirement, "version", lambda name: found)
    with pytest.raises(MissingPackageError, match=re.escape(f"but got escnn={found!r}")) as caught:
        requirement.require_escnn()
    assert ESCNN in [line.strip() for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("found", ["1.0.11", "1.0.12", "1.0.11+local", "1.0.20.post1"])
def test_an_escnn_that_fits_is_not(found, monkeypatch) -> None:
    monkeypatch.setattr(requirement, "version", lambda name: found)
    requirement.require_escnn()


def test_an_escnn_without_metadata_is_taken_as_it_is(monkeypatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirement, "version", version)
    requirement.require_escnn()


def test_a_folder_named_escnn_is_not_escnn(tmp_path, monkeypatch) -> None:
    (tmp_path / "escnn").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "escnn")
    with pytest.raises(MissingPackageError, match="got escnn=None"):
        requirement.require_escnn()


def test_a_missing_package_is_an_import_error_of_ours() -> None:
    assert issubclass(MissingPackageError, ImportError)
    assert issubclass(MissingPackageError, EscnnSoftError)


def test_no_message_or_document_installs_an_extra() -> None:
    """It names the packages: what an extra resolves to is not what is missing."""
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "escnn_soft").rglob("*.py")]
    assert len(texts) > 100
    assert [path for path in texts if "escnn-soft[" in path.read_text()] == []


def test_pictures_of_the_readme_have_addresses() -> None:
    """Or they do not show where only the description is shown."""
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (ROOT / "README.md").read_text())
    assert pictures
    here = "https://raw.githubusercontent.com/escnn-soft/escnn_soft/main/"
    assert all(picture.startswith(here) and (ROOT / picture[len(here) :]).is_file() for picture in pictures)
