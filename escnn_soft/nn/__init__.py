"""Soft twins of escnn's layers."""

from escnn_soft.nn.linear import SoftLinear
from escnn_soft.nn.r2conv import SoftR2Conv
from escnn_soft.nn.soft import SoftLayer

__all__ = ["SoftLayer", "SoftLinear", "SoftR2Conv"]
