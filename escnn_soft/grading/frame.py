"""The orthogonal change of basis between the channels of a sum of fields and their irreps, sorted by irrep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import RepresentationError
from escnn_soft.grading.field import Field
from escnn_soft.groups import Irreps

__all__ = ["ChannelFrame"]

_Any = TypeVar("_Any")


@dataclass(frozen=True, eq=False)
class ChannelFrame:
    """x = F x_hat, where x_hat lists the irreps of a sum of fields: all copies of the first irrep, then the second.

    F is a permutation of the irreps into fields, one small matrix for each kind of field, and a permutation of the
    fields into channels. It is never formed: applying it costs the size of a field per entry.

    Attributes:
        size: number of channels.
        irreps: irrep ids with their multiplicities and sizes, in the order of x_hat.
        to_fields: position in x_hat of each entry of the fields' irreps, fields sorted by kind.  # shape: (size,)
        to_channels: position among the sorted fields' entries of each channel; None for the identity.  # shape: (size,)
        kinds: (number of fields, change of basis), None for the identity matrix.
    """

    size: int
    irreps: tuple[tuple[IrrepId, int, int], ...]
    to_fields: Tensor
    to_channels: Tensor | None
    kinds: tuple[tuple[int, int, Tensor | None], ...]

    @staticmethod
    def of(group: Irreps, fields: Sequence[Field]) -> ChannelFrame:
        """The frame of a sum of fields, in float64; ``RepresentationError`` if a change of basis is not orthogonal."""
        return _frame(_Same(group), tuple(_Same(rho) for rho in fields))

    @staticmethod
    def _build(group: Irreps, fields: Sequence[Field]) -> ChannelFrame:
        kinds: dict[str, Field] = {}
        for rho in fields:
            if rho.name not in kinds:
                _check_orthogonal(rho)
                kinds[rho.name] = rho
        offsets = np.cumsum([0] + [rho.size for rho in fields])
        places = {name: [i for i, rho in enumerate(fields) if rho.name == name] for name in kinds}
        by_kind = [i for name in kinds for i in places[name]]
        channels = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in by_kind])

        slots: dict[IrrepId, list[NDArray[np.int64]]] = {}  # where each copy of an irrep starts among the sorted fields
        position = 0
        for i in by_kind:
            for irrep in fields[i].irreps:
                size = group.size(irrep)
                slots.setdefault(tuple(irrep), []).append(np.arange(position, position + size))
                position += size
        order = sorted(slots)
        to_hat = np.concatenate([slot for irrep in order for slot in slots[irrep]])
        return ChannelFrame(
            size=position,
            irreps=tuple((irrep, len(slots[irrep]), len(slots[irrep][0])) for irrep in order),
            to_fields=torch.from_numpy(np.argsort(to_hat)),
            to_channels=None
            if np.array_equal(channels, np.arange(position))
            else torch.from_numpy(np.argsort(channels)),
            kinds=tuple((len(places[name]), rho.size, _change_of_basis(rho)) for name, rho in kinds.items()),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> ChannelFrame:
        """The frame on a device in a dtype."""
        return replace(
            self,
            to_fields=self.to_fields.to(device),
            to_channels=None if self.to_channels is None else self.to_channels.to(device),
            kinds=tuple((count, size, None if q is None else q.to(device, dtype)) for count, size, q in self.kinds),
        )

    def out_of_irreps(self, rows: Tensor) -> Tensor:
        """F x, for x of shape (size, n)."""
        return self.sorted_out(self.mixed(rows.index_select(0, self.to_fields)), 0)

    def into_irreps(self, rows: Tensor) -> Tensor:
        """F^T x, for x of shape (size, n)."""
        fields = self.unmixed(self.sorted_in(rows, 0))
        return torch.empty_like(fields).index_copy(0, self.to_fields, fields)

    def mixed(self, rows: Tensor) -> Tensor:
        """The entries of each field, sorted by kind, from those of its irreps, for x of shape (size, n)."""
        return self._per_kind(rows, lambda q, x: q @ x)

    def unmixed(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`mixed`."""
        return self._per_kind(rows, lambda q, x: q.mT @ x)

    def sorted_out(self, x: Tensor, dim: int) -> Tensor:
        """Channels in their order along a dimension, from fields sorted by kind."""
        return x if self.to_channels is None else x.index_select(dim, self.to_channels)

    def sorted_in(self, x: Tensor, dim: int) -> Tensor:
        """The inverse of :meth:`sorted_out`."""
        return x if self.to_channels is None else torch.empty_like(x).index_copy(dim, self.to_channels, x)

    def _per_kind(self, rows: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if all(q is None for _, _, q in self.kinds):
            return rows
        parts = rows.split([count * size for count, size, _ in self.kinds])
        mixed = [
            part if q is None else product(q, part.reshape(count, size, -1)).reshape(part.shape)
            for part, (count, size, q) in zip(parts, self.kinds, strict=True)
        ]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


@dataclass(frozen=True, eq=False)
class _Same(Generic[_Any]):
    """Equal to itself alone: representations of escnn are equal when they are nearly."""

    value: _Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=256)
def _frame(group: _Same[Irreps], fields: tuple[_Same[Field], ...]) -> ChannelFrame:
    return ChannelFrame._build(group.value, [same.value for same in fields])


def _change_of_basis(rho: Field) -> Tensor | None:
    q = np.asarray(rho.change_of_basis, dtype=np.float64)
    return None if np.allclose(q, np.eye(rho.size), rtol=0, atol=1e-14) else torch.from_numpy(q.copy())


def _check_orthogonal(rho: Field) -> None:
    q = np.asarray(rho.change_of_basis, dtype=np.float64)
    defect = float(np.abs(q.T @ q - np.eye(rho.size)).max())
    if defect > 1e-6:
        raise RepresentationError(
            "representation",
            rho,
            f"an orthogonal change of basis (|Q^T Q - I| is {defect:.1e})",
            "Build the representation with an orthogonal change_of_basis; every representation can be made orthogonal.",
        )
