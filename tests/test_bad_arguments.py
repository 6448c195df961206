"""Bad arguments: each gets an error that names the value, what was expected and the remedy, before anything changes."""

import copy
import math

import numpy as np
import pytest
import torch
from escnn import group, gspaces, nn
from escnn.group import directsum
from escnn.nn import FieldType

import escnn_soft as es
from escnn_soft.errors import (
    ArgumentError,
    BasisFilterError,
    DtypeError,
    EmptyBasisError,
    EscnnSoftError,
    FieldTypeError,
    GridActionError,
    GSpaceError,
    RepresentationError,
    ShapeError,
    SoftnessError,
)
from escnn_soft.escnn import SoftKernelBasis
from escnn_soft.functions import pixel_permutation
from escnn_soft.grading import TokenTable, fibre_transform, token_maps, token_spectrum
from escnn_soft.groups import (
    MatrixGroup,
    MatrixRepresentation,
    escnn_matrix_group,
    lorentz_group,
    orthogonal_group,
    vector,
)
from escnn_soft.testing import assert_covariant_step
from escnn_soft.training import DampedMuon, LayerwiseAdam, layer_group

PLANE = gspaces.rot2dOnR2(4)
OTHER = gspaces.rot2dOnR2(8)
POINT = gspaces.no_base_space(group.cyclic_group(4))
SPACE, BALL = gspaces.octaOnR3(), gspaces.rot3dOnR3()
REG = PLANE.type(*[PLANE.regular_repr] * 2)
VOL = SPACE.type(SPACE.trivial_repr, SPACE.irrep(1))
O3 = orthogonal_group(3)
VEC = POINT.type(POINT.regular_repr)
IMAGES, SCORES = torch.zeros(2, 1, 5, 5), torch.zeros(2, 3)
FLIP = es.metrics.Transformation("flip", lambda x: x.flip(-1), lambda y: y.flip(-1), lambda m: m.flip(-1))


def conv(**arguments) -> es.SoftR2Conv:
    return es.SoftR2Conv(**{"in_type": REG, "out_type": REG, "kernel_size": 3, **arguments})


def transposed(**arguments) -> es.SoftR2ConvTransposed:
    return es.SoftR2ConvTransposed(**{"in_type": REG, "out_type": REG, "kernel_size": 3, **arguments})


def conv3(**arguments) -> es.SoftR3Conv:
    return es.SoftR3Conv(**{"in_type": VOL, "out_type": VOL, "kernel_size": 3, **arguments})


def transposed3(**arguments) -> es.SoftR3ConvTransposed:
    return es.SoftR3ConvTransposed(**{"in_type": VOL, "out_type": VOL, "kernel_size": 3, **arguments})


def linear(**arguments) -> es.SoftLinear:
    return es.SoftLinear(**{"in_type": VEC, "out_type": VEC, **arguments})


def points(**arguments) -> es.SoftR2PointConv:
    return es.SoftR2PointConv(**{"in_type": REG, "out_type": REG, "width": 1.0, "n_rings": 2, **arguments})


def on_graph(x, edges=((0, 1), (1, 0))) -> None:
    points(initialize=False)(x, torch.tensor(edges))


def kernel_basis(**arguments) -> SoftKernelBasis:
    rho = PLANE.irrep(1)
    given = {"gspace": PLANE, "in_repr": rho, "out_repr": rho, "sigma": 0.5, "rings": [1.0], "maximum_frequency": 2}
    return SoftKernelBasis(**{**given, **arguments})


def matrix_linear(**arguments) -> es.SoftMatrixLinear:
    return es.SoftMatrixLinear(vector(O3), vector(O3), **arguments)


def set_softness(value) -> None:
    conv().softness = value


class Twice(torch.nn.Module):
    """A class to be registered once."""


def skewed() -> FieldType:
    """A representation that is not orthogonal."""
    g = PLANE.fibergroup
    skew = np.array([[1.0, 1.0], [0.0, 1.0]])
    rho = directsum([g.irrep(0), g.irrep(2)], change_of_basis=skew, name="skewed")
    return PLANE.type(rho)


def frequency_of_input_irrep(attributes) -> bool:
    return attributes["in_irrep"] == (0,)


def half_of_the_kernels(attributes) -> bool:
    return attributes.get("s", 0) == 0


