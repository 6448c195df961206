"""The table of rules: one line a class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from escnn import nn as enn
from torch import nn

from escnn_soft.certification.rules.fourier import Fourier, TensorProduct
from escnn_soft.certification.rules.gated import Gated, GatedPair, GatedUniform
from escnn_soft.certification.rules.head import (
    HeadFlatten,
    HeadNorm,
    HeadSoftmax,
)
from escnn_soft.certification.rules.linear_layers import LinearLayer
from escnn_soft.certification.rules.matrix_layers import MatrixLayer
from escnn_soft.certification.rules.normalization import BatchNorm
from escnn_soft.certification.rules.plain_layers import (
    PlainBatchNorm,
    PlainConvolution,
    PlainLinear,
)
from escnn_soft.certification.rules.plumbing import Disentangle, Mask, MaximumOverFields, Moving, Restriction
from escnn_soft.certification.rules.pointwise import (
    Concatenated,
    HeadPointwise,
    Pointwise,
    PointwiseModule,
    constant_of,
)
from escnn_soft.certification.rules.pooling import AdaptivePool, AveragePool, BlurPool, MaxPool, Upsampling
from escnn_soft.certification.rules.radial import NormPooling, Radial, StrongestInWindow, VectorField
from escnn_soft.certification.rules.rule import Rule
from escnn_soft.escnn.stored_arguments import leaky_slope
from escnn_soft.layers import (
    SoftLinear,
    SoftMatrixLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftR3IcoConvTransposed,
    SoftTensorProduct,
)

__all__ = ["EVALUATED", "RULES"]

RULES: dict[type[nn.Module], Callable[[], Rule]] = {
    # maps with weights
    SoftR2Conv: LinearLayer,
    SoftR2ConvTransposed: LinearLayer,
    SoftR3Conv: LinearLayer,
    SoftR3ConvTransposed: LinearLayer,
    SoftR3IcoConv: LinearLayer,
    SoftR3IcoConvTransposed: LinearLayer,
    SoftLinear: LinearLayer,
    enn.R2Conv: LinearLayer,
    enn.R2ConvTransposed: LinearLayer,
    enn.R3Conv: LinearLayer,
    enn.R3ConvTransposed: LinearLayer,
    enn.R3IcoConv: LinearLayer,
    enn.R3IcoConvTransposed: LinearLayer,
    enn.Linear: LinearLayer,
    SoftMatrixLinear: MatrixLayer,
    # non-linearities
    enn.ReLU: partial(Pointwise, lambda module: constant_of("relu")),
    enn.LeakyReLU: partial(Pointwise, lambda module: constant_of("leaky_relu", leaky_slope(module))),
    enn.ELU: partial(Pointwise, lambda module: constant_of("elu", module.alpha)),
    enn.PointwiseNonLinearity: PointwiseModule,
    enn.ConcatenatedNonLinearity: Concatenated,
    enn.GatedNonLinearity1: Gated,
    enn.GatedNonLinearity2: GatedPair,
    enn.GatedNonLinearityUniform: GatedUniform,
    enn.InducedGatedNonLinearity1: Gated,
    enn.NormNonLinearity: Radial,
    enn.InducedNormNonLinearity: partial(Radial, induced=True),
    enn.VectorFieldNonLinearity: VectorField,
    enn.FourierPointwise: Fourier,
    enn.QuotientFourierPointwise: Fourier,
    enn.TensorProductModule: TensorProduct,
    SoftTensorProduct: TensorProduct,
    # normalisation
    enn.InnerBatchNorm: BatchNorm,
    enn.NormBatchNorm: BatchNorm,
    enn.InducedNormBatchNorm: BatchNorm,
    enn.GNormBatchNorm: BatchNorm,
    enn.IIDBatchNorm1d: BatchNorm,
    enn.IIDBatchNorm2d: BatchNorm,
    enn.IIDBatchNorm3d: BatchNorm,
    # pooling
    enn.PointwiseAvgPool2D: AveragePool,
    enn.PointwiseAvgPoolAntialiased2D: BlurPool,
    enn.PointwiseMaxPool2D: MaxPool,
    enn.PointwiseMaxPoolAntialiased2D: BlurPool,
    enn.PointwiseAdaptiveAvgPool2D: partial(AdaptivePool, maximum=False),
    enn.PointwiseAdaptiveMaxPool2D: partial(AdaptivePool, maximum=True),
    enn.PointwiseAvgPool3D: AveragePool,
    enn.PointwiseAvgPoolAntialiased3D: BlurPool,
    enn.PointwiseMaxPool3D: MaxPool,
    enn.PointwiseMaxPoolAntialiased3D: BlurPool,
    enn.PointwiseAdaptiveAvgPool3D: partial(AdaptivePool, maximum=False),
    enn.PointwiseAdaptiveMaxPool3D: partial(AdaptivePool, maximum=True),
    enn.NormMaxPool: StrongestInWindow,
    enn.R2Upsampling: Upsampling,
    enn.R3Upsampling: Upsampling,
    # invariant maps
    enn.GroupPooling: MaximumOverFields,
    enn.NormPool: NormPooling,
    enn.InducedNormPool: partial(NormPooling, induced=True),
    # the rest of escnn
    enn.RestrictionModule: Restriction,
    enn.DisentangleModule: Disentangle,
    enn.MaskModule: Mask,
    enn.ReshuffleModule: Moving,
    enn.IdentityModule: Moving,
    enn.PointwiseDropout: Moving,
    enn.FieldDropout: Moving,
    enn.BranchingModule: Moving,
    # torch's own
    nn.Linear: PlainLinear,
    nn.Conv2d: PlainConvolution,
    nn.Conv3d: PlainConvolution,
    nn.ConvTranspose2d: PlainConvolution,
    nn.ConvTranspose3d: PlainConvolution,
    nn.BatchNorm1d: PlainBatchNorm,
    nn.BatchNorm2d: PlainBatchNorm,
    nn.BatchNorm3d: PlainBatchNorm,
    nn.LayerNorm: HeadNorm,
    nn.GroupNorm: HeadNorm,
    nn.Softmax: HeadSoftmax,
    nn.LogSoftmax: HeadSoftmax,
    nn.Flatten: HeadFlatten,
    nn.Identity: Moving,
    nn.Dropout: Moving,
    nn.Dropout1d: Moving,
    nn.Dropout2d: Moving,
    nn.Dropout3d: Moving,
    nn.AlphaDropout: Moving,
    nn.ReLU: partial(HeadPointwise, "relu"),
    nn.ReLU6: partial(HeadPointwise, "relu6"),
    nn.LeakyReLU: partial(HeadPointwise, "leaky_relu"),
    nn.ELU: partial(HeadPointwise, "elu"),
    nn.SELU: partial(HeadPointwise, "selu"),
    nn.GELU: partial(HeadPointwise, "gelu"),
    nn.SiLU: partial(HeadPointwise, "silu"),
    nn.Mish: partial(HeadPointwise, "mish"),
    nn.Tanh: partial(HeadPointwise, "tanh"),
    nn.Sigmoid: partial(HeadPointwise, "sigmoid"),
    nn.Softsign: partial(HeadPointwise, "softsign"),
    nn.Hardswish: partial(HeadPointwise, "hardswish"),
    nn.Hardsigmoid: partial(HeadPointwise, "hardsigmoid"),
}
"""How a rule is made, by class; a class that is not here is covered through its parts."""

EVALUATED = (
    nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, enn.InnerBatchNorm, enn.NormBatchNorm,
    enn.InducedNormBatchNorm, enn.GNormBatchNorm, enn.IIDBatchNorm1d, enn.IIDBatchNorm2d, enn.IIDBatchNorm3d,
    enn.PointwiseDropout, enn.FieldDropout,
)  # fmt: skip
"""Modules that behave differently in training."""
