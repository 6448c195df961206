"""What in a vision transformer knows positions: tables of the token grid and of offsets, and rotary channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from escnn.gspaces import GSpace2D
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft._lasting import lasting
from escnn_soft.convert.grid.grid_breaks import GridBreak, class_name
from escnn_soft.convert.selection import FilterFn, names_of
from escnn_soft.dial import Policy, SoftFilter
from escnn_soft.errors import ArgumentError, EscnnSoftError, GridActionError, ShapeError
from escnn_soft.grading import Grading, RotaryChannels, TokenShifts, TokenTable, token_spectrum
from escnn_soft.layers import filtered_tensors

__all__ = [
    "Position",
    "PositionReader",
    "Unreachable",
    "position_filters",
    "positions_in",
    "register_positions",
    "register_structure",
    "regrade",
    "unfiltered_positions",
]

Reader = TypeVar("Reader", bound=Callable[..., Iterable["Position"]])


@dataclass(frozen=True)
class Unreachable:
    """Something that knows positions and that no dial reaches.

    Attributes:
        reason: what it would have to be, as a noun phrase.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Position:
    """A tensor of a module that knows positions.

    Attributes:
        owner: the module that holds it.
        tensor: its name there; that of the module it stands for, if it is unreachable.
        kind: what it is, in words.
        place: where the token grid stands in it, what its rows are, or why it cannot be softened.
    """

    owner: Module
    tensor: str
    kind: str
    place: TokenTable | RotaryChannels | Unreachable


PositionReader = Callable[[Module], Iterable[Position]]
"""From a module to what in it knows positions, that of its submodules included where only it knows how."""

_READERS: dict[type[Module], PositionReader] = {}
_STRUCTURES: list[PositionReader] = []


def register_positions(cls: type[Module]) -> Callable[[Reader], Reader]:
    """Tell :func:`soften` where a class of yours keeps what knows positions.

    Vision transformers of timm, transformers and torchvision are known by their structure. A reader for a class goes
    before that, for the class and its subclasses.

    Args:
        cls: a class of modules.

    Returns:
        A decorator that leaves the reader as it is: a function from a module of the class to its :class:`Position` s.

    Raises:
        ArgumentError: if the class is no class of modules, or has a reader already.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import Position, soften
        >>> from escnn_soft.grading import TokenTable
        >>> class Tokens(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.where = torch.nn.Parameter(torch.arange(8.0).view(4, 2))
        >>> @register_positions(Tokens)
        ... def read(module):
        ...     yield Position(module, "where", "position table", TokenTable((4, 2), axis=0, sides=(2, 2)))
        >>> soften(Tokens(), 0.0, gspace=gspaces.rot2dOnR2(4)).where[:, 0]
        tensor([3., 3., 3., 3.], grad_fn=<SelectBackward0>)
    """
    if not (isinstance(cls, type) and issubclass(cls, Module)):
        raise ArgumentError("cls", cls, "a subclass of torch.nn.Module", "Write @register_positions(YourModel).")
    if cls in _READERS:
        raise ArgumentError("cls", cls, "a class without a reader", "Register each class once.")

    def register(reader: Reader) -> Reader:
        _READERS[cls] = reader
        return reader

    return register


def register_structure(reader: Reader) -> Reader:
    """Add a reader that is asked about every module and knows those that it can read by their structure."""
    _STRUCTURES.append(reader)
    return reader


def positions_in(model: Module) -> Iterator[Position]:
    """Everything in a model that knows positions, one entry a tensor."""
    seen: set[tuple[int, str]] = set()
    for module in model.modules():
        for position in () if isinstance(module, ScriptModule) else _positions_of(module):
            key = id(position.owner), position.tensor
            if key not in seen:
                seen.add(key)
                yield position


def _positions_of(module: Module) -> Iterator[Position]:
    """What a module says of itself and its parts."""
    own = next((_READERS[cls] for cls in type(module).__mro__ if cls in _READERS), None)
    for reader in _STRUCTURES if own is None else [own]:
        yield from reader(module)


