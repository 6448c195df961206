"""Each of escnn's modules from one field to one, in the arrangements of channels that its code tells apart."""

from __future__ import annotations

from collections.abc import Callable

from escnn import gspaces, nn
from escnn.group import directsum
from escnn.nn import EquivariantModule, FieldType

C4, D4, SO2 = gspaces.rot2dOnR2(4), gspaces.flipRot2dOnR2(4), gspaces.rot2dOnR2(-1, maximum_frequency=2)
SO3, OCTA, ICO = gspaces.rot3dOnR3(2), gspaces.octaOnR3(), gspaces.icoOnR3()
VECTORS_ON_NOTHING = gspaces.no_base_space(C4.fibergroup).type(C4.irrep(1), C4.trivial_repr)
REGULAR, TRIVIAL, VECTOR = C4.regular_repr, C4.trivial_repr, C4.irrep(1)
INDUCED = C4.induced_repr(2, C4.fibergroup.subgroup(2)[0].irrep(1))

regular = C4.type(REGULAR, REGULAR)
mixed = C4.type(REGULAR, REGULAR, TRIVIAL)
apart = C4.type(TRIVIAL, REGULAR, TRIVIAL)  # two channels that are no range
vectors = C4.type(TRIVIAL, VECTOR, VECTOR)
vectors_apart = C4.type(VECTOR, TRIVIAL, VECTOR)
only_vectors = C4.type(VECTOR, VECTOR)
together = C4.type(*[directsum([TRIVIAL, VECTOR], name="scalar and vector")] * 2)
induced = C4.type(INDUCED)
cube = OCTA.type(OCTA.regular_repr)
cube_mixed = OCTA.type(OCTA.trivial_repr, OCTA.irrep(1))
so3_vectors = SO3.type(SO3.trivial_repr, SO3.irrep(1))
shells = ICO.type(ICO.trivial_repr)
restricted = D4.type(D4.regular_repr, D4.trivial_repr, D4.regular_repr).restrict((None, 4))


def branches(field: FieldType, labels: str, reshuffle: int = 0) -> nn.MultipleModule:
    """A ReLU of the scalars, and a convolution of the vectors."""
    scalar = C4.type(TRIVIAL)
    parts = [(nn.ReLU(scalar), "s"), (nn.R2Conv(only_vectors, only_vectors, 3, padding=1), "v")]
    return nn.MultipleModule(field, list(labels), parts, reshuffle=reshuffle)


