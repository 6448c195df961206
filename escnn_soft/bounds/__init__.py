"""What is known of a layer's equivariance error: exact values, certified upper bounds, and how they are composed."""

from escnn_soft.bounds.certificate import Certificate
from escnn_soft.bounds.execution import Execution
from escnn_soft.bounds.finite import check_finite
from escnn_soft.bounds.matrix_certificate import MatrixCertificate
from escnn_soft.bounds.orbit import Orbit, error_form, error_forms, largest_squared_error, squared_errors
from escnn_soft.bounds.pixels import PixelErrors
from escnn_soft.bounds.symmetry import IrrepId, Symmetry
from escnn_soft.bounds.term import Term

__all__ = [
    "Certificate",
    "Execution",
    "IrrepId",
    "MatrixCertificate",
    "Orbit",
    "PixelErrors",
    "Symmetry",
    "Term",
    "check_finite",
    "error_form",
    "error_forms",
    "largest_squared_error",
    "squared_errors",
]
