"""Hypothesis strategies for softnesses, soft layers with random weights, and small networks of them."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from escnn.gspaces import GSpace
from escnn.nn import (
    ELU,
    EquivariantModule,
    FieldType,
    InnerBatchNorm,
    PointwiseAvgPool2D,
    PointwiseMaxPool2D,
    ReLU,
    SequentialModule,
)
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch.nn import Module

from escnn_soft.dial import Budget, Cutoff, Exponential, Learned, Policy
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftLayer, SoftLinear, SoftR2Conv
from escnn_soft.testing.group_strategies import gspaces
from escnn_soft.testing.type_strategies import field_types, representations

__all__ = ["SOFTNESS_KINDS", "networks", "randomize", "soft_linears", "soft_r2convs", "softnesses"]

_SEEDS = st.integers(0, 2**16)
_QUICK = ("cyclic", "dihedral", "Klein", "SO(2)", "O(2)", "octahedral", "SO(3)")
_QUICK_ROTATIONS = 4
"""Larger D_N make escnn search Clebsch-Gordan coefficients for seconds, once per machine."""

_SOFTNESSES: dict[str, SearchStrategy[float | Policy]] = {
    "float": st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    "exponential": st.floats(0, 1).map(Exponential),
    "cutoff": (st.floats(0, 9) | st.just(math.inf)).map(Cutoff),
    "budget": st.floats(0, 2).map(Budget),
    "learned": st.floats(0.01, 0.99).map(Learned),
}
SOFTNESS_KINDS = tuple(_SOFTNESSES)
"""What ``softnesses(kinds)`` understands, in the order in which examples shrink."""


def softnesses(kinds: Collection[str] = SOFTNESS_KINDS) -> SearchStrategy[float | Policy]:
    """Everything that ``softness=`` takes: floats in [0, 1] and policies; shrinks towards 0.0.

    Args:
        kinds: a subset of ``SOFTNESS_KINDS``.

    Returns:
        A strategy.

    Raises:
        ArgumentError: if a kind is unknown.

    Example:
        >>> from hypothesis import given
        >>> @given(softnesses(["float"]))
        ... def test_range(softness):
        ...     assert 0.0 <= softness <= 1.0
        >>> test_range()
    """
    if not kinds or set(kinds) - set(SOFTNESS_KINDS):
        raise ArgumentError("kinds", kinds, f"some of {SOFTNESS_KINDS}", "Leave it out to draw from all of them.")
    return st.one_of([_SOFTNESSES[kind] for kind in SOFTNESS_KINDS if kind in kinds])


def randomize(module: Module, seed: int = 0) -> None:
    """Give every parameter normal values and every batch normalisation random statistics, soft parts included.

    Fresh soft layers are equivariant at any softness, because their soft part starts at zero: a test of one that was
    not disturbed tests little.

    Args:
        module: changed in place.
        seed: of torch's generator; the global one is not touched.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(normal(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(normal(buffer))
            elif name.endswith("running_var"):
                buffer.copy_(normal(buffer).exp())


@st.composite
def soft_linears(
    draw: DrawFn,
    gspace: GSpace | None = None,
    *,
    softness: SearchStrategy[float | Policy] | None = None,
    max_size: int = 8,
    dtype: torch.dtype = torch.float64,
    training: bool = False,
) -> SoftLinear:
    """Soft linear layers with random weights, the soft part included; shrinks towards one trivial field of C_1.

    Args:
        draw: passed by Hypothesis.
        gspace: without a base space; drawn, from groups for which escnn is quick, if None.
        softness: by default :func:`softnesses`.
        max_size: largest number of channels on either side.
        dtype: of the layer.
        training: whether the layer is in training mode.

    Returns:
        The layer.
    """
    space = draw(gspaces(0, kinds=_QUICK, max_rotations=_QUICK_ROTATIONS)) if gspace is None else gspace
    in_type, out_type = _types(draw, space, max_size)
    bias = draw(st.booleans())
    layer = SoftLinear(in_type, out_type, bias, initialize=False, softness=draw(softness or softnesses()))
    _finish(layer, draw(_SEEDS), dtype, training)
    return layer


