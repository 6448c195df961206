"""Equivariance put to the test: Hypothesis strategies, assertions, and a conformance suite for layers.

Needs ``hypothesis``. The suite is in :mod:`escnn_soft.testing.conformance`, which needs ``pytest`` as well.
"""

from escnn_soft.testing.assertions import TOLERANCE, assert_equivariant, assert_error_within
from escnn_soft.testing.certificates import CertificateReport, assert_certificate_holds
from escnn_soft.testing.group_strategies import GROUP_KINDS, elements, groups, gspaces
from escnn_soft.testing.layer_strategies import (
    SOFTNESS_KINDS,
    networks,
    randomize,
    soft_linears,
    soft_r2convs,
    softnesses,
)
from escnn_soft.testing.optimizers import KEPT, assert_covariant_step, assert_keeps_symmetry
from escnn_soft.testing.profiles import PROFILES, register_profiles
from escnn_soft.testing.samples import exact_elements
from escnn_soft.testing.search import Search, search_violation
from escnn_soft.testing.type_strategies import (
    REPRESENTATION_KINDS,
    field_types,
    geometric_tensors,
    irreps,
    representations,
)

__all__ = [
    "GROUP_KINDS",
    "KEPT",
    "PROFILES",
    "REPRESENTATION_KINDS",
    "SOFTNESS_KINDS",
    "TOLERANCE",
    "CertificateReport",
    "Search",
    "assert_certificate_holds",
    "assert_covariant_step",
    "assert_equivariant",
    "assert_error_within",
    "assert_keeps_symmetry",
    "elements",
    "exact_elements",
    "field_types",
    "geometric_tensors",
    "groups",
    "gspaces",
    "irreps",
    "networks",
    "randomize",
    "register_profiles",
    "representations",
    "search_violation",
    "soft_linears",
    "soft_r2convs",
    "softnesses",
]
