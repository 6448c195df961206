"""The soft classes of this library, by escnn's own."""

from escnn.nn import (
    Linear,
    R2Conv,
    R2ConvTransposed,
    R3Conv,
    R3ConvTransposed,
    R3IcoConv,
    R3IcoConvTransposed,
    TensorProductModule,
)

from escnn_soft.escnn import HAS_POINT_CONVOLUTIONS, R2PointConv, R3PointConv, band_limits, band_limits_at_points
from escnn_soft.layers.grid.r2conv import SoftR2Conv
from escnn_soft.layers.grid.r2conv_transposed import SoftR2ConvTransposed
from escnn_soft.layers.grid.r3conv import SoftR3Conv
from escnn_soft.layers.grid.r3conv_transposed import SoftR3ConvTransposed
from escnn_soft.layers.grid.r3icoconv import SoftR3IcoConv
from escnn_soft.layers.grid.r3icoconv_transposed import SoftR3IcoConvTransposed
from escnn_soft.layers.linear import SoftLinear
from escnn_soft.layers.points.r2pointconv import SoftR2PointConv
from escnn_soft.layers.points.r3pointconv import SoftR3PointConv
from escnn_soft.layers.tensor_product import SoftTensorProduct
from escnn_soft.layers.twin import register_soft

__all__: list[str] = []

register_soft(Linear)(SoftLinear)
register_soft(R2Conv, candidates=band_limits)(SoftR2Conv)
register_soft(R2ConvTransposed, candidates=band_limits)(SoftR2ConvTransposed)
register_soft(R3Conv, candidates=band_limits)(SoftR3Conv)
register_soft(R3ConvTransposed, candidates=band_limits)(SoftR3ConvTransposed)
register_soft(R3IcoConv)(SoftR3IcoConv)
register_soft(R3IcoConvTransposed)(SoftR3IcoConvTransposed)
register_soft(TensorProductModule)(SoftTensorProduct)
if HAS_POINT_CONVOLUTIONS:
    register_soft(R2PointConv, candidates=band_limits_at_points)(SoftR2PointConv)
    register_soft(R3PointConv, candidates=band_limits_at_points)(SoftR3PointConv)
