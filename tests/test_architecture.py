"""docs/architecture.md is enough: its policy and its grading are all that a new one needs, in no other room."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.parametrize import register_parametrization

import escnn_soft as es
from escnn_soft.grading import Grading
from escnn_soft.layers import dials
from tests.workflows.carriers import CARRIERS, filled

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "escnn_soft"
INSIDE = ("escnn", "_compat")
"""The rooms that know escnn's private names."""
TORCH = {
    "_BatchNorm", "_C", "_DropoutNd", "_SubParsersAction", "_adaptive_avg_pool2d", "_are_functorch_transforms_active",
    "_current_level", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa",
    "_forward_pre_hooks", "_get_tracing_state", "_len_torch_dispatch_stack",
    "_foreach_addcmul_", "_foreach_copy_", "_foreach_lerp", "_foreach_lerp_", "_foreach_mul", "_foreach_mul_",
    "_foreach_norm", "_foreach_sub_", "_reversed_padding_repeated_twice", "_schema", "_unsafe_view", "_version",
}  # fmt: skip
"""Private names of torch's and argparse's."""
LONGEST = 40


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code defines, run as it stands there."""
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks():
        assert block.count("\n") <= LONGEST
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    return names


@pytest.mark.parametrize("kind", ["R2Conv C8", "Linear D4", "MatrixLinear", "filter C4"])
def test_a_new_policy_turns_every_kind_of_dial(page, kind) -> None:
    model = filled(CARRIERS[kind]())
    policy = page["Window"](0.5, 1.5)
    es.set_softness(model, policy)
    for dial in dials(model).values():
        assert dial.softness == policy
        for level in dial.spectrum().levels:
            assert level.gain == (0.0 if 0.5 < level.dial < 1.5 else 1.0)
            assert level.energy <= 1e-9 * dial.spectrum().energy or level.gain == 1.0
    es.SoftnessScheduler(model, lambda step: page["Window"](0.0, 1.0 + step))
    assert all(dial.softness == page["Window"](0.0, 1.0) for dial in dials(model).values())


def test_a_new_grading_takes_every_verb_that_needs_no_group(page) -> None:
    conv = torch.nn.Conv1d(3, 4, 5, padding=2)
    graded = page["Mirrored"].of(conv.weight)
    assert isinstance(graded, Grading)
    register_parametrization(conv, "weight", es.SoftFilter(graded, 0.0, conv.weight))
    x = torch.randn(2, 3, 9)
    assert torch.allclose(conv(x.flip(-1)), conv(x).flip(-1), atol=1e-6)
    es.set_softness(conv, es.Exponential(0.5))
    assert not torch.allclose(conv(x.flip(-1)), conv(x).flip(-1), atol=1e-3)
    (dial,) = dials(conv).values()
    spectrum = dial.spectrum()
    assert spectrum.energy == pytest.approx(float(conv.weight.detach().square().sum()), rel=1e-5)
    assert [level.gain for level in spectrum.levels] == [1.0, 0.25]
    assert sum(level.dim for level in spectrum.levels) == conv.weight.numel()
    assert es.soft_status(conv).layers[0].breaking == pytest.approx(spectrum.breaking / spectrum.energy)
    for softness in (es.Learned(0.3), es.Cutoff(1.0), 1.0):
        es.set_softness(conv, softness)
        assert torch.isfinite(conv(x)).all()
    with pytest.raises(es.errors.SoftnessError, match="needs no bound of the error"):
        es.set_softness(conv, es.Budget(0.1))
    es.set_softness(conv, 0.3)
    assert torch.allclose(es.bake(conv)(x), conv(x), atol=1e-6)
    strict = es.harden(conv)
    assert torch.allclose(strict(x.flip(-1)), strict(x).flip(-1), atol=1e-6)


def nodes(*, inside: bool) -> Iterator[tuple[Path, ast.AST]]:
    """The syntax of the rooms that know escnn from the inside, or of all others."""
    for path in PACKAGE.rglob("*.py"):
        if (path.relative_to(PACKAGE).parts[0] in INSIDE) is inside:
            for node in ast.walk(ast.parse(path.read_text())):
                yield path, node


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_of_ours() -> set[str]:
    """Every name that the package defines: a function, a class, an attribute that it writes or annotates."""
    found = set()
    for inside in (True, False):
        for _, node in nodes(inside=inside):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return found


def test_only_two_rooms_know_private_names_of_escnn() -> None:
    known = names_of_ours() | TORCH
    foreign = {
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.attr}"
        for path, node in nodes(inside=False)
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in known
    }
    assert not foreign


def test_that_test_sees_what_the_two_rooms_do() -> None:
    used = {node.attr for _, node in nodes(inside=True) if isinstance(node, ast.Attribute) and private(node.attr)}
    assert len(used - names_of_ours()) > 10
