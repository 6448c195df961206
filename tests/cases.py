"""The groups, field types and kernel sizes that the tests run through."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from escnn import group, gspaces
from escnn.group import Group, Representation, directsum
from escnn.gspaces import GSpace, GSpace2D, GSpace3D
from escnn.kernels import CircularShellsBasis, GaussianRadialProfile, SphericalShellsBasis
from escnn.nn import FieldType
from escnn.nn.modules.conv import r2convolution, r3convolution

from escnn_soft.functions import Harmonic

PLANAR: dict[str, Callable[[], GSpace2D]] = {
    "trivial": gspaces.trivialOnR2,
    **{f"C{n}": lambda n=n: gspaces.rot2dOnR2(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 12)},
    **{f"D{n}": lambda n=n: gspaces.flipRot2dOnR2(n) for n in (1, 2, 3, 4, 5, 6)},
    "flip vertical": gspaces.flip2dOnR2,
    "flip horizontal": lambda: gspaces.flip2dOnR2(axis=0.0),
    "flip diagonal": lambda: gspaces.flip2dOnR2(axis=math.pi / 4),
    "flip tilted": lambda: gspaces.flip2dOnR2(axis=0.3),
    "D4 tilted": lambda: gspaces.flipRot2dOnR2(4, axis=0.3),
    "SO(2)": lambda: gspaces.rot2dOnR2(-1, maximum_frequency=3),
    "O(2)": lambda: gspaces.flipRot2dOnR2(-1, maximum_frequency=3),
}
GRID_EXACT = ["C1", "C2", "C4", "D1", "D2", "D4", "flip vertical", "flip horizontal", "flip diagonal"]
CONTINUOUS = [name for name in PLANAR if name not in GRID_EXACT and name != "trivial"]

POINT: dict[str, Callable[[], Group]] = {
    **{f"C{n}": lambda n=n: group.cyclic_group(n) for n in range(1, 9)},
    **{f"D{n}": lambda n=n: group.dihedral_group(n) for n in range(1, 8)},
    "SO(2)": lambda: group.so2_group(3),
    "O(2)": lambda: group.o2_group(3),
    "SO(3)": lambda: group.so3_group(2),
    "O(3)": lambda: group.o3_group(2),
    "octahedral": group.octa_group,
    "full octahedral": group.full_octa_group,
    "icosahedral": group.ico_group,
    "cylinder": lambda: group.cylinder_group(2),
    "full cylinder": lambda: group.full_cylinder_group(2),
    "Klein": group.klein4_group,
    "C3 x C3": lambda: group.double_group(group.cyclic_group(3)),
}


def some_irreps(g: Group, count: int = 4) -> list[Representation]:
    """The first few irreps of a group, small ones."""
    return [psi for psi in g.irreps() if psi.size <= 5][:count]


def regular(g: Group) -> Representation:
    """The regular representation, band-limited for Lie groups."""
    if not g.continuous:
        return g.regular_representation
    if isinstance(g, group.DirectProductGroup):
        return directsum(some_irreps(g), name=f"some_irreps_{g.name}")
    return g.bl_regular_representation(1 if g.name in ("SO(3)", "O(3)") else 2)


def quotient(g: Group) -> Representation | None:
    """A quotient representation, where the group has an easy one."""
    if isinstance(g, group.CyclicGroup) and g.order() % 2 == 0:
        return g.quotient_representation(2)
    if isinstance(g, group.DihedralGroup):
        return g.quotient_representation((None, g.rotation_order))
    return None


@cache
def planar(name: str) -> GSpace2D:
    return PLANAR[name]()


@cache
def point(name: str) -> GSpace:
    return gspaces.no_base_space(POINT[name]())


def field_types(space: GSpace) -> list[tuple[FieldType, FieldType]]:
    """Pairs of input and output types: trivial, irreps, regular, quotient, band-limited regular and mixed."""
    g = space.fibergroup
    trivial, irreps, reg, quo = g.trivial_representation, some_irreps(g), regular(g), quotient(g)
    pairs = [
        ([trivial], [reg]),
        ([reg], [reg]),
        ([*irreps, reg, trivial], [trivial, reg]),  # mixed, fields of one kind apart
        (irreps, irreps),
    ]
    if quo is not None:
        pairs.append(([quo, trivial], [quo]))
    return [(space.type(*a), space.type(*b)) for a, b in pairs]


def harmonics(kernel_size: int, dilation: int = 1, dims: int = 2) -> list[Harmonic]:
    """The harmonics that ``R2Conv`` or ``R3Conv`` keeps by default."""
    rule, shells = {
        2: (r2convolution.compute_basis_params, CircularShellsBasis),
        3: (r3convolution.compute_basis_params, SphericalShellsBasis),
    }[dims]
    keep, rings, widths, frequency = rule(kernel_size, dilation=dilation)
    functions = shells(frequency, GaussianRadialProfile(rings, widths)).steerable_attrs_iter()
    return [Harmonic(a["radius"], a["sigma"], a["irrep:frequency"]) for a in functions if keep(a)]


SPATIAL: dict[str, Callable[[], GSpace3D]] = {
    "SO(3)": gspaces.rot3dOnR3,
    "O(3)": gspaces.flipRot3dOnR3,
    "octahedral": gspaces.octaOnR3,
    "full octahedral": gspaces.fullOctaOnR3,
    "icosahedral": gspaces.icoOnR3,
    "full icosahedral": gspaces.fullIcoOnR3,
    "dihedral": gspaces.dihedralOnR3,
    "dihedral D3": lambda: gspaces.dihedralOnR3(3),
    "dihedral D4": lambda: gspaces.dihedralOnR3(4),
    "axial": gspaces.rot2dOnR3,
    "axial C4": lambda: gspaces.rot2dOnR3(4),
    "cone": gspaces.conicalOnR3,
    "cone D4": lambda: gspaces.conicalOnR3(4),
    "mirror": gspaces.mirOnR3,
    "cylinder": gspaces.cylindricalOnR3,
    "cylinder C4": lambda: gspaces.cylindricalOnR3(4),
    "full cylinder": gspaces.fullCylindricalOnR3,
    "full cylinder D4": lambda: gspaces.fullCylindricalOnR3(4),
    "inversion": gspaces.invOnR3,
    "trivial": gspaces.trivialOnR3,
}
"""Every kind of gspace that escnn has in space."""

VOXEL_EXACT = [
    *("octahedral", "full octahedral", "dihedral D4", "axial C4", "cone D4", "mirror", "cylinder C4"),
    *("full cylinder D4", "inversion", "trivial"),
]


@cache
def spatial(name: str) -> GSpace3D:
    return SPATIAL[name]()


def small_types(space: GSpace) -> tuple[FieldType, FieldType]:
    """Small mixed types: the trivial field and irreps, in two orders."""
    irreps = some_irreps(space.fibergroup, 3)
    return space.type(*irreps), space.type(irreps[-1], irreps[0])
