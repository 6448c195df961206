"""The soft classes of this library, by escnn's own."""

from escnn.nn import Linear, R2Conv

from escnn_soft.convert.band_limit import planar_band_limits
from escnn_soft.convert.registry import register_soft
from escnn_soft.nn import SoftLinear, SoftR2Conv

__all__: list[str] = []

register_soft(R2Conv, candidates=planar_band_limits)(SoftR2Conv)
register_soft(Linear)(SoftLinear)
