"""What the soft transposed convolutions share: a kernel stored (in, out / groups, ...), and its own geometry."""

from __future__ import annotations

from typing import Any

from escnn.group import Representation
from escnn.nn import EquivariantModule, FieldType
from torch import Tensor
from torch.nn.functional import conv_transpose2d, conv_transpose3d
from torch.nn.modules.conv import _ConvNd

from escnn_soft.escnn import FrequenciesCutoff
from escnn_soft.layers.arguments import check_geometry, check_output_padding
from escnn_soft.layers.geometry import TransposedGeometry, per_axis
from escnn_soft.layers.grid.convolution import SoftConvolution

__all__ = ["SoftTransposedConvolution"]


class SoftTransposedConvolution(SoftConvolution):
    """A soft layer that spreads each pixel of its input over the output.

    y(s x + p) += K(p) x(x) is steerable under the same constraint K(g p) = rho_out(g) K(p) rho_in(g)^-1 as a
    convolution, so the spectrum is the same. Every rotation about the centre is respected for every stride and every
    size; output padding moves the centre and is not.
    """

    @classmethod
    def _check_movement(
        cls,
        padding: int | tuple[int, ...],
        output_padding: int | tuple[int, ...],
        stride: int | tuple[int, ...],
        dilation: int,
    ) -> None:
        check_geometry(cls.dims, padding=padding, output_padding=output_padding, stride=stride)
        check_output_padding(per_axis(output_padding, cls.dims), per_axis(stride, cls.dims), dilation)

    @staticmethod
    def _fields(
        in_type: FieldType, out_type: FieldType, first_in: list[Representation], first_out: list[Representation]
    ) -> tuple[list[Representation], list[Representation]]:
        """Fields between which a kernel maps: all of the input, one group of the output."""
        return list(in_type.representations), first_out

    def _as_graded(self, kernel: Tensor) -> Tensor:
        """(in, out / groups, ...) to (out / groups, in, S)."""
        return kernel.transpose(0, 1).reshape(self._transform.shape)

    def _as_kernel(self, graded: Tensor) -> Tensor:
        """(out / groups, in, S) to (in, out / groups, ...)."""
        return super()._as_kernel(graded).transpose(0, 1)

    def geometry(self) -> TransposedGeometry:
        """How the kernel spreads the input."""
        stride, padding, extra = (per_axis(v, self.dims) for v in (self.stride, self.padding, self.output_padding))
        return TransposedGeometry(stride, padding, self.dilation, self.groups, extra)

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        spread = conv_transpose2d if self.dims == 2 else conv_transpose3d
        return spread(x, kernel, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)

    @classmethod
    def _stored(cls, layer: EquivariantModule, frequencies_cutoff: FrequenciesCutoff | None) -> dict[str, Any]:
        return {"output_padding": layer.output_padding, "frequencies_cutoff": frequencies_cutoff}

    @classmethod
    def _plain(cls, conv: _ConvNd) -> dict[str, Any]:
        return {"output_padding": tuple(conv.output_padding)}

    def _output_size(self, size: int, axis: int) -> int:
        stride, padding, extra = (
            per_axis(value, self.dims)[axis] for value in (self.stride, self.padding, self.output_padding)
        )
        return (size - 1) * stride - 2 * padding + self.dilation * (self.kernel_size - 1) + extra + 1
