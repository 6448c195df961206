"""The subject of the conformance suite: a constructor, a dense evaluator, and what the layer declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import Policy
from escnn_soft.testing.layer_strategies import randomize
from escnn_soft.testing.probes import Probe, dense_kernel, kernel_error, kernel_geometry, move_kernels
from escnn_soft.testing.samples import exact_elements, random_features

__all__ = ["CAPABILITIES", "Subject"]

CAPABILITIES: dict[str, str] = {
    "certificate": "certificate",
    "export": "export",
    "policies": "",
    "spectrum": "spectrum",
}
"""What a layer may leave out, with the method that betrays it: a layer that has the method must declare it."""

_TIGHT = 1e-9
"""Relative tolerance of statements in double precision."""


class Subject:
    """What the suite asks of a layer. Only :meth:`make` must be defined; the rest has defaults.

    Attributes:
        capabilities: names from ``CAPABILITIES`` that the layer has.
        dial: softnesses from strict to unconstrained; the first and the last are the ends of the dial.
        cutoffs: bounds of ``Cutoff`` at which the subspaces that the dial reaches must be stable under the group.
        sides: of test images, one per axis; odd, so that strides stay centred.
        tolerance: largest relative deviation from strict equivariance in double precision.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    dial: ClassVar[Sequence[float]] = (0.0, 0.25, 0.5, 0.75, 1.0)
    cutoffs: ClassVar[Sequence[float]] = (0.0, 1.0, 2.0)
    sides: ClassVar[Sequence[int]] = (9, 7, 5)
    tolerance: ClassVar[float] = _TIGHT

    # ------------------------------------------------------------------ what a subclass defines

    def make(self, softness: float | Policy) -> Any:
        """A new layer of this softness in float32 and training mode; the same types and shapes at each call."""
        raise NotImplementedError(f"{type(self).__name__}.make(softness) must return a layer.")

    def dense(self, layer: Any) -> Tensor:
        """The matrix or kernel that the layer's parameters stand for, by the slow, obviously right way.

        By default it is read off from the layer's outputs. Override it to compare ``forward`` with a formula.

        Args:
            layer: a layer from :meth:`make`, of any dtype.

        Returns:
            Groups filled up with zeros.  # shape: (out, in) or (out, in, kernel, kernel)
        """
        return dense_kernel(Probe(layer))

    def apply_dense(self, layer: Any, weight: Tensor, x: Tensor) -> Tensor:
        """What a dense weight without bias does to an input; override it for a layer with a geometry of its own.

        Args:
            layer: gives ``stride``, ``padding``, ``dilation`` and, where it is transposed, ``output_padding``.
            weight: from :meth:`dense`.
            x: the input.

        Returns:
            The output.
        """
        if weight.dim() == 2:
            return x @ weight.T
        geometry = kernel_geometry(layer, weight.dim() - 2)
        stride, padding, dilation = geometry.stride, geometry.padding, geometry.dilation
        planar = weight.dim() == 4
        if geometry.transposed:
            spread = torch.nn.functional.conv_transpose2d if planar else torch.nn.functional.conv_transpose3d
            kernel, extra = weight.transpose(0, 1), geometry.output_padding
            return spread(x, kernel, None, stride, padding, extra, dilation=dilation)
        convolve = torch.nn.functional.conv2d if planar else torch.nn.functional.conv3d
        if getattr(layer, "padding_mode", "zeros") != "zeros":
            x = torch.nn.functional.pad(x, layer._reversed_padding_repeated_twice, layer.padding_mode)
            padding = (0,) * len(stride)
        return convolve(x, weight, None, stride, padding, dilation)

    def hard(self, layer: Any) -> Module | None:
        """escnn's layer that the layer must equal at softness 0, with its parameters; None if there is none."""
        return None

    def reachable(self, layer: Any) -> int:
        """Number of dimensions that softness 1 must reach: all of the dense weight's; with groups fewer."""
        return self.dense(layer).numel() // getattr(layer, "groups", 1)

    def move(self, layer: Any, element: GroupElement, weights: Tensor) -> Tensor:
        """rho_out(g) W rho_in(g)^-1 for many dense weights, pixels moved; override it for weights of another shape.

        Args:
            layer: gives the types.
            element: one of :meth:`elements`.
            weights: shaped as by :meth:`dense`.  # shape: (n, out, in, ...)

        Returns:
            The moved ones.
        """
        return move_kernels(element, weights, layer.in_type, layer.out_type)

    def weight_error(self, layer: Any, element: GroupElement, weight: Tensor) -> float:
        """||g . W - W|| by definition; override it together with :meth:`move`."""
        return kernel_error(element, weight, layer.in_type, layer.out_type)

    # ------------------------------------------------------------------ helpers

    def trained(self, softness: float | Policy, dtype: torch.dtype = torch.float64) -> Any:
        """A layer with random parameters, so that its soft part is not zero."""
        layer = self.make(softness).to(dtype)
        randomize(layer)
        return layer

    def inputs(self, layer: Any, dtype: torch.dtype = torch.float64) -> GeometricTensor:
        """Two random samples."""
        field_type: FieldType = layer.in_type
        sides = self.sides[: field_type.gspace.dimensionality]
        return GeometricTensor(random_features(field_type, sides, dtype=dtype), field_type)

    def elements(self, layer: Any) -> list[GroupElement]:
        """At most a dozen elements that act exactly."""
        return exact_elements(layer.in_type.gspace, 12)

    def error(self, layer: Any) -> float:
        """Largest ||rho_out(g) W - W rho_in(g)|| over the elements."""
        weight = self.dense(layer)
        return max(self.weight_error(layer, g, weight) for g in self.elements(layer))

    def span(self, softness: float | Policy) -> Tensor:
        """Orthonormal dense weights that a softness reaches, one a row, from layers with random parameters."""
        layer, rows = self.trained(softness), list[Tensor]()
        for seed in range(self.dense(layer).numel() + 1):
            randomize(layer, seed)
            rows.append(self.dense(layer).flatten())
            if (seed + 1) % 64 == 0 and torch.linalg.matrix_rank(torch.stack(rows)) < len(rows):
                break
        _, values, basis = torch.linalg.svd(torch.stack(rows), full_matrices=False)
        return basis[values > 1e-9 * values[0]] if float(values[0]) > 0 else basis[:0]
