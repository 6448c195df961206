"""escnn's basis at continuous points, written as coefficients of rings times harmonics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from escnn.group import Representation
from escnn.nn.modules.basismanager import BlocksBasisSampler
from torch import Tensor
from torch.nn import Module

from escnn_soft.escnn.sampled_basis import channel_slots
from escnn_soft.functions import Harmonic
from escnn_soft.grading import RingFunctions, WeightTransform

__all__ = ["PointBlock", "PointExpansion", "SampledAtPoints", "own_sampler"]

SampledAtPoints = BlocksBasisSampler
"""escnn's module that samples a point layer's basis at the edges of a graph."""


def own_sampler(sampler: BlocksBasisSampler) -> BlocksBasisSampler:
    """A copy of escnn's sampler, which all layers of the same types share, dtype and all.

    Its modules are equal to themselves alone: escnn hashes the values of their tensors, which torch asks for whenever
    it walks through a model, and which half precision does not have.

    Args:
        sampler: escnn's.

    Returns:
        The layer's own.
    """
    own = copy.deepcopy(sampler)
    _identify(own)
    return own


def _identify(module: Module) -> None:
    """Make a module and all below it equal to themselves alone; ``modules()`` would skip those that are equal now."""
    cls: Any = type(module)
    module.__class__ = _like_other_modules(cls)
    for child in module._modules.values():
        if child is not None:
            _identify(child)


@cache
def _like_other_modules(cls: Any) -> Any:
    """The class, with the hash and equality of every other module."""
    if cls.__hash__ is Module.__hash__:
        return cls
    return type(cls.__name__, (cls,), {"__hash__": Module.__hash__, "__eq__": object.__eq__})


class PointBlock:
    """The basis elements between two representations.

    Args:
        sampler: escnn's block, which evaluates the elements at points; in double precision.
        functions: rings times harmonics, in float64.

    Attributes:
        exact: coefficients of the elements, in float64.  # shape: (elements, out, in, S)
        sampled_basis: the same in the layer's dtype on its device.
    """

    def __init__(self, sampler: Any, functions: RingFunctions) -> None:
        self._sampler = sampler
        self.exact = _coefficients(sampler, list(sampler.get_basis_info()), functions)
        self.sampled_basis = self.exact

    def sharpen(self, equivariant: WeightTransform) -> None:
        """Free the elements of escnn's float32 rounding, by the equivariant level of single fields of the two."""
        self.exact = self.sampled_basis = torch.stack([equivariant.project(element) for element in self.exact])

    def get_basis_info(self) -> Iterable[dict[str, Any]]:
        """Attributes of the elements, as escnn gives them."""
        return self._sampler.get_basis_info()


class PointExpansion:
    """Coefficients C of the kernels that a layer's weights stand for: K(x) = sum over s of C_s phi_s(x).

    Stands in for escnn's ``BlocksBasisExpansion``, with functions in the place of pixels. Not a module: it holds no
    state.

    Args:
        sampler: escnn's basis of the layer; fixes the order of the weights.
        representations: fields of the input and of the output.
        functions: rings times harmonics, in float64.
    """

    def __init__(
        self,
        sampler: BlocksBasisSampler,
        representations: tuple[Sequence[Representation], Sequence[Representation]],
        functions: RingFunctions,
    ) -> None:
        self._representations_pairs = sampler._representations_pairs
        self._in_count, self._out_count = sampler._in_count, sampler._out_count
        sampler = copy.deepcopy(sampler).double().cpu()
        self._slots = tuple(channel_slots(fields) for fields in representations)
        self._shape = *(sum(rho.size for rho in fields) for fields in reversed(representations)), functions.count
        for pair in self._representations_pairs:
            block = PointBlock(getattr(sampler, f"block_sampler_{pair}"), functions)
            setattr(self, f"block_expansion_{self._escape_pair(pair)}", block)

    @staticmethod
    def _escape_pair(pair: tuple[str, str]) -> tuple[str, str]:
        """Names of blocks need no escape here."""
        return pair

    def blocks(self) -> Iterator[tuple[tuple[str, str], PointBlock]]:
        """The blocks in the order of the weights, with the names of (input, output) representation."""
        for pair in self._representations_pairs:
            yield pair, getattr(self, f"block_expansion_{pair}")

    def __call__(self, weights: Tensor) -> Tensor:
        """The coefficients C (out, in, S), differentiably, from weights in escnn's order."""
        result, start = weights[:0].sum().expand(self._shape), 0  # zeros, which gradients find also where all is empty
        for pair, expanded in self.blocks():
            basis = expanded.sampled_basis
            columns, rows = self._slots[0][pair[0]], self._slots[1][pair[1]]
            stop = start + len(rows) * len(columns) * len(basis)
            block = weights[start:stop].view(-1, len(basis)) @ basis.flatten(1)
            block = block.view(len(rows), len(columns), *basis.shape[1:]).transpose(1, 2)
            place = rows[:, :, None, None].to(weights.device), columns.to(weights.device)
            result = result.index_put(place, block)
            start = stop
        return result


def _coefficients(sampler: Any, attributes: Sequence[dict[str, Any]], functions: RingFunctions) -> Tensor:
    """Coefficients of escnn's elements, each of which lives on one ring and one frequency: (elements, out, in, S)."""
    directions = _directions(functions)
    inverse = torch.linalg.pinv(functions.spheres(directions))  # shape: (harmonics, directions)
    places = dict(zip(functions.harmonics, functions.slices, strict=True))
    result: Tensor | None = None
    rings = list(dict.fromkeys((h.radius, h.width) for h in functions.harmonics))
    owners = [_nearest(rings, a["radius"], a["sigma"]) for a in attributes]
    for ring in rings:
        # where the ring is high; a ring about the origin has no direction there
        radius = ring[0] if ring[0] > 0 else ring[1]
        with torch.no_grad():
            samples = sampler(radius * directions)
        height = float(np.exp(-0.5 * ((radius - ring[0]) / ring[1]) ** 2))
        fitted = torch.einsum("an,noik->koia", inverse, samples) / height
        if result is None:
            result = fitted.new_zeros(*fitted.shape[:3], functions.count)
        for k, (a, owner) in enumerate(zip(attributes, owners, strict=True)):
            if owner == ring:
                place = places[Harmonic(*ring, a["irrep:frequency"])]
                result[k, ..., place] = fitted[k][..., functions.angular[place]]
    assert result is not None
    return result


def _nearest(rings: Sequence[tuple[float, float]], radius: float, width: float) -> tuple[float, float]:
    """The ring of an element: escnn's own numbers, but for a sampler that was cast to half precision and back."""
    return min(rings, key=lambda ring: abs(ring[0] - radius) + abs(ring[1] - width))


def _directions(functions: RingFunctions) -> Tensor:
    """Enough directions to tell all harmonics: (n, dims)."""
    highest = max(h.frequency for h in functions.harmonics)
    if functions.dims == 2:
        angles = torch.arange(2 * highest + 2, dtype=torch.float64) * (2 * torch.pi / (2 * highest + 2)) + 0.1
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    count = 4 * (highest + 1) ** 2
    height = 1 - (2 * torch.arange(count, dtype=torch.float64) + 1) / count  # a Fibonacci sphere
    angle = torch.arange(count, dtype=torch.float64) * (torch.pi * (3 - 5**0.5))
    flat = (1 - height.square()).sqrt()
    return torch.stack([flat * angle.cos(), flat * angle.sin(), height], dim=1)