MODULES: dict[str, Callable[[], EquivariantModule]] = {
    "MultipleModule": lambda: branches(vectors, "svv"),
    "MultipleModule, reshuffled": lambda: branches(vectors_apart, "vsv", reshuffle=1),
    "ConcatenatedNonLinearity": lambda: nn.ConcatenatedNonLinearity(C4.type(TRIVIAL, C4.irrep(2)), "c_relu"),
    "DisentangleModule": lambda: nn.DisentangleModule(D4.type(D4.regular_repr, D4.trivial_repr).restrict((None, 4))),
    "DisentangleModule, apart": lambda: nn.DisentangleModule(restricted),
    "ELU": lambda: nn.ELU(regular),
    "FieldDropout": lambda: nn.FieldDropout(mixed),
    "FourierELU": lambda: nn.FourierELU(SO3, 1, SO3.fibergroup.bl_irreps(1), type="thomson_cube", N=1),
    "FourierPointwise": lambda: nn.FourierPointwise(SO2, 2, SO2.fibergroup.bl_irreps(2), type="regular", N=8),
    "GNormBatchNorm": lambda: nn.GNormBatchNorm(vectors),
    "GNormBatchNorm, apart": lambda: nn.GNormBatchNorm(vectors_apart),
    "GatedNonLinearity1": lambda: nn.GatedNonLinearity1(C4.type(TRIVIAL, TRIVIAL, VECTOR, VECTOR)),
    "GatedNonLinearity1, gates kept": lambda: nn.GatedNonLinearity1(C4.type(TRIVIAL, VECTOR), drop_gates=False),
    "GatedNonLinearityUniform": lambda: nn.GatedNonLinearityUniform(together),
    "GroupPooling": lambda: nn.GroupPooling(regular),
    "GroupPooling, apart": lambda: nn.GroupPooling(apart),
    "HarmonicPolynomialR3": lambda: nn.HarmonicPolynomialR3(2),
    "IIDBatchNorm1d": lambda: nn.IIDBatchNorm1d(VECTORS_ON_NOTHING),
    "IIDBatchNorm2d": lambda: nn.IIDBatchNorm2d(regular),
    "IIDBatchNorm2d, apart": lambda: nn.IIDBatchNorm2d(vectors_apart),
    "IIDBatchNorm3d": lambda: nn.IIDBatchNorm3d(so3_vectors),
    "IdentityModule": lambda: nn.IdentityModule(regular),
    "InducedGatedNonLinearity1": lambda: nn.InducedGatedNonLinearity1(C4.type(C4.quotient_repr(2), INDUCED)),
    "InducedNormBatchNorm": lambda: nn.InducedNormBatchNorm(induced),
    "InducedNormNonLinearity": lambda: nn.InducedNormNonLinearity(induced),
    "InducedNormPool": lambda: nn.InducedNormPool(induced),
    "InnerBatchNorm, mixed": lambda: nn.InnerBatchNorm(mixed),
    "InnerBatchNorm, apart": lambda: nn.InnerBatchNorm(apart),
    "LeakyReLU": lambda: nn.LeakyReLU(regular),
    "Linear": lambda: nn.Linear(VECTORS_ON_NOTHING, VECTORS_ON_NOTHING),
    "MaskModule": lambda: nn.MaskModule(regular, 9, margin=1),
    "NormBatchNorm": lambda: nn.NormBatchNorm(only_vectors),
    "NormMaxPool": lambda: nn.NormMaxPool(vectors, 3),
    "NormNonLinearity": lambda: nn.NormNonLinearity(vectors),
    "NormNonLinearity, apart": lambda: nn.NormNonLinearity(vectors_apart, "n_sigmoid"),
    "NormPool": lambda: nn.NormPool(vectors_apart),
    "PointwiseAdaptiveAvgPool2D": lambda: nn.PointwiseAdaptiveAvgPool2D(regular, 3),
    "PointwiseAdaptiveAvgPool3D": lambda: nn.PointwiseAdaptiveAvgPool3D(cube, 1),
    "PointwiseAdaptiveMaxPool2D": lambda: nn.PointwiseAdaptiveMaxPool2D(regular, 3),
    "PointwiseAdaptiveMaxPool3D": lambda: nn.PointwiseAdaptiveMaxPool3D(cube, 1),
    "PointwiseAvgPool2D": lambda: nn.PointwiseAvgPool2D(regular, 3, 2, 1),
    "PointwiseAvgPool3D": lambda: nn.PointwiseAvgPool3D(cube, 3, 2, 1),
    "PointwiseAvgPoolAntialiased2D": lambda: nn.PointwiseAvgPoolAntialiased2D(regular, 0.66, 2),
    "PointwiseAvgPoolAntialiased3D": lambda: nn.PointwiseAvgPoolAntialiased3D(cube, 0.66, 2),
    "PointwiseDropout": lambda: nn.PointwiseDropout(regular),
    "PointwiseMaxPool2D": lambda: nn.PointwiseMaxPool2D(regular, 3, 2, 1),
    "PointwiseMaxPool3D": lambda: nn.PointwiseMaxPool3D(cube, 3, 2, 1),
    "PointwiseMaxPoolAntialiased2D": lambda: nn.PointwiseMaxPoolAntialiased2D(regular, 3, 2, 1),
    "PointwiseMaxPoolAntialiased3D": lambda: nn.PointwiseMaxPoolAntialiased3D(cube, 3, 2, 1),
    "PointwiseNonLinearity": lambda: nn.PointwiseNonLinearity(regular, "p_sigmoid"),
    "QuotientFourierELU": lambda: nn.QuotientFourierELU(
        SO3, (False, -1), 2, SO3.fibergroup.bl_irreps(1), type="thomson_cube", N=1
    ),
    "QuotientFourierPointwise": lambda: nn.QuotientFourierPointwise(
        SO3, (False, -1), 1, SO3.fibergroup.bl_irreps(1), type="thomson_cube", N=1
    ),
    "R2Conv, circular": lambda: nn.R2Conv(regular, vectors, 3, padding=1, padding_mode="circular"),
    "R2ConvTransposed": lambda: nn.R2ConvTransposed(regular, vectors, 3, padding=1, stride=2, output_padding=1),
    "R2Upsampling": lambda: nn.R2Upsampling(regular, 2),
    "R2Upsampling, to a size": lambda: nn.R2Upsampling(regular, size=17, align_corners=True),
    "R3Conv": lambda: nn.R3Conv(cube_mixed, cube_mixed, 3, padding=1),
    "R3ConvTransposed": lambda: nn.R3ConvTransposed(cube_mixed, cube_mixed, 3, padding=1, stride=2),
    "R3IcoConv": lambda: nn.R3IcoConv(shells, shells, 3, padding=1),
    "R3IcoConvTransposed": lambda: nn.R3IcoConvTransposed(shells, shells, 3, padding=1),
    "R3Upsampling": lambda: nn.R3Upsampling(cube, 2),
    "ReLU": lambda: nn.ReLU(regular, inplace=True),
    "ReshuffleModule": lambda: nn.ReshuffleModule(mixed, [2, 0, 1]),
    "RestrictionModule": lambda: nn.RestrictionModule(D4.type(D4.regular_repr), (None, 4)),
    "SequentialModule": lambda: nn.SequentialModule(
        nn.R2Conv(vectors, vectors, 3), nn.NormNonLinearity(vectors), nn.NormPool(vectors)
    ),
    "TensorProductModule": lambda: nn.TensorProductModule(only_vectors, regular),
    "VectorFieldNonLinearity": lambda: nn.VectorFieldNonLinearity(regular),
}
"""Of each of ``escnn.nn``'s classes, by its name, with what is special after a comma."""

OF_SEVERAL_FIELDS = ("BranchingModule", "GatedNonLinearity2", "MergeModule")
OVER_POINTS = ("R2PointConv", "R3PointConv")
"""What is written with the network around it alone."""
