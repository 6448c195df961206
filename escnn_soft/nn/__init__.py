"""Soft twins of escnn's layers, and their softness over time."""

from escnn_soft.nn.linear import SoftLinear
from escnn_soft.nn.r2conv import SoftR2Conv
from escnn_soft.nn.scheduler import SoftnessScheduler
from escnn_soft.nn.soft import SoftLayer

__all__ = ["SoftLayer", "SoftLinear", "SoftR2Conv", "SoftnessScheduler"]
