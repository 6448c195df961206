"""By how much a model's outputs change when the pixels move: what no list of operations foresees shows here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate

from escnn_soft._record import Record
from escnn_soft.convert.grid.outputs import Output, outputs_of, plain
from escnn_soft.convert.grid.pixel_moves import PixelMove, field_types_of, moved_image, moves_of

__all__ = ["Measurement", "measured", "random_image"]

_ROUNDING = 10.0
"""How many times what the last digits of the image do counts as rounding: symmetric networks stay below 2."""

_UNREPEATABLE = 1000.0
"""Units in the last place: by more no rounding changes what a network computes of the same image."""

_UNNAMED = (
    "for a reason that is not named: look for layers over rows, columns or tokens, masks, hooks and constants of the "
    "image's size; the status of a part of the model narrows it down"
)


@dataclass(frozen=True)
class Measurement(Record):
    """By how much the outputs of a model at softness 0 change under turns and mirrors of a random image.

    All changes are relative: ||f(g x) - g f(x)|| / ||f(x)||, where g f(x) is the nearest of what the output's shape may
    mean: scores, which stay, images and tokens, which move, and fields of the model's own types.

    Attributes:
        moves: what was done to the image.
        move: that of the largest change.
        output: name of the output that changes most; empty where there is one output.
        change: the largest.
        another: by how much another image changes this output.
        again: by how much it changes where only the last digits of the image do; 0 where nobody had to ask.
        unit: what one unit in the last place is, relative to a number.
        undecided: outputs of which nothing can be said, and why.
        awakened: Parameters that are zero so far, or close to it, and hide what they multiply; noise stood for them.
    """

    recorded: ClassVar[tuple[str, ...]] = ("rounding", "fault")

    moves: tuple[str, ...]
    move: str = ""
    output: str = ""
    change: float = 0.0
    another: float = 0.0
    again: float = 0.0
    unit: float = 0.0
    undecided: tuple[str, ...] = ()
    awakened: tuple[str, ...] = ()

    @property
    def rounding(self) -> float:
        """By how much rounding may change the output."""
        return _ROUNDING * max(self.unit, self.again)

    @property
    def fault(self) -> str | None:
        """Why the outputs are not symmetric, or cannot be told to be; None where they are, as far as could be seen."""
        if self.change > self.rounding:
            return f"{self._words}, {_UNNAMED}"
        if self.again > _UNREPEATABLE * self.unit:
            return (
                f"{self._whose} changes by {self.again:.2g} when it is computed again of the same image: it draws "
                "random numbers or blows up rounding, so that no symmetry can be measured"
            )
        return None

    def __str__(self) -> str:
        """What was measured, in a line."""
        said = [self._words] if self.move else []
        if self.undecided:
            said.append(f"nothing can be said of {' and '.join(self.undecided)}")
        if self.awakened:
            names = ", ".join(self.awakened[:3]) + (", ..." if len(self.awakened) > 3 else "")
            said.append(f"with noise for {names}: zero so far, or close to it, they hide what they multiply")
        return f"measured at softness 0: {'; '.join(said)}"

    @property
    def _whose(self) -> str:
        return f"output {self.output}" if self.output else "the output"

    @property
    def _words(self) -> str:
        beyond = self.change > self.rounding
        under = self.move if beyond else f"{' and '.join(self.moves)}, as rounding does"
        return f"{self._whose} changes by {self.change:.2g} under {under}, and by {self.another:.2g} for another image"


@dataclass(frozen=True)
class _Finding:
    """One output under one move; ``undecided`` says why nothing can be said of it, if so."""

    move: str
    output: str
    change: float = 0.0
    another: float = 0.0
    unit: float = 0.0
    undecided: str = ""


def random_image(shape: Sequence[int], like: Tensor, seed: int) -> Tensor:
    """Noise on a gradient of noise: global pooling averages much of the former away, not the latter.

    Args:
        shape: (batch, channels, height, width).
        like: a tensor of its device and dtype.
        seed: of its own random numbers; torch's are left alone.

    Returns:
        The image.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(*shape[:2], 3, 3, generator=generator)
    smooth = interpolate(coarse, size=tuple(shape[2:]), mode="bilinear")
    return (smooth + torch.randn(tuple(shape), generator=generator)).to(like)


