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

from escnn_soft.convert.band_limit import band_limits, band_limits_at_points
from escnn_soft.convert.registry import register_soft
from escnn_soft.nn import (
    SoftLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR2PointConv,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftR3IcoConvTransposed,
    SoftR3PointConv,
    SoftTensorProduct,
)
from escnn_soft.nn.escnn_points import HAS_POINT_CONVOLUTIONS, R2PointConv, R3PointConv

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
