"""Soft layers: escnn's layers, and layers of matrix groups, each with a dial."""

from escnn_soft.layers import twins as twins  # registers this library's own layers
from escnn_soft.layers.dials import Dialled, dials, own_dials
from escnn_soft.layers.filtered_tensor import FilteredTensor, dial_name, filtered_tensors
from escnn_soft.layers.grid.convolution import SoftConvolution
from escnn_soft.layers.grid.graded_kernel import graded_bias, graded_kernel
from escnn_soft.layers.grid.r2conv import SoftR2Conv
from escnn_soft.layers.grid.r2conv_transposed import SoftR2ConvTransposed
from escnn_soft.layers.grid.r3conv import SoftR3Conv
from escnn_soft.layers.grid.r3conv_transposed import SoftR3ConvTransposed
from escnn_soft.layers.grid.r3icoconv import SoftR3IcoConv
from escnn_soft.layers.grid.r3icoconv_transposed import SoftR3IcoConvTransposed
from escnn_soft.layers.linear import SoftLinear
from escnn_soft.layers.matrix.matrix_bilinear import SoftMatrixBilinear
from escnn_soft.layers.matrix.matrix_gate import MatrixGate
from escnn_soft.layers.matrix.matrix_linear import SoftMatrixLinear
from escnn_soft.layers.points.pointconv import SoftPointConvolution
from escnn_soft.layers.points.r2pointconv import SoftR2PointConv
from escnn_soft.layers.points.r3pointconv import SoftR3PointConv
from escnn_soft.layers.scheduler import SoftnessScheduler
from escnn_soft.layers.soft import SoftLayer
from escnn_soft.layers.tensor_product import SoftTensorProduct
from escnn_soft.layers.twin import plain_twin, register_soft, soft_twin, twin_of

__all__ = [
    "Dialled",
    "FilteredTensor",
    "MatrixGate",
    "SoftConvolution",
    "SoftLayer",
    "SoftLinear",
    "SoftMatrixBilinear",
    "SoftMatrixLinear",
    "SoftPointConvolution",
    "SoftR2Conv",
    "SoftR2ConvTransposed",
    "SoftR2PointConv",
    "SoftR3Conv",
    "SoftR3ConvTransposed",
    "SoftR3IcoConv",
    "SoftR3IcoConvTransposed",
    "SoftR3PointConv",
    "SoftTensorProduct",
    "SoftnessScheduler",
    "dial_name",
    "dials",
    "filtered_tensors",
    "graded_bias",
    "graded_kernel",
    "own_dials",
    "plain_twin",
    "register_soft",
    "soft_twin",
    "twin_of",
]