def measured(model: Module, image: Tensor, returned: object, awakened: tuple[str, ...]) -> Measurement | None:
    """By how much the outputs of a model change under the turns and mirrors of its group.

    Args:
        model: the model, as it is to be measured: in evaluation mode, at softness 0, without gradient.
        image: an image.
        returned: what the model made of it.
        awakened: Parameters for which noise stands, to be told.

    Returns:
        The largest change; None where the model has no group that acts on the plane.
    """
    types, spaces = field_types_of(model)
    moves = moves_of(types, spaces, image)
    if not moves:
        return None
    outputs = outputs_of(returned)
    others = outputs_of(model(random_image(image.shape, image, seed=1)))
    findings = []
    for move in moves:
        moved = outputs_of(model(moved_image(move, image, types)))
        findings += [
            _finding(move, name, y, moved.get(name), others.get(name), image, types) for name, y in outputs.items()
        ]
    words = tuple(move.words for move in moves)
    reasons = dict.fromkeys(each.undecided for each in findings if each.undecided)
    undecided = tuple(reasons) if outputs else ("the output, which holds no tensor",)
    decided = [each for each in findings if not each.undecided]
    if not decided:
        return Measurement(words, undecided=undecided, awakened=awakened)
    worst = max(decided, key=lambda each: each.change)
    again = 0.0
    if worst.change > _ROUNDING * worst.unit:
        last_digits = 1 + torch.finfo(image.dtype).eps * random_image(image.shape, image, seed=2).sign()
        again = _relative(plain(outputs_of(model(image * last_digits))[worst.output]), plain(outputs[worst.output]))
    return Measurement(
        words, worst.move, worst.output, worst.change, worst.another, again, worst.unit, undecided, awakened
    )


def _finding(
    move: PixelMove,
    name: str,
    output: Output,
    moved: Output | None,
    other: Output | None,
    image: Tensor,
    types: Sequence[FieldType],
) -> _Finding:
    """What a move does to an output; ``moved`` and ``other`` are those for the moved image and for another one."""
    y = plain(output)
    reason = _unreadable(y, moved, other, image)
    if reason is None:
        assert moved is not None
        assert other is not None
        z, another, unit = plain(moved), _relative(plain(other), y), _unit(y, image)
        readings = list(move.readings(output, image, types))
        change = min((_relative(z, each) for each in readings if each.shape == z.shape), default=math.inf)
        known = isinstance(output, GeometricTensor) or y.ndim <= 2 or len(readings) > 1
        if known or change <= _ROUNDING * unit:
            return _Finding(move.words, name, change, another, unit)
        reason = f"which is neither scores nor an image nor tokens ({' x '.join(map(str, y.shape))})"
    return _Finding(move.words, name, undecided=f"{f'output {name}' if name else 'the output'}, {reason}")


def _unreadable(y: Tensor, moved: Output | None, other: Output | None, image: Tensor) -> str | None:
    """Why nothing can be read off an output, if so."""
    if not y.is_floating_point():
        return "which holds no floating-point numbers"
    if moved is None or other is None or plain(other).shape != y.shape:
        return "which other images do not have in this shape"
    another = _relative(plain(other), y)
    if another == math.inf:
        return "which is not finite"
    return "which does not depend on the image" if another <= _ROUNDING * _unit(y, image) else None


def _unit(y: Tensor, image: Tensor) -> float:
    """A unit in the last place of the coarser of two dtypes."""
    return max(torch.finfo(y.dtype).eps, torch.finfo(image.dtype).eps)


def _relative(y: Tensor, reference: Tensor) -> float:
    """||y - reference|| / ||reference||, the former alone where the reference is 0; infinite where it is undefined."""
    if not reference.numel():
        return 0.0
    reference = reference.double() if reference.device.type == "cpu" else reference.float()
    norm = reference.norm()
    distance = float((y.to(reference) - reference).norm() / torch.where(norm > 0, norm, 1.0))
    return math.inf if math.isnan(distance) else distance