BAD = {
    # softness
    "softness above 1": (lambda: conv(softness=1.5), SoftnessError, r"number in \[0, 1\] but got softness=1.5 .*Pass 0 for an exactly"),
    "softness below 0": (lambda: linear(softness=-0.1), SoftnessError, r"number in \[0, 1\] but got softness=-0.1"),
    "softness NaN": (lambda: conv(softness=math.nan), SoftnessError, r"number in \[0, 1\] but got softness=nan"),
    "softness unknown": (lambda: conv(softness="high"), SoftnessError, r"number in \[0, 1\] or a policy but got softness='high' \(type=str\)"),
    "softness bool": (lambda: conv(softness=True), SoftnessError, "a policy but got softness=True"),
    "softness None": (lambda: linear(softness=None), SoftnessError, "a policy but got softness=None"),
    "softness set to NaN": (lambda: set_softness(math.nan), SoftnessError, "softness=nan"),
    "softness positional": (lambda: es.SoftLinear(VEC, VEC, True, "blocks", False, True, 0.5), TypeError, "positional"),
    # chain
    "chain bare": (lambda: conv(chain=2), ArgumentError, r"a list of subgroup ids from large to small but got chain=2 .*Write chain=\[id\]"),
    "chain text": (lambda: conv(chain="octa"), ArgumentError, r"chain='octa' \(type=str\)"),
    "chain empty": (lambda: linear(chain=[]), ArgumentError, r"got chain=\[\]"),
    "chain unhashable": (lambda: conv(chain=[[None, 2]]), ArgumentError, "with tuples, not lists"),
    "chain of no subgroup": (lambda: conv(chain=[3]), ArgumentError, r"knows no subgroup 3 of C4\) but got chain=\(3,\)"),
    "chain of another group": (lambda: transposed(chain=[(None, 2)]), ArgumentError, r"knows no subgroup \(None, 2\) of C4"),
    "chain upside down": (lambda: linear(chain=[1, 2]), ArgumentError, "one is not inside 1.*inside the one before"),
    "chain in space": (lambda: conv3(chain=["dodeca"]), ArgumentError, "knows no subgroup 'dodeca' of Octahedral"),
    "chain transposed in space": (lambda: transposed3(chain=[4]), ArgumentError, "knows no subgroup 4 of Octahedral"),
    "chain of from_hard": (lambda: es.SoftR2Conv.from_hard(nn.R2Conv(REG, REG, 3), chain=[3]), ArgumentError, "knows no subgroup 3"),
    "chain of from_dense": (lambda: es.SoftLinear.from_dense(torch.nn.Linear(4, 4), VEC, VEC, chain=[3]), ArgumentError, "knows no subgroup 3"),
    "chain of a product": (lambda: es.SoftTensorProduct(REG, REG, chain=[3]), ArgumentError, "knows no subgroup 3"),
    # rank
    "rank zero": (lambda: conv(rank=0), ArgumentError, "an integer >= 1 but got rank=0.*whole number"),
    "rank text": (lambda: linear(rank="4"), ArgumentError, "rank='4'"),
    "rank no number": (lambda: transposed3(rank=True), ArgumentError, "rank=True"),
    "rank half": (lambda: es.SoftTensorProduct(REG, REG, rank=1.5), ArgumentError, "rank=1.5"),
    "rank over points": (lambda: points(rank=-1), ArgumentError, "rank=-1"),
    "soften to no rank": (lambda: es.soften(nn.R2Conv(REG, REG, 3), 0.5, rank=0), ArgumentError, "rank=0"),
    "soften a layer to no rank": (lambda: es.soften(nn.R2Conv(REG, REG, 3), 0.5, per_layer={"": {"rank": 0}}), ArgumentError, "rank=0"),
    "rank of a plain layer": (lambda: es.soften(torch.nn.Conv2d(4, 4, 3), 0.5, gspace=PLANE, rank=2), ArgumentError, "no rank where plain layers are softened.*rank=2"),
    "rank of one plain layer": (lambda: es.soften(torch.nn.Conv2d(4, 4, 3), 0.5, gspace=PLANE, per_layer={"": {"rank": 2}}), ArgumentError, "a softness alone, for a plain layer"),
    "soften to no subgroup": (lambda: es.soften(nn.R2Conv(REG, REG, 3), 0.5, chain=[3]), ArgumentError, "knows no subgroup 3"),
    "restrict to no subgroup": (lambda: conv().restrict(3), ArgumentError, "to which escnn can restrict.*got subgroup=3"),
    "restrict no layer": (lambda: es.restrict(torch.nn.Conv2d(8, 8, 3), 2), ArgumentError, "an EquivariantModule but got layer="),
    "exponential text": (lambda: es.Exponential("0.5"), SoftnessError, "softness='0.5'"),
    "cutoff negative": (lambda: es.Cutoff(-1), SoftnessError, r"a number >= 0 but got bound=-1 .*largest violation"),
    "cutoff NaN": (lambda: es.Cutoff(math.nan), SoftnessError, "bound=nan"),
    # types
    "plane for linear": (lambda: linear(in_type=REG, out_type=REG), GSpaceError, r"a GSpace0D but got in_type.gspace=.*no_base_space"),
    "point for conv": (lambda: conv(in_type=VEC, out_type=VEC), GSpaceError, r"a GSpace2D but got in_type.gspace=.*rot2dOnR2"),
    "3D for conv": (lambda: conv(in_type=SPACE.type(SPACE.trivial_repr)), GSpaceError, "a GSpace2D but got in_type.gspace="),
    "two gspaces": (lambda: conv(out_type=OTHER.type(OTHER.regular_repr)), GSpaceError, "the gspace of in_type.*same gspace"),
    "not a type": (lambda: conv(in_type=16), FieldTypeError, r"an escnn.nn.FieldType but got in_type=16 \(type=int\)"),
    "not orthogonal": (lambda: conv(in_type=skewed(), kernel_size=3), RepresentationError, r"orthogonal change of basis .* but got representation=C4\|\[skewed\]"),
    "groups do not divide": (lambda: conv(groups=3), FieldTypeError, "split into groups=3 equal groups but got in_type="),
    "groups differ": (
        lambda: conv(in_type=PLANE.type(PLANE.regular_repr, PLANE.trivial_repr), groups=2), FieldTypeError, "groups=2 equal groups",
    ),
    # geometry
    "kernel size 0": (lambda: conv(kernel_size=0), ArgumentError, r"an integer >= 1 but got kernel_size=0"),
    "kernel size fraction": (lambda: conv(kernel_size=2.5), ArgumentError, "kernel_size=2.5"),
    "kernel size pair": (lambda: conv(kernel_size=(3, 3)), ArgumentError, r"kernel_size=\(3, 3\)"),
    "dilation 0": (lambda: conv(dilation=0), ArgumentError, "dilation=0"),
    "groups bool": (lambda: conv(groups=True), ArgumentError, "groups=True"),
    "padding negative": (lambda: conv(padding=-1), ArgumentError, "one or two integers >= 0 but got padding=-1"),
    "padding text": (lambda: conv(padding="same"), ArgumentError, "padding='same'"),
    "padding three": (lambda: conv(padding=(1, 1, 1)), ArgumentError, r"padding=\(1, 1, 1\)"),
    "stride 0": (lambda: conv(stride=0), ArgumentError, "one or two integers >= 1 but got stride=0"),
    "padding mode": (lambda: conv(padding_mode="mirror"), ArgumentError, "one of .* but got padding_mode='mirror'"),
    "ring outside": (lambda: conv(rings=[0.0, 5.0]), ArgumentError, r"radii in \[0, 1.41\] but got rings="),
    "widths without rings": (lambda: conv(sigma=[0.5, 0.5, 0.5]), ArgumentError, "one per ring but got sigma="),
    "basis filter asks too much": (lambda: conv(basis_filter=frequency_of_input_irrep), BasisFilterError, "rings and frequencies .*in_irrep"),
    "basis filter cuts a level": (lambda: conv(basis_filter=half_of_the_kernels), BasisFilterError, "keeps all .* equivariant kernels"),
    "element off the grid": (
        lambda: pixel_permutation(OTHER, 3, OTHER.fibergroup.element(1)), GridActionError, "maps the pixel grid to itself.*90 degrees",
    ),
    # inputs
    "input of another type": (lambda: conv()(PLANE.type(PLANE.trivial_repr)(torch.zeros(1, 1, 5, 5))), FieldTypeError, "input.type="),
    "input not typed": (lambda: conv()(torch.zeros(1, 8, 5, 5)), FieldTypeError, r"a GeometricTensor of type .*Wrap the tensor"),
    "input in double": (lambda: conv()(REG(torch.zeros(1, 8, 5, 5).double())), DtypeError, "dtype torch.float32 on cpu.*float64"),
    "input shape": (lambda: conv().evaluate_output_shape((1, 3, 5, 5)), ArgumentError, r"\(batch, 8, height, width\)"),
    "weight of another shape": (
        lambda: fibre_transform(POINT, [POINT.regular_repr], [POINT.regular_repr]).analysis(torch.zeros(3, 4, 1)), ShapeError, r"\(4, 4, \.\.\.\)",
    ),
    # transposed and in space
    "transposed: output padding too large": (lambda: transposed(stride=2, output_padding=2), ArgumentError, r"less than the stride .* but got output_padding=\(2, 2\).*output sizes"),
    "transposed: output padding negative": (lambda: transposed(output_padding=-1), ArgumentError, "integers >= 0 but got output_padding=-1"),
    "transposed: stride text": (lambda: transposed(stride="2"), ArgumentError, "stride='2'"),
    "transposed: groups differ": (lambda: transposed(groups=3), FieldTypeError, "groups=3 equal groups"),
    "transposed: point": (lambda: transposed(in_type=VEC, out_type=VEC), GSpaceError, "SoftR2ConvTransposed acts on the plane"),
    "transposed: softness": (lambda: transposed(softness=2), SoftnessError, "softness=2"),
    "transposed: shape": (lambda: transposed().evaluate_output_shape((1, 8, 5)), ArgumentError, "height, width"),
    "transposed: from_dense of a convolution": (
        lambda: es.SoftR2ConvTransposed.from_dense(torch.nn.Conv2d(8, 8, 3), REG, REG), ArgumentError, "a ConvTranspose2d but got conv=",
    ),
    "transposed: from_hard of a convolution": (
        lambda: es.SoftR2ConvTransposed.from_hard(nn.R2Conv(REG, REG, 3)), ArgumentError, "an R2ConvTransposed but got layer=",
    ),
    "plane for 3D": (lambda: conv3(in_type=REG, out_type=REG), GSpaceError, "a GSpace3D but got in_type.gspace=.*octaOnR3"),
    "3D: padding two": (lambda: conv3(padding=(1, 1)), ArgumentError, r"one or three integers >= 0 but got padding=\(1, 1\)"),
    "3D: padding mode": (lambda: conv3(padding_mode="mirror"), ArgumentError, "padding_mode='mirror'"),
    "3D: ring outside": (lambda: conv3(rings=[0.0, 1.8]), ArgumentError, r"radii in \[0, 1.73\] but got rings="),
    "3D: basis filter asks too much": (lambda: conv3(basis_filter=frequency_of_input_irrep), BasisFilterError, "in_irrep"),
    "3D: shape": (lambda: conv3().evaluate_output_shape((1, 4, 5, 5)), ArgumentError, r"\(batch, 4, depth, height, width\)"),
    "3D: from_dense oblong": (
        lambda: es.SoftR3Conv.from_dense(torch.nn.Conv3d(4, 4, (3, 3, 1)), VOL, VOL), ArgumentError, r"conv.kernel_size=\(3, 3, 1\)",
    ),
    "3D transposed: output padding": (lambda: transposed3(output_padding=1), ArgumentError, r"output_padding=\(1, 1, 1\)"),
    # conversion
    "from_hard of plain": (lambda: es.SoftR2Conv.from_hard(torch.nn.Conv2d(8, 8, 3)), ArgumentError, "an R2Conv but got layer=.*from_dense"),
    "from_hard of soft": (lambda: es.SoftR2Conv.from_hard(conv()), ArgumentError, "not soft yet.*Set its .softness"),
    "from_hard of soft linear": (lambda: es.SoftLinear.from_hard(linear()), ArgumentError, "not soft yet"),
    "from_hard with another cut-off": (
        lambda: es.SoftR2Conv.from_hard(nn.R2Conv(REG, REG, 5, frequencies_cutoff=1.0)), ArgumentError, "Pass the frequencies_cutoff",
    ),
    "from_dense of escnn": (lambda: es.SoftR2Conv.from_dense(nn.R2Conv(REG, REG, 3), REG, REG), ArgumentError, "a Conv2d but got conv="),
    "from_dense channels": (lambda: es.SoftR2Conv.from_dense(torch.nn.Conv2d(4, 8, 3), REG, REG), FieldTypeError, "the convolution's 4 channels"),
    "from_dense oblong": (
        lambda: es.SoftR2Conv.from_dense(torch.nn.Conv2d(8, 8, (3, 5)), REG, REG), ArgumentError, r"conv.kernel_size=\(3, 5\).*square",
    ),
    "from_dense uneven same": (
        lambda: es.SoftR2Conv.from_dense(torch.nn.Conv2d(8, 8, 4, padding="same"), REG, REG), ArgumentError, "conv.padding='same'",
    ),
    # points
    "points softness": (lambda: points(softness=1.5), SoftnessError, "softness=1.5"),
    "points in a volume": (lambda: points(in_type=VOL, out_type=VOL), GSpaceError, "a GSpace2D"),
    "points and groups": (lambda: points(groups=2), ArgumentError, r"1 \(escnn's point convolutions have no groups\) but got groups=2"),
    "points without rings": (lambda: points(width=None, n_rings=None), ArgumentError, "either rings alone, or both width and n_rings"),
    "points with rings twice": (lambda: points(rings=[1.0]), ArgumentError, "either rings alone, or both width and n_rings"),
    "points without width": (lambda: points(width=None), ArgumentError, "either rings alone, or both width and n_rings"),
    "points of width 0": (lambda: points(width=0.0), ArgumentError, "a number > 0 but got width=0.0"),
    "points and no ring": (lambda: points(n_rings=0), ArgumentError, "n_rings=0"),
    "points and equal rings": (
        lambda: points(width=None, n_rings=None, rings=[1.0, 1.0]), ArgumentError, r"different radii >= 0 but got rings=\[1.0, 1.0\]",
    ),
    "points and widths": (lambda: points(sigma=[0.1]), ArgumentError, r"one per ring but got sigma=\[0.1\]"),
    "points and width of rings": (lambda: points(sigma=-1.0), ArgumentError, "sigma=-1.0"),
    "points cut-off": (lambda: points(frequencies_cutoff=2), ArgumentError, "a function of the radius but got frequencies_cutoff=2"),
    "points filter on irreps": (lambda: points(basis_filter=lambda a: a["in_irrep"] == (0,)), BasisFilterError, "asks for 'in_irrep'"),
    "points without a basis": (
        lambda: points(basis_filter=lambda _: False), EmptyBasisError, "Add rings, or raise frequencies_cutoff",
    ),
    "points from a grid": (lambda: es.SoftR2PointConv.from_hard(nn.R2Conv(REG, REG, 3)), ArgumentError, "an R2PointConv"),
    "points from_hard with another cut-off": (
        lambda: es.SoftR2PointConv.from_hard(nn.R2PointConv(REG, REG, width=1.0, n_rings=2, frequencies_cutoff=1.0)),
        ArgumentError, "Pass the frequencies_cutoff",
    ),
    "points in an image": (lambda: on_graph(REG(torch.zeros(1, 8, 3, 3))), ArgumentError, "coordinates of the nodes but got x.coords=None"),
    "points and edges": (lambda: on_graph(REG(torch.zeros(2, 8), torch.zeros(2, 2)), (0, 1)), ShapeError, r"\(2, edges\)"),
    "points and dtype": (lambda: on_graph(REG(torch.zeros(2, 8).double(), torch.zeros(2, 2))), DtypeError, "Cast one of them"),
    "points of another shape": (lambda: points().evaluate_output_shape((2, 3)), ArgumentError, r"\(nodes, 8\)"),
    "points of negative radius": (lambda: points().certificate(-1.0), ArgumentError, "radius=-1.0 .*longest edge"),
    # bases of kernels
    "kernels on a point": (lambda: kernel_basis(gspace=POINT), GSpaceError, "on the plane or in space"),
    "kernels without rings": (lambda: kernel_basis(rings=[]), ArgumentError, r"rings=\[\]"),
    "kernels and widths": (lambda: kernel_basis(sigma=[0.1, 0.2]), ArgumentError, "one per ring"),
    "kernels of negative frequency": (lambda: kernel_basis(maximum_frequency=-1), ArgumentError, "maximum_frequency=-1"),
    "kernels that are left out": (lambda: kernel_basis(filter=lambda _: False), ArgumentError, "a filter that keeps something"),
    "kernels at points of space": (lambda: kernel_basis().sample(torch.zeros(4, 3)), ShapeError, r"shape \(points, 2\)"),
    # policies
    "budget below 0": (lambda: es.Budget(-0.1), SoftnessError, r"number in \[0, 2\] but got eta=-0.1 .*largest relative error"),
    "budget of a word": (lambda: es.Budget("small"), SoftnessError, "eta='small'"),
    "learned from 0": (lambda: es.Learned(0.0), SoftnessError, "strictly between 0 and 1 but got initial=0.0 .*sigmoid"),
    "learned above 1": (lambda: es.Learned(1.5), SoftnessError, "initial=1.5"),
    "schedule of no steps": (lambda: es.LinearSchedule(1.0, 0.0, steps=0), ArgumentError, "steps=0"),
    "schedule beyond the policy": (lambda: es.CosineSchedule(2.0, 0.0, steps=5), SoftnessError, "softness=2.0"),
    "scheduler without layers": (
        lambda: es.SoftnessScheduler(torch.nn.ReLU(), float), ArgumentError, r"a model with soft layers but got model=ReLU\(\)",
    ),
    "scheduler's step": (lambda: es.SoftnessScheduler(conv(), lambda _: 0.5, last_epoch=-2), ArgumentError, "last_epoch=-2"),
    "scheduler's schedule": (lambda: es.SoftnessScheduler(conv(), lambda _: 7), SoftnessError, "softness=7"),
    # certificates
    "certificate of a pooling": (lambda: es.certificate(nn.ReLU(REG)), ArgumentError, "a layer that has a soft twin .*certify"),
    "certificate with types": (lambda: es.certificate(conv(), REG, REG), ArgumentError, "no types for an escnn layer.*Leave them out"),
    "certificate without types": (lambda: es.certificate(torch.nn.Conv2d(8, 8, 3)), FieldTypeError, "FieldType but got in_type=None"),
    "certificate of other channels": (lambda: es.certificate(torch.nn.Linear(3, 4), VEC, VEC), FieldTypeError, r"\(4, 3\) channels"),
    "certificate of another space": (
        lambda: es.certificate(torch.nn.Conv2d(8, 8, 3), VEC, VEC), GSpaceError, "a GSpace2D .*certificate\\(layer, in_type, out_type",
    ),
    "error at another group's element": (
        lambda: conv().certificate().at(OTHER.fibergroup.element(1)), ArgumentError, r"an element of C4 but got element=1\[2pi/8\]",
    ),
    "bound off the grid": (
        lambda: es.SoftR2Conv(*[OTHER.type(OTHER.regular_repr)] * 2, 3).certificate().operator_at(OTHER.fibergroup.element(1)),
        GridActionError, "maps the pixel grid to itself",
    ),
    "pixel errors off the grid": (
        lambda: es.SoftR2Conv(*[OTHER.type(OTHER.regular_repr)] * 2, 3).certificate().grid.at(OTHER.fibergroup.element(1)),
        ArgumentError, "which move pixels onto pixels",
    ),
    "angle beyond a half turn": (lambda: conv().certificate().within(4.0), ArgumentError, "angle=4.0"),
    # vision transformers
    "reader of no module": (lambda: es.register_positions(int), ArgumentError, "a subclass of torch.nn.Module but got cls=<class 'int'> .*register_positions\\(YourModel\\)"),
    "reader of a class twice": (lambda: [es.register_positions(Twice)(iter) for _ in range(2)], ArgumentError, "a class without a reader but got cls=.*Register each class once"),
    "table for another grid": (lambda: TokenTable((1, 10, 8), axis=1, sides=(4, 4)), ShapeError, r"0 \+ 4 x 4 entries or more along axis 1 but got table.shape=\(1, 10, 8\) .*sides of the token grid"),
    "table without the axis": (lambda: TokenTable((16,), axis=1, sides=(4, 4)), ShapeError, "along axis 1"),
    "oblong grid of tokens": (
        lambda: token_spectrum(PLANE, TokenTable((12, 8), axis=0, sides=(3, 4))), GridActionError, r"a square grid for C4.* but got token grid=\(3, 4\) .*half turns and mirrors",
    ),
    "tokens in space": (lambda: token_spectrum(SPACE, TokenTable((16, 8), axis=0, sides=(4, 4))), GSpaceError, "a gspace on the plane but got gspace=.*TokenShifts"),
    "maps of grids by eighth turns": (lambda: token_maps(OTHER, (4, 4), (4, 4)), GridActionError, "a group that maps the grid of tokens to itself but got gspace=C8.*Take C_2, C_4"),
    "shifts of offsets": (
        lambda: token_spectrum(es.TokenShifts(), TokenTable((9, 8), axis=0, sides=(3, 3), offsets=True)), GridActionError, "turns or mirrors for a table of offsets",
    ),
    "shifts of nothing": (lambda: es.soften(torch.nn.Linear(3, 3), 0.0, gspace=es.TokenShifts()), ArgumentError, r"a model with hard steerable layers but got model=Linear\("),
    # metrics
    "transformations of a shape": (lambda: es.metrics.transformations(4), ArgumentError, "a FieldType or a GSpace but got in_type=4"),
    "transformations of two groups": (lambda: es.metrics.transformations(PLANE, OTHER), FieldTypeError, "a type of the group C4"),
    "transformations by another group": (
        lambda: es.metrics.transformations(PLANE, elements=[OTHER.fibergroup.element(2)]), ArgumentError, "elements of C4",
    ),
    "transformations of a Lie group": (
        lambda: es.metrics.transformations(gspaces.rot2dOnR2(-1), interpolation="bicubic"), ArgumentError, r"infinite group SO\(2\) but got elements=None",
    ),
    "transformations off the grid": (
        lambda: es.metrics.transformations(OTHER, elements=[OTHER.fibergroup.element(1)]), GridActionError, "Leave the element out, or pass interpolation='bicubic'",
    ),
    "transformations of volumes off the grid": (
        lambda: es.metrics.transformations(BALL, elements=[BALL.fibergroup.element(np.array([0.1, 0.0, 0.0]), "EV")], interpolation="bicubic"),
        GridActionError, "volumes are not resampled",
    ),
    "transformations with splines": (lambda: es.metrics.transformations(PLANE, interpolation="spline"), ArgumentError, r"one of \('bilinear', 'bicubic'\) or None"),
    "transformation of tokens": (lambda: es.metrics.transformations(PLANE)[0].on_input(torch.zeros(2, 9, 3)), ShapeError, r"\(batch, channels\) and 2 axes of pixels but got tensor.shape="),
    "error of no model": (lambda: es.metrics.equivariance_error("vit", IMAGES, [FLIP]), ArgumentError, "a module or a function"),
    "error without transformations": (lambda: es.metrics.invariance_error(torch.nn.Identity(), IMAGES, []), ArgumentError, "at least one Transformation"),
    "error of a gspace's elements": (
        lambda: es.metrics.equivariance_error(torch.nn.Identity(), IMAGES, PLANE.fibergroup.elements), ArgumentError, "Make them with metrics.transformations",
    ),
    "error of no batches": (lambda: es.metrics.equivariance_error(torch.nn.Identity(), [], [FLIP]), ArgumentError, "at least one sample but got number of samples=0"),
    "error of a number": (lambda: es.metrics.equivariance_error(torch.nn.Identity(), 3, [FLIP]), ArgumentError, "a tensor or an iterable of batches"),
    "error of two outputs": (lambda: es.metrics.equivariance_error(lambda x: (x, x), IMAGES, [FLIP]), ArgumentError, r"one tensor but got model\(x\)=\(tensor\(shape="),
    "error of outputs of two shapes": (
        lambda: es.metrics.equivariance_error(lambda x: x[:, :, 1:], torch.zeros(1, 1, 5, 5), es.metrics.transformations(PLANE, PLANE)), ShapeError, "differ in shape if the model",
    ),
    "change of no batches": (lambda: es.metrics.prediction_change(torch.nn.Identity(), iter([]), [FLIP]), ArgumentError, "a generator that was used before"),
    "overlap of too few classes": (lambda: es.metrics.top_overlap(SCORES, SCORES), ShapeError, "at least k = 5 classes"),
    "accuracy without labels": (lambda: es.metrics.accuracy(torch.nn.Identity(), SCORES, [FLIP]), ArgumentError, r"pairs \(inputs, targets\)"),
    "accuracy of a single pair": (
        lambda: es.metrics.accuracy(torch.nn.Identity(), (SCORES, torch.zeros(2)), [FLIP]), ArgumentError, r"\[\(x, y\)\] for a single batch",
    ),
    "accuracy of masks": (
        lambda: es.metrics.accuracy(torch.nn.Identity(), [(IMAGES, torch.zeros(2, 5, 5).long())], [FLIP]), ShapeError, "Use segmentation_score",
    ),
    "segmentation with one class": (
        lambda: es.metrics.segmentation_score(torch.nn.Identity(), [(IMAGES, torch.zeros(2, 5, 5).long())], [FLIP], classes=1), ArgumentError, "classes=1",
    ),
    "segmentation with soft masks": (
        lambda: es.metrics.segmentation_score(torch.nn.Identity(), [(IMAGES, torch.zeros(2, 5, 5))], [FLIP], classes=2), ArgumentError, "masks of integers",
    ),
    "segmentation at another size": (
        lambda: es.metrics.segmentation_score(torch.nn.Identity(), [(IMAGES, torch.zeros(2, 4, 5).long())], [FLIP], classes=2), ShapeError, "Resize the scores",
    ),
    "paths of other lengths": (lambda: es.metrics.displacements(torch.zeros(3, 4, 2), torch.zeros(3, 5, 2)), ShapeError, r"shape \(3, 5, 2\)"),
    "rotation by a word": (lambda: es.metrics.point_rotations(["right"]), ArgumentError, "angles='right'"),
    "rotation of points in space": (lambda: es.metrics.point_rotations([90])[0].on_input(torch.zeros(4, 3)), ShapeError, r"coordinates \(..., 2\)"),
    "linear from_dense channels": (lambda: es.SoftLinear.from_dense(torch.nn.Linear(3, 4), VEC, VEC), FieldTypeError, "3 and 4 channels"),
    # optimisers
    "optimiser of bare parameters": (
        lambda: LayerwiseAdam(conv().parameters()), ArgumentError, r"a model or parameter groups but got model=\[parameter\(shape=.*Pass the model",
    ),
    "optimiser of a number": (lambda: DampedMuon(3), ArgumentError, "a model or parameter groups but got model=3"),
    "optimiser of no parameter": (lambda: LayerwiseAdam([]), ArgumentError, "at least one parameter group but got model="),
    "group without layers": (
        lambda: LayerwiseAdam([{"params": list(conv().parameters())}]), ArgumentError, r"a parameter group with its layers but got param_group=\['params'\].*layer_group",
    ),
    "group added without layers": (
        lambda: LayerwiseAdam(conv()).add_param_group({"params": [torch.zeros(1)]}), ArgumentError, "a parameter group with its layers",
    ),
    "group of a list": (lambda: layer_group([conv()]), ArgumentError, "a Module but got model="),
    "negative learning rate": (lambda: LayerwiseAdam(conv(), lr=-1.0), ArgumentError, "lr=-1.0"),
    "learning rate of a group": (lambda: LayerwiseAdam([layer_group(conv(), lr="fast")]), ArgumentError, "lr='fast'"),
    "betas of 1": (lambda: LayerwiseAdam(conv(), betas=(0.9, 1.0)), ArgumentError, r"two numbers in \[0, 1\) but got betas=\(0.9, 1.0\)"),
    "a single beta": (lambda: LayerwiseAdam(conv(), betas=0.9), ArgumentError, "betas=0.9"),
    "momentum of 1": (lambda: DampedMuon(conv(), momentum=1.0), ArgumentError, r"a number in \[0, 1\) but got momentum=1.0"),
    "no damping": (lambda: DampedMuon(conv(), damping=0.0), ArgumentError, "damping=0.0"),
    "damping of a group": (lambda: DampedMuon([layer_group(conv(), damping=0.0)]), ArgumentError, "damping=0.0"),
    "decay of nothing": (lambda: DampedMuon(conv(), weight_decay=math.nan), ArgumentError, "weight_decay=nan"),
    "strict by a word": (lambda: LayerwiseAdam(conv(), strict="sgd"), ArgumentError, "'layer' or 'adam' but got strict='sgd'"),
    "covariance of no layer": (
        lambda: assert_covariant_step(LayerwiseAdam, torch.nn.Linear(2, 2)), ArgumentError, r"a layer with a softness between fields but got layer=Linear\(",
    ),
    # matrix groups
    "matrix group without generators": (lambda: MatrixGroup.of("none"), ShapeError, r"one size but got sizes of the generators=\[\]"),
    "matrix group of vectors": (lambda: MatrixGroup.of("g", algebra=torch.ones(3, 3)), ShapeError, r"algebra.shape=\(3, 3\).*stacks of square"),
    "matrix group of two sizes": (
        lambda: MatrixGroup.of("g", torch.ones(1, 2, 2), torch.eye(3)[None]), ShapeError, r"one size but got sizes of the generators=\[2, 3\]",
    ),
    "matrix group singular": (lambda: MatrixGroup.of("g", discrete=torch.ones(1, 2, 2)), RepresentationError, "invertible matrices"),
    "matrix group of size 0": (lambda: orthogonal_group(0), ArgumentError, "an integer >= 1 but got n=0"),
    "matrix representation images": (
        lambda: MatrixRepresentation.of(O3, "r", torch.zeros(2, 4, 4), torch.eye(4)[None]), RepresentationError, "3 algebra and 1 discrete images",
    ),
    "matrix representation breaks a relation": (
        lambda: MatrixRepresentation.of(O3, "r", 2 * O3.generators.algebra, torch.eye(3)[None]), RepresentationError, r"brackets.*drho\(\[X, Y\]\)",
    ),
    "sum over two groups": (lambda: vector(O3) + vector(lorentz_group()), RepresentationError, r"the group O\(3\) but got other.group"),
    "sum with a number": (lambda: vector(O3) + 1, ArgumentError, "a MatrixRepresentation but got other=1"),
    "half a copy": (lambda: 0.5 * vector(O3), ArgumentError, "an integer >= 0 but got count=0.5"),
    "vectors of no group": (lambda: vector("O(3)"), ArgumentError, r"a MatrixGroup but got group='O\(3\)'"),
    "coordinates of an element": (lambda: O3.element([1.0]), ShapeError, "3 coordinates but got step="),
    "generator of an element": (lambda: O3.element(1), ShapeError, "the index of one of 1 discrete generators, or 3 coordinates but got step=1"),
    "matrix layer of two groups": (
        lambda: es.SoftMatrixLinear(vector(O3), vector(lorentz_group())), RepresentationError, "one group but got groups=",
    ),
    "matrix layer of types": (lambda: es.SoftMatrixLinear(VEC, VEC), RepresentationError, "a MatrixRepresentation but got in_representation="),
    "matrix layer's softness": (lambda: matrix_linear(softness=2), SoftnessError, "softness=2"),
    "budget without a supremum": (
        lambda: es.SoftMatrixLinear(*[vector(lorentz_group())] * 2, softness=es.Budget(0.1)), SoftnessError, r"O\(1,3\) has no supremum",
    ),
    "matrix layer's input": (lambda: matrix_linear()(torch.zeros(2, 4)), ShapeError, r"size 3 in the last dimension but got x.shape=\(2, 4\)"),
    "gate's input": (lambda: es.MatrixGate(vector(O3))(torch.zeros(2, 3)), ShapeError, r"size 4 .* but got x.shape=\(2, 3\)"),
    "gate of a type": (lambda: es.MatrixGate(VEC), ArgumentError, "a MatrixRepresentation but got representation="),
    "matrix from_dense channels": (
        lambda: es.SoftMatrixLinear.from_dense(torch.nn.Linear(3, 4), *[vector(O3)] * 2), RepresentationError, "3 and 4 channels",
    ),
    "matrix from_dense of escnn": (
        lambda: es.SoftMatrixLinear.from_dense(linear(), *[vector(O3)] * 2), ArgumentError, "a Linear but got dense=",
    ),
    "parts that do not split": (
        lambda: es.SoftMatrixLinear(*[vector(lorentz_group()) ** 3] * 2), ShapeError, "at most 3000 matrix entries .*equivariant_maps alone",
    ),
    "length below 0": (lambda: matrix_linear().certificate().within(-1), ArgumentError, "length=-1"),
    "conversion of a product": (
        lambda: escnn_matrix_group(group.cylinder_group(1)), RepresentationError, r"SO\(2\), O\(2\), SO\(3\) or O\(3\) but got group=",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_argument(name) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=f"(?s){message}") as raised:
        call()
    if isinstance(raised.value, EscnnSoftError):
        assert isinstance(raised.value, ValueError)
        assert "Expected" in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 480


def test_a_refused_softness_changes_nothing() -> None:
    layer = conv(softness=0.25)
    torch.nn.init.normal_(layer.soft_weights)
    before = copy.deepcopy(layer).expand_parameters()[0]
    with pytest.raises(SoftnessError):
        layer.softness = 2.0
    assert layer.softness == 0.25
    assert torch.equal(layer.expand_parameters()[0], before)


def test_an_ignored_argument_is_said_to_be() -> None:
    with pytest.warns(UserWarning, match="escnn ignores maximum_offset=1"):
        conv(maximum_offset=1)
