"""What the soft convolutions share, on the plane and in space: construction, certificate, geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from escnn.group import Representation
from escnn.nn import FieldType
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, pad

from escnn_soft._checks import integer
from escnn_soft.bounds import Certificate
from escnn_soft.dial import Policy, as_policy
from escnn_soft.errors import ArgumentError
from escnn_soft.escnn import BasisFilter, generalized_he_init
from escnn_soft.grading import Chain, GradedWeight, WeightTransform, kernel_transform
from escnn_soft.layers.arguments import check_filter, check_groups, check_rank, check_types
from escnn_soft.layers.geometry import Geometry, Movement, per_axis
from escnn_soft.layers.grid.convertible import Convertible
from escnn_soft.layers.grid.equivariance_check import central_difference, smooth_image
from escnn_soft.layers.layer_certificate import convolution_certificate

__all__ = ["Plan", "SoftConvolution"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is known of a layer before escnn's constructor runs: policy, fields of a group, spectrum, chain and rank."""

    policy: Policy
    in_fields: list[Representation]
    out_fields: list[Representation]
    transform: WeightTransform
    chain: Chain | None
    rank: int | None

    @property
    def empty(self) -> bool:
        """Whether no kernel is equivariant."""
        return self.transform.equivariant.dim == 0


class SoftConvolution(Convertible):
    """A soft layer whose kernel moves over a grid.

    Attributes:
        dims: of the base space.
    """

    dims: ClassVar[int] = 2
    _kernel_name = "filter"

    # ------------------------------------------------------------------ construction

    @classmethod
    def _check(cls, in_type: FieldType, out_type: FieldType, **integers: int) -> None:
        """Refuse types that do not live on the right base space, and sizes that are not positive integers."""
        check_types(in_type, out_type, cls._space_class, cls._remedy)
        for name, value in integers.items():
            integer(name, value, minimum=1)

    def _plan(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        dilation: int,
        groups: int,
        softness: float | Policy,
        chain: Chain | None,
        rank: int | None,
    ) -> Plan:
        """The spectrum of the layer's kernels, before escnn builds its own basis."""
        policy = as_policy(softness)
        first_in, first_out = check_groups(in_type, out_type, groups)
        in_fields, out_fields = self._fields(in_type, out_type, first_in, first_out)
        transform = kernel_transform(
            in_type.gspace, in_fields, out_fields, kernel_size, self._harmonics, dilation, chain
        )
        return Plan(policy, in_fields, out_fields, transform, chain, check_rank(rank))

    def _soften(self, plan: Plan, basis_filter: BasisFilter | None, *, bias: bool, initialize: bool) -> None:
        """Add the soft part to escnn's layer, and draw its weights."""
        self._add_softness(
            plan.transform, plan.in_fields, plan.policy, bias=bias, out_representations=plan.out_fields,
            chain=plan.chain, rank=plan.rank,
        )  # fmt: skip
        kept = self.weights.numel()
        check_filter(basis_filter, kept if kept == plan.transform.equivariant.dim else self._reach(), plan.transform)
        if initialize:
            generalized_he_init(self.weights, self._basisexpansion)

    @staticmethod
    def _fields(
        in_type: FieldType, out_type: FieldType, first_in: list[Representation], first_out: list[Representation]
    ) -> tuple[list[Representation], list[Representation]]:
        """Fields between which a kernel maps: one group of the input, all of the output."""
        return first_in, list(out_type.representations)

    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        return kernel_transform(
            self.space, in_representations, out_representations, self.kernel_size, self._harmonics, self.dilation
        )

    def _as_kernel(self, graded: Tensor) -> Tensor:
        return graded.unflatten(2, (self.kernel_size,) * self.dims)

    # ------------------------------------------------------------------ the layer as it runs

    def geometry(self) -> Movement:
        """How the kernel moves over the input."""
        return Geometry.of(self.stride, self.padding, self.dilation, self.padding_mode, self.groups, self.dims)

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = pad(x, self._reversed_padding_repeated_twice, self.padding_mode), 0
        convolve = conv2d if self.dims == 2 else conv3d
        return convolve(x, kernel, bias, self.stride, padding, self.dilation, self.groups)

    def _certify(self, kernel: Tensor, bias: Tensor | None) -> Certificate:
        graded = self._as_graded(kernel).unflatten(2, (self.kernel_size,) * self.dims)
        fields = self._in_representations, self._out_representations
        levels, bias_fields = GradedWeight(self._transform), self.out_type.representations
        return convolution_certificate(levels, *fields, graded, bias, self.space, self.geometry(), bias_fields)

    # ------------------------------------------------------------------ escnn's own questions

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for an input of a given shape; every geometry of the constructor is understood.

        Args:
            input_shape: (batch, channels, height, width), in space with a depth before the height.

        Returns:
            Likewise of the output.

        Raises:
            ArgumentError: if the shape is not that of an input.
        """
        if len(input_shape) != 2 + self.dims or input_shape[1] != self.in_type.size:
            sides = "height, width" if self.dims == 2 else "depth, height, width"
            expected = f"(batch, {self.in_type.size}, {sides})"
            raise ArgumentError("input_shape", input_shape, expected, "Pass the shape of a tensor of type in_type.")
        sizes = (self._output_size(size, axis) for axis, size in enumerate(input_shape[2:]))
        return (input_shape[0], self.out_type.size, *sizes)

    def _output_size(self, size: int, axis: int) -> int:
        padding, stride = (per_axis(value, self.dims)[axis] for value in (self.padding, self.stride))
        return (size + 2 * padding - self.dilation * (self.kernel_size - 1) - 1) // stride + 1

    def check_equivariance(
        self, atol: float = 0.1, rtol: float = 0.1, assertion: bool = True, verbose: bool = False, device: str = "cpu"
    ) -> list[tuple[Any, float]]:
        """Measure the layer's equivariance on a smooth random image; escnn's own check downloads a photograph.

        Args:
            atol: absolute tolerance for each pixel.
            rtol: relative tolerance for each pixel.
            assertion: whether to raise where the tolerance is exceeded.
            verbose: as in escnn; nothing is printed here.
            device: where to run.

        Returns:
            Each testing element of the gspace with its mean absolute error.

        Raises:
            AssertionError: if ``assertion`` is set and an element exceeds the tolerance.
        """
        self.to(device)
        x = smooth_image(self, self.geometry(), self.kernel_size)
        errors = []
        with torch.no_grad():
            for element in self.space.testing_elements:
                difference, scale = central_difference(self, x, element)
                if assertion and (difference > atol + rtol * scale).any():
                    raise AssertionError(
                        f"{element}: the error is up to {difference.max():.3g}, on values of {scale:.3g}"
                    )
                errors.append((element, difference.mean().item()))
        return errors
