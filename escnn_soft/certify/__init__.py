"""Certificates: how far single layers and whole networks are from being equivariant."""

from escnn_soft.certify.budget import budget
from escnn_soft.certify.certificate import LayerTerm, NetworkCertificate
from escnn_soft.certify.layer import certificate
from escnn_soft.certify.network import certify
from escnn_soft.certify.registry import register_action, register_lipschitz

__all__ = [
    "LayerTerm",
    "NetworkCertificate",
    "budget",
    "certificate",
    "certify",
    "register_action",
    "register_lipschitz",
]
