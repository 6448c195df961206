"""Every dial of a module: what all verbs loop over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Module

from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.dial import Policy, SoftModule
from escnn_soft.grading import Level, SubgroupId, WeightSpectrum
from escnn_soft.layers.filtered_tensor import filtered_tensors

__all__ = ["Dialled", "dials", "own_dials"]


class Dialled(Protocol):
    """What has a softness: a soft layer, or a plain tensor that goes through a filter."""

    softness: float | Policy
    scheduled: bool

    @property
    def chain(self) -> tuple[SubgroupId, ...] | None:
        """Subgroups by which the dial is graded, from large to small; None to relax altogether."""

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""

    @property
    def fields(self) -> str:
        """Between which fields it maps, in words."""

    @property
    def plain(self) -> bool:
        """Whether it runs on plain tensors, so that something without a dial can take its place."""

    @property
    def of_layer(self) -> bool:
        """Whether its certificate is that of the whole layer it belongs to."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of everything under the dial, kernel and bias alike."""

    @property
    def closed(self) -> bool:
        """Whether a softness above 0 opens nothing, because the weights have no part that breaks nothing."""

    def bound(self, element: Any = None) -> float:
        """Largest relative error that the softness allows, known before any weight is."""

    def named(self, module: str) -> str:
        """What the dial is called, given the name of its module."""

    def turn(self, softness: float | Policy, *, keep: bool = False) -> None:
        """Set the softness; with ``keep`` the function is kept, where the new softness allows it."""

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy that a softness stands for; nothing is set. Raises what setting it would raise."""

    def spectrum(self) -> WeightSpectrum:
        """How the weights, as they are used, spread over the levels."""

    def certificate(self) -> Certificate | MatrixCertificate:
        """The equivariance error of the weights, as they are used, by the same levels."""

    def hardened(self) -> Module | Tensor:
        """What computes for good what this computes at softness 0, to take its place."""

    def baked(self) -> Module | Tensor:
        """What computes, without a dial, what this computes now; for what is :attr:`plain`."""


def own_dials(module: Module) -> Iterator[Dialled]:
    """A module's own dials, not its parts': itself, if it is a soft layer, and its tensors that go through a filter."""
    if isinstance(module, SoftModule):
        yield module
    yield from filtered_tensors(module)


def dials(model: Module) -> dict[str, Dialled]:
    """Every dial of a model, by name, in the order of ``named_modules``.

    Args:
        model: any module.

    Returns:
        Soft layers by their names, filtered tensors by that of their layer (weight and bias) or their own. A shared one
        is listed once, under its first name; two of one name are told apart by that of the tensor.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import dials, soften
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
        >>> model = soften(model, 0.1, gspace=gspaces.rot2dOnR2(4))
        >>> [(name, dial.softness, dial.certificate().relative.sup < 1.0) for name, dial in dials(model).items()]
        [('0', 0.1, True), ('2', 0.1, True)]
    """
    found: dict[str, Dialled] = {}
    for name, module in model.named_modules():
        for dial in own_dials(module):
            own = dial.named(name)
            if own in found:
                own = ".".join(filter(None, (own, dial.kind.rpartition(".")[2])))
            further = (f"{own}.{i}" for i in count(1))
            found[own if own not in found else next(key for key in further if key not in found)] = dial
    return found