@lasting()
def position_filters(
    model: Module, symmetry: GSpace2D | TokenShifts, policy: Policy, filter_fn: FilterFn | None
) -> tuple[dict[Module, dict[str, SoftFilter]], dict[str, str]]:
    """The filters of everything in a model that knows positions and has none yet.

    Args:
        model: the model.
        symmetry: gspace on the plane, or shifts of the grid.
        policy: the softness.
        filter_fn: function of a module that holds such a tensor, and its name; None means all.

    Returns:
        Filters by module and tensor, and the reasons why there is none by the tensors' names.
    """
    found = _without_filter(model)
    owners = {id(position.owner) for position in found}
    names = names_of(model, lambda module: id(module) in owners, filter_fn)
    filters: dict[Module, dict[str, SoftFilter]] = {}
    reasons: dict[str, str] = {}
    for position in found:
        if position.owner in names:
            try:
                soft_filter = _filter(position, symmetry, policy)
            except EscnnSoftError as error:
                reasons[_full_name(names[position.owner][0], position)] = str(error)
            else:
                filters.setdefault(position.owner, {})[position.tensor] = soft_filter
    return filters, reasons


def _filter(position: Position, symmetry: GSpace2D | TokenShifts, policy: Policy) -> SoftFilter:
    owner, place, tensor = position.owner, position.place, getattr(position.owner, position.tensor, None)
    if isinstance(place, Unreachable):
        remedy = "The rest of the model is softened; leave this out of what you promise."
        raise GridActionError(position.kind, type(owner).__name__, place.reason, remedy)
    if not isinstance(tensor, Tensor):
        expected = f"the name of a tensor of {type(owner).__name__}"
        raise ArgumentError("position.tensor", position.tensor, expected, "Correct the reader of this class.")
    graded = _graded(place, symmetry, tensor)
    return SoftFilter(graded, policy, tensor, symmetry=symmetry, what=_what(position))


def _graded(place: TokenTable | RotaryChannels, symmetry: GSpace2D | TokenShifts, tensor: Tensor) -> Grading:
    if isinstance(place, TokenTable):
        return token_spectrum(symmetry, place)
    return place.graded(symmetry, tuple(tensor.shape))


def _what(position: Position) -> str:
    return f"{position.kind}, {position.place}"


@lasting()
def regrade(owner: Module, tensor: str, old: Tensor) -> None:
    """Find the levels of a filtered tensor anew, where it was replaced by one for another grid of positions.

    Args:
        owner: the module that holds the tensor.
        tensor: its name there.
        old: the tensor before.

    Raises:
        ShapeError: if it has another shape, and the module does not tell what it stands for.
        GridActionError: if the group does not act on the new grid.
    """
    new: Any = owner._parameters.get(tensor, owner._buffers.get(tensor))
    position = next((p for p in _positions_of(owner) if p.owner is owner and p.tensor == tensor), None)
    for soft_filter in (each.filter for each in filtered_tensors(owner) if each.tensor == tensor):
        symmetry = soft_filter.symmetry
        if symmetry is not None and position is not None and not isinstance(position.place, Unreachable):
            if new.shape != old.shape or _what(position) != soft_filter.what:
                soft_filter.regrade(_graded(position.place, symmetry, new), _what(position))
        elif new.shape != old.shape:
            name, shape = f"{class_name(owner)}.{tensor}", tuple(old.shape)
            remedy = "Take its filter off first, with bake or harden, and soften the model again."
            raise ShapeError(name, new, f"a tensor of shape {shape}, for which its filter was made", remedy)


def unfiltered_positions(model: Module) -> tuple[GridBreak, ...]:
    """What in a model knows positions and goes through no filter, one entry a tensor."""
    found = _without_filter(model)
    names = names_of(model, lambda _: True, None)
    reasons = [
        f"is not {position.place.reason}" if isinstance(position.place, Unreachable) else "has no filter"
        for position in found
    ]
    return tuple(
        GridBreak(_full_name(names[position.owner][0], position), position.kind, reason)
        for position, reason in zip(found, reasons, strict=True)
    )


def _without_filter(model: Module) -> list[Position]:
    return [position for position in positions_in(model) if not is_parametrized(position.owner, position.tensor)]


def _full_name(owner: str, position: Position) -> str:
    return ".".join(filter(None, (owner, position.tensor)))