@st.composite
def soft_r2convs(
    draw: DrawFn,
    gspace: GSpace | None = None,
    *,
    softness: SearchStrategy[float | Policy] | None = None,
    max_size: int = 6,
    max_kernel_size: int = 5,
    dtype: torch.dtype = torch.float64,
    training: bool = False,
) -> SoftR2Conv:
    """Soft convolutions of every geometry with random weights; shrinks towards 1 x 1 between trivial fields.

    Kernel size (but 2, where escnn has no basis), padding, stride, dilation, padding mode, groups and bias are drawn.
    Images with sides of at least ``2 * max_kernel_size - 1`` pixels are large enough for all of them.

    Args:
        draw: passed by Hypothesis.
        gspace: on the plane; drawn if None.
        softness: by default :func:`softnesses`.
        max_size: largest number of channels on either side.
        max_kernel_size: largest kernel.
        dtype: of the layer.
        training: whether the layer is in training mode.

    Returns:
        The layer.
    """
    space = draw(gspaces(2, max_rotations=_QUICK_ROTATIONS)) if gspace is None else gspace
    groups = draw(st.integers(1, 2))
    in_type, out_type = _types(draw, space, max_size // groups)
    padding = draw(st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)))
    layer = SoftR2Conv(
        space.type(*in_type.representations * groups),
        space.type(*out_type.representations * groups),
        kernel_size=draw(st.sampled_from([k for k in range(1, max_kernel_size + 1) if k != 2])),
        padding=padding,
        stride=draw(st.integers(1, 2) | st.tuples(st.integers(1, 2), st.integers(1, 2))),
        dilation=draw(st.integers(1, 2)),
        padding_mode=draw(st.sampled_from(["zeros", "circular", "replicate", "reflect"])),
        groups=groups,
        bias=draw(st.booleans()),
        initialize=False,
        softness=draw(softness or softnesses()),
    )
    _finish(layer, draw(_SEEDS), dtype, training)
    return layer


@st.composite
def networks(
    draw: DrawFn,
    gspace: GSpace | None = None,
    *,
    softness: SearchStrategy[float | Policy] | None = None,
    dtype: torch.dtype = torch.float64,
) -> SequentialModule:
    """Two or three soft layers with batch normalisation, non-linearity and pooling between them; evaluation mode.

    On the plane the networks are meant for images with odd sides: on even ones pooling with stride 2 is off-centre.
    At softness 0 they are then exactly equivariant under the elements that move pixels onto pixels.

    Args:
        draw: passed by Hypothesis.
        gspace: of a finite group; drawn from those that act on the pixel grid if None.
        softness: of every layer; by default :func:`softnesses`.
        dtype: of the network.

    Returns:
        The network.

    Raises:
        ArgumentError: if the group is not finite: pointwise non-linearities need regular fields.
    """
    space = draw(gspaces(2, grid=True, max_rotations=_QUICK_ROTATIONS)) if gspace is None else gspace
    group = space.fibergroup
    if group.elements is None:
        raise ArgumentError("gspace", space, "a gspace of a finite group", "Pass e.g. gspaces.rot2dOnR2(4).")
    amount = softness or softnesses()
    image = space.type(*[space.trivial_repr] * draw(st.integers(1, 2)))
    hidden = space.type(*[draw(representations(group, max_size=8, kinds=("regular",)))] * draw(st.integers(1, 2)))
    last = space.type(draw(representations(group, max_size=8)))
    modules: list[EquivariantModule] = []
    pooled = space.dimensionality == 0
    types = [image, *[hidden] * draw(st.integers(1, 2)), last]
    for i in range(len(types) - 1):
        modules.append(_soft(draw, types[i], types[i + 1], amount))
        if i + 2 < len(types):
            modules += _between(draw, hidden, pooled)
            pooled = pooled or isinstance(modules[-1], PointwiseMaxPool2D | PointwiseAvgPool2D)
    network = SequentialModule(*modules)
    randomize(network, draw(_SEEDS))
    return network.to(dtype).eval()


def _soft(
    draw: DrawFn, in_type: FieldType, out_type: FieldType, softness: SearchStrategy[float | Policy]
) -> EquivariantModule:
    if in_type.gspace.dimensionality == 0:
        return SoftLinear(in_type, out_type, initialize=False, softness=draw(softness))
    size = draw(st.sampled_from([3, 1, 5]))
    return SoftR2Conv(in_type, out_type, size, padding=size // 2, initialize=False, softness=draw(softness))


def _between(draw: DrawFn, field_type: FieldType, pooled: bool) -> list[EquivariantModule]:
    planar = field_type.gspace.dimensionality == 2  # escnn's InnerBatchNorm wants images
    modules: list[EquivariantModule] = [InnerBatchNorm(field_type)] if planar and draw(st.booleans()) else []
    modules.append(draw(st.sampled_from([ReLU, ELU]))(field_type))
    pooling = None if pooled else draw(st.sampled_from([None, PointwiseMaxPool2D, PointwiseAvgPool2D]))
    return modules if pooling is None else [*modules, pooling(field_type, kernel_size=3, stride=2, padding=1)]


def _types(draw: DrawFn, space: GSpace, max_size: int) -> tuple[FieldType, FieldType]:
    """Two types with an equivariant map between them: where they share no irrep, both get a trivial field."""
    first, second = (draw(field_types(space, max_size=max_size, max_frequency=1)) for _ in range(2))
    if set(first.irreps).isdisjoint(second.irreps):
        first, second = (space.type(*t.representations, space.trivial_repr) for t in (first, second))
    return first, second


def _finish(layer: SoftLayer, seed: int, dtype: torch.dtype, training: bool) -> None:
    layer.to(dtype)
    randomize(layer, seed)
    layer.train(training)
