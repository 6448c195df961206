"""What is known of each function of torch that stands between the modules of a network."""

from escnn_soft.certification.operations.layer_functions import layer_of
from escnn_soft.certification.operations.table import METADATA, operate

__all__ = ["METADATA", "layer_of", "operate"]
