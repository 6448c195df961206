"""From the coefficients of a layer to its kernel and back, so that a rule for matrices becomes one for the layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from escnn_soft.dial import Dial
from escnn_soft.escnn.sampled_basis import channel_slots, pair_blocks
from escnn_soft.grading import WeightTransform
from escnn_soft.layers import SoftLayer

__all__ = ["CoefficientMap", "DenseMap", "KernelMap", "bases"]


class KernelMap(Protocol):
    """Between some parameters and one matrix.

    Attributes:
        parameters: the parameters.
        shape: of the matrix: (out, in * S).
    """

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix: (out, in * S)."""

    def applied(self, rule: Callable[[Tensor], Tensor], coordinates: Sequence[Tensor]) -> list[Tensor]:
        """A rule for matrices, applied to coordinates shaped like the parameters."""


@dataclass(frozen=True, eq=False)
class DenseMap:
    """A dense weight, (out, in, ...), which is its own matrix: d = F f(F c), with F the filter of its dial.

    Where the policy damps nothing, only limits, F is the identity.

    Attributes:
        weight: the parameter.
        dial: of the weight, whose gains are used as the policy alone has them.
    """

    weight: Parameter
    dial: Dial

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weight."""
        return (self.weight,)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix: (out, in * S)."""
        return self.weight.shape[0], self.weight[0].numel()

    def applied(self, rule: Callable[[Tensor], Tensor], coordinates: Sequence[Tensor]) -> list[Tensor]:
        """The rule between two filters."""
        (weight,) = coordinates
        return [self._filtered(rule(self._filtered(weight).flatten(1)).view_as(weight))]

    def _filtered(self, weight: Tensor) -> Tensor:
        dial = self.dial
        if dial.undamped:
            return weight
        return dial.here.filtered(weight.to(dial.dtype), dial.static).to(weight)


