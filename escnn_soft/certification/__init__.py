"""Certificates: how far single layers and whole networks are from being equivariant."""

from escnn_soft.certification.layer import certificate
from escnn_soft.certification.network import certify
from escnn_soft.certification.network_budget import set_budget
from escnn_soft.certification.network_certificate import LayerTerm, NetworkCertificate
from escnn_soft.certification.rule_registry import register_action, register_lipschitz

__all__ = [
    "LayerTerm",
    "NetworkCertificate",
    "certificate",
    "certify",
    "register_action",
    "register_lipschitz",
    "set_budget",
]
