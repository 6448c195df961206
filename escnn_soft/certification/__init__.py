"""Certificates: how far single layers and whole networks are from being equivariant."""

from escnn_soft.certification.budget import budget
from escnn_soft.certification.certificate import LayerTerm, NetworkCertificate
from escnn_soft.certification.layer import certificate
from escnn_soft.certification.network import certify
from escnn_soft.certification.registry import register_action, register_lipschitz

__all__ = [
    "LayerTerm",
    "NetworkCertificate",
    "budget",
    "certificate",
    "certify",
    "register_action",
    "register_lipschitz",
]