@dataclass(frozen=True, eq=False)
class CoefficientMap:
    r"""The coefficients of a soft layer, of which a kernel is the sum of escnn's part and the others.

    For a linear map E from coordinates to kernels and a rule f for matrices, the coordinates' rule is

        d = E^T f(E c),        E = [A (A^T A)^(-1), B G]

    with A escnn's basis, B that of the other levels and G their gains.

    * It is a direction of descent: <c, E^T f(E c)> = <E c, f(E c)>, and f is positive: <M, f(M)> >= 0.
    * It commutes with the group. The group acts on kernels by orthogonal matrices R, with f R = R f, and on coordinates
      by orthogonal matrices D, with E D = R E. So E^T f(E D c) = E^T R f(E c) = D E^T f(E c).
    * With G the step is that of the kernel as it is used, damped level by level as the kernel is, and again on the way
      in. Without it levels that the dial damps a little moved almost as far as others, since f makes singular values
      equal; on digits both ways lay on about one curve of accuracy against error, G at a larger softness.
    * It does not depend on the basis that escnn chose, which is not orthonormal. c is a gradient A^T dL/dK, so
      A (A^T A)^(-1) makes of it the gradient of the kernel, projected; and its adjoint gives the coordinates A^+ f of
      the kernel nearest to f. B is orthonormal where the group acts on the grid, and for fibre maps; elsewhere
      harmonics overlap on the pixels, and only the two properties above hold, for those elements that move pixels.

    Attributes:
        parameters: escnn's coefficients, the others, or both.
        strict: the dual basis A (A^T A)^(-1) of escnn's, pair by pair of representations; None without them.
        soft: the other levels; None without them.
        dial: of the kernel, whose gains are used as the policy alone has them.
        kernel: (out, in, S).
        coefficients_of: from soft weights to soft coefficients; of a layer with a rank, by its other factors as they
            are, which are no part of the matrix, and which the group leaves alone.
    """

    parameters: tuple[Parameter, ...]
    strict: tuple[_DualBlock, ...] | None
    soft: WeightTransform | None
    dial: Dial
    kernel: tuple[int, int, int]
    coefficients_of: Callable[[Tensor], Tensor]

    @staticmethod
    def of(layer: SoftLayer, parameters: tuple[Parameter, ...]) -> CoefficientMap:
        """The map of a layer's weights and soft weights, as far as they are among some parameters."""
        like = layer.weights.device, torch.promote_types(layer.weights.dtype, torch.float32)
        ids = [id(p) for p in parameters]
        mine = tuple(p for p in (layer.weights, layer.soft_weights) if id(p) in ids)
        with torch.no_grad():
            strict = tuple(_dual_blocks(layer, *like)) if id(layer.weights) in ids else None
        soft = layer._transform.soft.to(*like) if id(layer.soft_weights) in ids else None
        shape, coefficients_of = layer._transform.shape, layer._coefficients_of
        return CoefficientMap(mine, strict, soft, layer._dials[0], shape, coefficients_of)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix: (out, in * S)."""
        return self.kernel[0], self.kernel[1] * self.kernel[2]

    def applied(self, rule: Callable[[Tensor], Tensor], coordinates: Sequence[Tensor]) -> list[Tensor]:
        """E^T f(E c).

        Args:
            rule: f, from a matrix to a matrix (out, in * S).
            coordinates: c, shaped like the parameters.

        Returns:
            One tensor a parameter.
        """
        with torch.enable_grad():
            coordinates = [c.detach().requires_grad_() for c in coordinates]
            kernel = self._kernel(coordinates)
        moved = rule(kernel.detach().flatten(1)).view_as(kernel)
        return list(torch.autograd.grad(kernel, coordinates, moved))  # E is linear: its transpose

    def _kernel(self, coordinates: Sequence[Tensor]) -> Tensor:
        """E c, (out, in, S)."""
        result, parts = coordinates[0].new_zeros(self.kernel), list(coordinates)
        if self.strict is not None:
            weights = parts.pop(0).split([block.count for block in self.strict])
            for block, own in zip(self.strict, weights, strict=True):
                result = result.index_put(block.place, block.expand(own))
        if self.soft is None:
            return result
        return result + self.soft.synthesis(
            self.coefficients_of(parts[0]), self.dial.static[self.dial.equivariant :].to(result)
        )


@dataclass(frozen=True, eq=False)
class _DualBlock:
    """The dual basis of escnn's between the fields of two representations.

    Attributes:
        dual: columns of A (A^T A)^(-1) for one field and another.  # shape: (elements, out, in, S)
        place: channels of the output, (out fields, out, 1, 1), and of the input, (in fields, in).
    """

    dual: Tensor
    place: tuple[Tensor, Tensor]

    @property
    def count(self) -> int:
        """Number of coefficients."""
        return len(self.place[0]) * len(self.place[1]) * len(self.dual)

    def expand(self, weights: Tensor) -> Tensor:
        """The kernel between these fields, (out fields, out, in fields, in, S)."""
        block = weights.view(-1, len(self.dual)) @ self.dual.flatten(1)
        return block.view(len(self.place[0]), len(self.place[1]), *self.dual.shape[1:]).transpose(1, 2)


def bases(layer: SoftLayer) -> tuple[Tensor, ...]:
    """escnn's basis of a layer, pair by pair of representations; other objects once it is cast or taken over."""
    return tuple(block.sampled_basis for _, block in pair_blocks(layer._basisexpansion))


def _dual_blocks(layer: SoftLayer, device: torch.device, dtype: torch.dtype) -> list[_DualBlock]:
    in_slots, out_slots = (channel_slots(f) for f in (layer._in_representations, layer._out_representations))
    blocks = []
    for pair, block in pair_blocks(layer._basisexpansion):
        basis = block.sampled_basis.double().cpu()
        dual = torch.linalg.pinv(basis.flatten(1)).T.reshape(basis.shape).to(device, dtype)
        rows, columns = out_slots[pair[1]].to(device), in_slots[pair[0]].to(device)
        blocks.append(_DualBlock(dual, (rows[:, :, None, None], columns)))
    return blocks
