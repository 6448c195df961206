"""Certificates: of single layers and of whole networks."""

from escnn_soft.certify.layer import certificate

__all__ = ["certificate"]
