"""Arguments that commands share, and what they may look like; nothing here imports torch or escnn."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "SOFTNESS",
    "UsageError",
    "add_model",
    "parse_factory",
    "parse_number",
    "parse_setting",
    "parse_shape",
    "parse_softness",
]

SOFTNESS = "a number in [0, 1], exponential:S, cutoff:SIGMA or budget:ETA"
"""What may be given as a softness."""


class UsageError(Exception):
    """The command line asks for something that does not exist, cannot be read or does not work."""


def add_model(parser: argparse.ArgumentParser, *, softness: bool = True) -> None:
    """Give a command the arguments that name a model."""
    model = "function that builds the network, e.g. mypackage.nets:resnet; the current folder is searched first"
    parser.add_argument("model", metavar="MODULE:FUNCTION", type=parse_factory, help=model)
    checkpoint = "parameters to load: .safetensors, or a torch file that holds tensors only"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=checkpoint)
    if softness:
        soft = f"soften the network before loading: {SOFTNESS}"
        parser.add_argument("--softness", type=parse_softness, metavar="S", help=soft)


def parse_factory(text: str) -> tuple[str, str]:
    """An argparse type: the module and the function in ``module:function``."""
    module, colon, function = text.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), *function.split(".")])):
        raise argparse.ArgumentTypeError(f"expected module:function but got {text!r}")
    return module, function


def parse_softness(text: str) -> tuple[str, float]:
    """An argparse type: the kind of a softness, empty for a plain one, and its number."""
    kinds = {"": 1.0, "exponential": 1.0, "cutoff": math.inf, "budget": 2.0}
    kind, _, value = text.rpartition(":")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (kind in kinds and 0 <= number <= kinds[kind]):
        raise argparse.ArgumentTypeError(f"expected {SOFTNESS} but got {text!r}")
    return kind, number


def parse_setting(text: str) -> tuple[str, tuple[str, float]]:
    """An argparse type: a layer and its softness."""
    name, equals, softness = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected LAYER=SOFTNESS but got {text!r}")
    return name, parse_softness(softness)


def parse_number(kind: Callable[[str], float], low: float, high: float, expected: str) -> Callable[[str], float]:
    """An argparse type: a number of a kind in [low, high]."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected {expected} but got {text!r}")
        return value

    return parse


def parse_shape(text: str) -> tuple[int, ...]:
    """An argparse type: positive whole numbers with commas between."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected positive whole numbers such as 1,3,33,33 but got {text!r}")
    return tuple(int(part) for part in parts)
