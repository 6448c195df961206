"""The kernel and bias of a layer with a softness, moved by the group: rho_out(g) W rho_in(g)^-1 and rho_out(g) b."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from escnn.gspaces import no_base_space
from escnn.nn import FieldType
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import weight_filter
from escnn_soft.errors import ArgumentError
from escnn_soft.groups import fibre_group
from escnn_soft.layers import SoftLayer, SoftMatrixLinear, SoftPointConvolution
from escnn_soft.testing.probes import move_kernels
from escnn_soft.testing.samples import exact_elements

__all__ = ["MovedLayer", "moved_layer"]

_ELEMENTS = 5


class MovedLayer(ABC):
    """A layer's kernel and bias as one list of tensors, and what the group does to them.

    Args:
        layer: the layer.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    @property
    @abstractmethod
    def elements(self) -> list[Any]:
        """Some elements that act on the kernel exactly."""

    @abstractmethod
    def parts(self) -> list[Tensor]:
        """Kernel (out, in, ...), and bias (out,) if there is one, differentiably."""

    @abstractmethod
    def moved(self, element: Any, parts: Sequence[Tensor]) -> list[Tensor]:
        """Such tensors, moved by an element."""

    @abstractmethod
    def assign(self, parts: Sequence[Tensor]) -> None:
        """Choose the parameters so that at softness 1 the layer has this kernel and bias."""

    def error(self) -> float:
        """Largest ||g . W - W|| / ||W|| over the elements, kernel and bias together."""
        with torch.no_grad():
            parts = [part.detach().double() for part in self.parts()]
            return max(distance(self.moved(g, parts), parts) for g in self.elements) / norm(parts)


def norm(parts: Sequence[Tensor]) -> float:
    """The Euclidean norm of some tensors together."""
    return float(torch.stack([part.detach().double().square().sum() for part in parts]).sum().sqrt())


def distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """The norm of their difference."""
    return norm([a - b for a, b in zip(first, second, strict=True)])


class _Steerable(MovedLayer):
    """A soft layer of escnn's."""

    @property
    def elements(self) -> list[Any]:
        gspace = self.layer.out_type.gspace
        if isinstance(self.layer, SoftPointConvolution):
            gspace = no_base_space(gspace.fibergroup)  # points move with any element
        return exact_elements(gspace)[1 : _ELEMENTS + 1]

    def parts(self) -> list[Tensor]:
        layer = self.layer
        kernel, bias = layer.expand_parameters()
        if bias is None and layer._bias_transform is not None:  # at softness 0, without an equivariant one
            bias = kernel.new_zeros(layer.out_type.size)
        return [layer._as_graded(kernel), *([] if bias is None else [bias])]

    def moved(self, element: Any, parts: Sequence[Tensor]) -> list[Tensor]:
        layer, space = self.layer, self.layer.out_type.gspace
        fields = [space.type(*f) for f in (layer._in_representations, layer._out_representations)]
        if isinstance(layer, SoftPointConvolution):
            kernel = self._by_coefficients(element, parts[0])
        else:
            kernel = _moved_kernel(element, parts[0], fields)
        return [kernel, *(_rotated(element, bias, layer.out_type) for bias in parts[1:])]

    def _by_coefficients(self, element: Any, kernel: Tensor) -> Tensor:
        """Each coefficient vector moved by its irrep, as the functions of a continuous kernel are."""
        transform, group = self.layer._transform, fibre_group(self.layer.out_type.gspace)
        moves = [group.matrix(level.irrep_id, element) for level in transform.levels]
        pieces = []
        for block, c in zip(transform.blocks, transform.block_coefficients(kernel), strict=True):
            sizes = torch.bincount(block.level, minlength=len(moves)).tolist()
            vectors = zip(c.split(sizes, dim=1), moves, strict=True)
            moved = [(v.reshape(len(v), -1, len(psi)) @ psi.to(v).T).reshape(v.shape) for v, psi in vectors]
            pieces.append(torch.cat(moved, dim=1).reshape(-1))
        return transform.synthesis(torch.cat(pieces))

    def assign(self, parts: Sequence[Tensor]) -> None:
        layer = self.layer
        layer._set_dense(layer._as_kernel(parts[0]), parts[1] if len(parts) > 1 else None)


