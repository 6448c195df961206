"""Soft twins of escnn's layers, and their softness over time."""

from escnn_soft.nn import twins as twins  # registers this library's own layers
from escnn_soft.nn.convolution import SoftConvolution
from escnn_soft.nn.dials import Dialled, dials, own_dials
from escnn_soft.nn.filtered_tensor import FilteredTensor, dial_name, filtered_tensors
from escnn_soft.nn.graded_kernel import graded_bias, graded_kernel
from escnn_soft.nn.linear import SoftLinear
from escnn_soft.nn.matrix_bilinear import SoftMatrixBilinear
from escnn_soft.nn.matrix_gate import MatrixGate
from escnn_soft.nn.matrix_linear import SoftMatrixLinear
from escnn_soft.nn.pointconv import SoftPointConvolution
from escnn_soft.nn.r2conv import SoftR2Conv
from escnn_soft.nn.r2conv_transposed import SoftR2ConvTransposed
from escnn_soft.nn.r2pointconv import SoftR2PointConv
from escnn_soft.nn.r3conv import SoftR3Conv
from escnn_soft.nn.r3conv_transposed import SoftR3ConvTransposed
from escnn_soft.nn.r3icoconv import SoftR3IcoConv
from escnn_soft.nn.r3icoconv_transposed import SoftR3IcoConvTransposed
from escnn_soft.nn.r3pointconv import SoftR3PointConv
from escnn_soft.nn.scheduler import SoftnessScheduler
from escnn_soft.nn.soft import SoftLayer
from escnn_soft.nn.soft_filter import FieldTypes, SoftFilter, weight_filter
from escnn_soft.nn.tensor_product import SoftTensorProduct
from escnn_soft.nn.twin import register_soft, soft_twin, twin_of

__all__ = [
    "Dialled",
    "FieldTypes",
    "FilteredTensor",
    "MatrixGate",
    "SoftConvolution",
    "SoftFilter",
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
    "register_soft",
    "soft_twin",
    "twin_of",
    "weight_filter",
]
