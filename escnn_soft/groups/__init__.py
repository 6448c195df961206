"""Groups: escnn's behind one protocol (irreps, orbits, tensor products), and any group of matrices."""

from escnn_soft.groups.compact import CompactGroup, dense_elements
from escnn_soft.groups.fibregroup import Circle, FibreGroup
from escnn_soft.groups.irreps import Irrep, IrrepProducts, Irreps, IrrepTable, Splitting
from escnn_soft.groups.lookup import fibre_group
from escnn_soft.groups.matrix.catalogue import (
    lorentz_group,
    orthogonal_group,
    permutation_group,
    proper_lorentz_group,
    special_orthogonal_group,
    special_unitary_group,
    symplectic_group,
)
from escnn_soft.groups.matrix.equivariant_maps import equivariant_maps
from escnn_soft.groups.matrix.escnn_generators import escnn_matrix_group, escnn_matrix_representation
from escnn_soft.groups.matrix.generators import Generators, MatrixElement
from escnn_soft.groups.matrix.matrix_group import MatrixGroup
from escnn_soft.groups.matrix.matrix_representation import MatrixField, MatrixRepresentation, scalar, vector
from escnn_soft.groups.planar import PlanarGroup
from escnn_soft.groups.rotations import clebsch_gordan, harmonic_ladder, spherical_harmonics

__all__ = [
    "Circle",
    "CompactGroup",
    "FibreGroup",
    "Generators",
    "Irrep",
    "IrrepProducts",
    "IrrepTable",
    "Irreps",
    "MatrixElement",
    "MatrixField",
    "MatrixGroup",
    "MatrixRepresentation",
    "PlanarGroup",
    "Splitting",
    "clebsch_gordan",
    "dense_elements",
    "equivariant_maps",
    "escnn_matrix_group",
    "escnn_matrix_representation",
    "fibre_group",
    "harmonic_ladder",
    "lorentz_group",
    "orthogonal_group",
    "permutation_group",
    "proper_lorentz_group",
    "scalar",
    "special_orthogonal_group",
    "special_unitary_group",
    "spherical_harmonics",
    "symplectic_group",
    "vector",
]