class _OfMatrixGroup(MovedLayer):
    """A layer between representations of any matrix group."""

    @property
    def elements(self) -> list[Any]:
        generator = torch.Generator().manual_seed(0)
        return [self.layer.in_representation.group.sample(generator) for _ in range(_ELEMENTS // 2)]

    def parts(self) -> list[Tensor]:
        return [part for part in self.layer.expand_parameters() if part is not None]

    def moved(self, element: Any, parts: Sequence[Tensor]) -> list[Tensor]:
        out, into = (
            r.matrix(element).to(parts[0]) for r in (self.layer.out_representation, self.layer.in_representation)
        )
        return [out @ parts[0] @ torch.linalg.inv(into), *(out @ bias for bias in parts[1:])]

    def assign(self, parts: Sequence[Tensor]) -> None:
        _write([self.layer.weight, self.layer.bias], parts)


class _Filtered(MovedLayer):
    """A plain layer between fields, whose weight and bias go through filters."""

    @property
    def _types(self) -> Any:
        found = weight_filter(self.layer)
        assert found is not None
        return found.types

    @property
    def elements(self) -> list[Any]:
        return exact_elements(self._types.in_type.gspace)[1 : _ELEMENTS + 1]

    def parts(self) -> list[Tensor]:
        return [part for part in (self.layer.weight, self.layer.bias) if part is not None]

    def moved(self, element: Any, parts: Sequence[Tensor]) -> list[Tensor]:
        into, out = self._types.in_type, self._types.out_type
        return [_moved_kernel(element, parts[0], (into, out)), *(_rotated(element, b, out) for b in parts[1:])]

    def assign(self, parts: Sequence[Tensor]) -> None:
        stacks = self.layer.parametrizations
        names = ("weight", "bias")
        _write([stacks[n].original if n in stacks else getattr(self.layer, n) for n in names], parts)


def moved_layer(layer: Module) -> MovedLayer:
    """What the group does to a layer's weights.

    Args:
        layer: a soft layer, a matrix layer, or a plain layer between fields that goes through filters.

    Returns:
        A view of it.

    Raises:
        ArgumentError: if it is none of these.
    """
    if isinstance(layer, SoftLayer):
        return _Steerable(layer)
    if isinstance(layer, SoftMatrixLinear):
        return _OfMatrixGroup(layer)
    found = weight_filter(layer)
    if found is not None and found.types is not None:
        return _Filtered(layer)
    remedy = "Pass one layer of a model, such as SoftLinear(field, field, softness=1.0)."
    raise ArgumentError("layer", layer, "a layer with a softness between fields", remedy)


def _moved_kernel(element: Any, kernel: Tensor, fields: Sequence[FieldType]) -> Tensor:
    """rho_out(g) K(g^-1 x) rho_in(g)^-1 of a kernel whose pixels may be flat."""
    dims = fields[0].gspace.dimensionality
    size = kernel[0, 0].numel()
    side = round(size ** (1 / dims)) if dims else 1
    spatial = [side] * dims if size > 1 or kernel.dim() > 3 else []
    shaped = kernel.reshape(1, *kernel.shape[:2], *spatial)
    return move_kernels(element, shaped, *fields).reshape(kernel.shape)


def _rotated(element: Any, bias: Tensor, out_type: FieldType) -> Tensor:
    return torch.as_tensor(out_type.representation(element)).to(bias) @ bias


def _write(parameters: Sequence[Tensor | None], parts: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, part in zip((p for p in parameters if p is not None), parts, strict=True):
            parameter.copy_(part)
