"""Convolutions over points: edge by edge as by definition, escnn's layer at softness 0, bounds for every edge."""

from __future__ import annotations

import copy
import math
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from escnn import nn
from escnn.nn import GeometricTensor

from escnn_soft import Budget, Learned, SoftR2PointConv, SoftR3PointConv, soften
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import act_on_fibres, mirror_axis
from escnn_soft.groups import fibre_group, spherical_harmonics
from escnn_soft.testing import randomize
from escnn_soft.testing.conformance import ConformanceSuite, assert_close
from escnn_soft.testing.samples import random_elements, random_features
from tests.cases import planar, spatial
from tests.disturbance import disturb
from tests.processes import python

NODES, EDGES = 7, 20
GENERATOR = torch.Generator().manual_seed(0)
COORDS = {d: torch.randn(NODES, d, generator=GENERATOR, dtype=torch.float64) for d in (2, 3)}
EDGE_INDEX = torch.cat([torch.randint(NODES, (2, EDGES), generator=GENERATOR), torch.tensor([[3], [3]])], dim=1)


class PlanarGraph(SoftR2PointConv):
    """On one graph, so that it maps one field to another."""

    def forward(self, x):
        return super().forward(x, EDGE_INDEX)


class SpatialGraph(SoftR3PointConv):
    def forward(self, x):
        return super().forward(x, EDGE_INDEX)


@cache
def axis_of(space) -> float:
    return mirror_axis(space, fibre_group(space))


def slow_functions(layer, points) -> torch.Tensor:
    """phi, ring by ring and harmonic by harmonic.  # shape: (points, S)"""
    radius, columns = np.linalg.norm(points, axis=1), []
    away = np.maximum(radius, 1e-300)
    axis = axis_of(layer.space) if points.shape[1] == 2 else 0.0
    for h in layer._harmonics:
        ring = np.exp(-((radius - h.radius) ** 2) / (2 * h.width**2))
        if h.frequency == 0:
            columns.append(ring)
            continue
        ring = np.where(radius > 0, ring, 0.0)
        if points.shape[1] == 2:
            angle = h.frequency * (np.arctan2(points[:, 1], points[:, 0]) - axis)
            columns += [ring * math.sqrt(2) * np.cos(angle), ring * math.sqrt(2) * np.sin(angle)]
        else:
            columns += list(ring * spherical_harmonics(h.frequency, points / away[:, None]).T)
    return torch.from_numpy(np.stack(columns, axis=1))


def slow_kernel(layer, coefficients, point):
    """K(x) as a sum."""
    values = slow_functions(layer, np.asarray(point)[None])[0]
    return sum(value * coefficients[:, :, s].double() for s, value in enumerate(values))


def slow_convolution(layer, coefficients, x, coords, edge_index):
    """The mean over edges of K(x_j - x_i) f_j, edge after edge."""
    out, count = torch.zeros(len(x), layer.out_type.size, dtype=torch.float64), torch.zeros(len(x))
    for source, target in edge_index.T.tolist():
        out[target] += slow_kernel(layer, coefficients, coords[source] - coords[target]) @ x[source].double()
        count[target] += 1
    return out / count.clamp(min=1)[:, None].double()


@cache
def moved_functions(space, harmonics, element) -> torch.Tensor:
    """phi(g^-1 x) = pi(g) phi(x), fitted at random points."""
    layer = SimpleNamespace(space=space, _harmonics=harmonics)
    points = np.random.default_rng(0).normal(size=(300, space.dimensionality))
    points[:100] *= 0.004  # within the ring about the origin
    back = np.asarray(space.basespace_action(~element), dtype=np.float64)
    here, there = slow_functions(layer, points), slow_functions(layer, points @ back.T)
    return torch.linalg.pinv(here) @ there


def moved_coefficients(layer, element, weights):
    """The coefficients of rho_out(g) K(g^-1 x) rho_in(g)^-1."""
    pi = moved_functions(layer.space, layer._harmonics, element)
    out = torch.from_numpy(np.asarray(layer.out_type.representation(element), dtype=np.float64))
    into = torch.from_numpy(np.asarray(layer.in_type.representation(~element), dtype=np.float64))
    return torch.einsum("ab,nbcs,cd,ts->nadt", out, weights.double(), into, pi)


def turned(layer, element, x):
    """g x: features mixed, points moved."""
    matrix = torch.from_numpy(np.asarray(layer.space.basespace_action(element), dtype=np.float64))
    return GeometricTensor(act_on_fibres(element, x.tensor, x.type), x.type, x.coords @ matrix.to(x.coords).T)


def run(layer, x, edge_index=EDGE_INDEX):
    """The layer on any graph, past the fixed one."""
    return type(layer).__mro__[1].forward(layer, x, edge_index)


class Graphs(ConformanceSuite):
    """The suite for a layer on a fixed graph; its dense weights are the coefficients (out, in, S)."""

    capabilities = frozenset({"certificate", "policies", "spectrum"})

    def inputs(self, layer, dtype=torch.float64):
        features = random_features(layer.in_type, batch=NODES, dtype=dtype)
        return GeometricTensor(features, layer.in_type, COORDS[layer.d])

    def elements(self, layer):
        return random_elements(layer.space.fibergroup, 3)

    def dense(self, layer):
        return layer.expand_parameters()[0].detach().double()

    def apply_dense(self, layer, weight, x):
        return slow_convolution(layer, weight, x, COORDS[layer.d].numpy(), EDGE_INDEX)

    def hard(self, layer):
        hard = layer.hard_class(layer.in_type, layer.out_type, **self.rings)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return lambda x: hard(GeometricTensor(x.tensor, x.type, x.coords.float()), EDGE_INDEX)

    def move(self, layer, element, weights):
        return moved_coefficients(layer, element, weights)

    def weight_error(self, layer, element, weight):
        return float((moved_coefficients(layer, element, weight[None])[0] - weight).norm())

    def test_softness_0_is_equivariant(self):
        layer = self.trained(0.0)
        x = self.inputs(layer)
        for g in self.elements(layer):
            expected = act_on_fibres(g, run(layer, x).tensor, layer.out_type)
            assert_close(run(layer, turned(layer, g, x)).tensor, expected, self.tolerance, f"at {g}")
        assert self.error(layer) <= self.tolerance * float(self.dense(layer).norm())

    def test_certificate_holds(self):
        for softness in (0.0, 0.5, 1.0):
            layer = self.trained(softness)
            coefficients, certificate = self.dense(layer), layer.certificate()
            slack = 1e-9 * float(coefficients.norm())
            assert certificate.norm == pytest.approx(float(coefficients.norm()))
            errors = {g: self.weight_error(layer, g, coefficients) for g in self.elements(layer)}
            for g, error in errors.items():
                assert certificate.at(g) == pytest.approx(error, abs=slack)
                assert certificate.at(g) <= certificate.sup + slack
                for radius in (0.3, math.inf):
                    self.check_edges(layer, g, coefficients, layer.certificate(radius), radius, slack)
                self.check_graph(layer, g, certificate)
            assert certificate.rms <= certificate.sup + slack
            assert "largest feature vector" in certificate.refusal(next(iter(errors)), (NODES, layer.in_type.size))

    def check_edges(self, layer, g, coefficients, certificate, radius, slack):
        """||rho_out(g) K(g^-1 x) rho_in(g)^-1 - K(x)|| by definition, edge after edge."""
        difference = moved_coefficients(layer, g, coefficients[None])[0] - coefficients
        for point in torch.randn(40, layer.d, generator=torch.Generator().manual_seed(2), dtype=torch.float64):
            x = (point / point.norm() * min(radius, float(point.norm()))).numpy()
            error = torch.linalg.matrix_norm(slow_kernel(layer, difference, x), 2)
            assert error <= certificate.operator_at(g) + slack
            assert torch.linalg.matrix_norm(slow_kernel(layer, coefficients, x), 2) <= certificate.lipschitz + slack
        assert certificate.operator_at(g) <= certificate.operator * (1 + 1e-9) + slack

    def check_graph(self, layer, g, certificate):
        """The largest vector of f(g x) - g f(x), the bias apart, on the graph."""
        x = self.inputs(layer)
        outs = run(layer, turned(layer, g, x)).tensor, act_on_fibres(g, run(layer, x).tensor, layer.out_type)
        bias = 0.0 if certificate.bias is None else certificate.bias.at(g)
        error, norm = (outs[0] - outs[1]).norm(dim=1).max(), x.tensor.norm(dim=1).max()
        assert error <= certificate.operator_at(g) * norm + bias + 1e-9 * float(outs[0].detach().norm())


class TestSoftR2PointConv(Graphs):
    space = planar("D3")
    rings: ClassVar[dict[str, Any]] = {"width": 1.5, "n_rings": 3, "frequencies_cutoff": 1.5}
    cls = PlanarGraph

    @property
    def types(self):
        s = self.space
        return s.type(s.irrep(1, 1), s.trivial_repr), s.type(s.irrep(1, 0), s.irrep(1, 1), s.trivial_repr)

    def make(self, softness):
        return self.cls(*self.types, **self.rings, softness=softness)


class TestOfRegularFields(TestSoftR2PointConv):
    space = planar("C4")
    rings: ClassVar[dict[str, Any]] = {"rings": [0.0, 0.8], "sigma": [0.1, 0.5], "frequencies_cutoff": 2.0}

    @property
    def types(self):
        return self.space.type(self.space.regular_repr), self.space.type(self.space.irrep(1))


class TestOfAllRotations(TestSoftR2PointConv):
    space = planar("O(2)")
    rings: ClassVar[dict[str, Any]] = {"rings": [0.0, 0.8], "sigma": 0.3, "frequencies_cutoff": 2.0}


class TestOfATiltedMirror(TestSoftR2PointConv):
    space = planar("flip tilted")

    @property
    def types(self):
        return self.space.type(self.space.regular_repr), self.space.type(self.space.irrep(1), self.space.irrep(0))


class TestSoftR3PointConv(TestSoftR2PointConv):
    space = spatial("octahedral")
    rings: ClassVar[dict[str, Any]] = {"width": 1.0, "n_rings": 2, "frequencies_cutoff": 2.0}
    cls = SpatialGraph

    @property
    def types(self):
        s = self.space
        return s.type(s.trivial_repr), s.type(s.irrep(1), s.trivial_repr)


class TestOfAllRotationsOfSpace(TestSoftR3PointConv):
    space = spatial("SO(3)")
    cutoffs = (0.0, 1.5, 3.0)


# ---------------------------------------------------------------------- beyond the suite

SPACE = planar("D3")
FIELD = SPACE.type(SPACE.regular_repr, SPACE.trivial_repr)
X = GeometricTensor(random_features(FIELD, batch=NODES, dtype=torch.float32), FIELD, COORDS[2].float())
RINGS = {"width": 2.0, "n_rings": 3}


def soft(**arguments) -> SoftR2PointConv:
    layer = SoftR2PointConv(FIELD, FIELD, **{**RINGS, "softness": 0.5, **arguments})
    randomize(layer)
    return layer


def hard(**arguments) -> nn.R2PointConv:
    layer = nn.R2PointConv(FIELD, FIELD, **{**RINGS, **arguments})
    randomize(layer)
    return layer


def test_the_mean_over_the_group_is_the_strict_layer() -> None:
    layer = soft(softness=1.0).double()
    x = GeometricTensor(X.tensor.double(), FIELD, COORDS[2])
    elements = SPACE.fibergroup.elements
    outputs = [act_on_fibres(~g, layer(turned(layer, g, x), EDGE_INDEX).tensor, FIELD) for g in elements]
    layer.softness = 0.0
    assert_close(layer(x, EDGE_INDEX).tensor, torch.stack(outputs).mean(0), 1e-9, "the mean over the group")


def test_every_graph_and_given_edges() -> None:
    layer = soft()
    expected = layer(X, EDGE_INDEX).tensor
    delta = X.coords[EDGE_INDEX[0]] - X.coords[EDGE_INDEX[1]]
    assert torch.equal(layer(X, EDGE_INDEX, delta).tensor, expected)
    assert not torch.equal(layer(X, EDGE_INDEX, 2 * delta).tensor, expected)
    assert layer(X, EDGE_INDEX).coords is X.coords
    assert layer.evaluate_output_shape((NODES, FIELD.size)) == (NODES, FIELD.size)
    assert layer(X, EDGE_INDEX[:, :0]).tensor.shape == (NODES, FIELD.size)
    wide = FIELD + FIELD
    for in_type, out_type in ((wide, FIELD), (FIELD, wide)):  # the smaller side is spread
        other = SoftR2PointConv(in_type, out_type, **RINGS, softness=1.0).double()
        randomize(other)
        features = random_features(in_type, batch=NODES, dtype=torch.float64)
        slow = slow_convolution(other, other.expand_parameters()[0].detach(), features, COORDS[2].numpy(), EDGE_INDEX)
        out = other(GeometricTensor(features, in_type, COORDS[2]), EDGE_INDEX).tensor - other.expand_parameters()[1]
        assert_close(out, slow, 1e-9, "forward")


def test_gradients_reach_the_points() -> None:
    layer = soft().double()
    coords = COORDS[2].clone().requires_grad_()
    edges = EDGE_INDEX[:, :6]
    assert torch.autograd.gradcheck(
        lambda c: layer(GeometricTensor(X.tensor.double(), FIELD, c), edges).tensor.square().sum(), coords
    )


def test_the_kernel_at_points_is_escnns_at_softness_0() -> None:
    layer, escnns = soft(softness=0.0), hard()
    layer.load_state_dict(escnns.state_dict())
    points = torch.randn(9, 2)
    assert_close(layer.expand_filter(points), escnns.expand_filter(points), 1e-5, "the kernel")
    kernel, bias = layer.expand_parameters(points)
    assert torch.equal(kernel, layer.expand_filter(points))
    assert torch.equal(bias, layer.expand_parameters()[1])


def test_initialisation_is_escnns_number_for_number() -> None:
    torch.manual_seed(7)
    escnns = nn.R2PointConv(FIELD, FIELD, **RINGS)
    torch.manual_seed(7)
    assert torch.equal(SoftR2PointConv(FIELD, FIELD, **RINGS).weights, escnns.weights)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_hard_keeps_parameters_and_function(dtype, train) -> None:
    escnns = copy.deepcopy(hard()).to(dtype).train(train)  # escnn casts what all layers share
    layer = SoftR2PointConv.from_hard(escnns, 0.5)
    x = GeometricTensor(X.tensor.to(dtype), FIELD, X.coords.to(dtype))
    assert layer.weights is escnns.weights
    assert layer.training == train
    assert_close(layer(x, EDGE_INDEX).tensor, escnns(x, EDGE_INDEX).tensor, 1e-6, "from_hard")


@pytest.mark.parametrize("train", [True, False])
def test_state_of_escnn_in_either_mode(train) -> None:
    escnns, layer = hard().train(train), soft(softness=1.0)
    layer.load_state_dict(escnns.state_dict())
    assert not layer.soft_weights.any()
    assert_close(layer(X, EDGE_INDEX).tensor, escnns(X, EDGE_INDEX).tensor, 1e-5, "escnn's state")


def test_a_checkpoint_with_another_basis_is_taken_over_without_touching_other_layers() -> None:
    escnns, layer, other = copy.deepcopy(hard()), soft(softness=0.0), soft()
    before = other(X, EDGE_INDEX).tensor
    for name, buffer in escnns.basissampler.named_buffers():
        if "coeff" in name:
            buffer.neg_()  # as escnn's random coefficients would have it on another machine
    layer.load_state_dict(escnns.state_dict())
    assert_close(layer(X, EDGE_INDEX).tensor, escnns(X, EDGE_INDEX).tensor, 1e-5, "another basis")
    assert torch.equal(other(X, EDGE_INDEX).tensor, before)


@pytest.mark.parametrize("train", [True, False])
def test_compiles_to_one_graph(train) -> None:
    layer = soft().train(train)
    compiled = torch.compile(lambda x, c, e: layer(FIELD(x, c), e).tensor, fullgraph=True, backend="aot_eager")
    assert_close(compiled(X.tensor, X.coords, EDGE_INDEX), layer(X, EDGE_INDEX).tensor, 1e-5, "compiled")


def test_policies_that_depend_on_the_weights() -> None:
    layer = soft(softness=Budget(0.1)).double()
    assert layer.certificate().relative.sup <= 0.1 + 1e-9
    assert layer.certificate().relative.sup > 0.05
    layer.softness = Learned(0.5)
    layer(GeometricTensor(X.tensor.double(), FIELD, COORDS[2]), EDGE_INDEX).tensor.square().sum().backward()
    assert layer.level_logits.grad.any()


def test_a_shorter_radius_gives_a_smaller_bound() -> None:
    layer = soft(rings=[1.0, 2.0], sigma=0.2, width=None, n_rings=None)
    bounds = [layer.certificate(radius).operator for radius in (0.1, 0.9, 1.5, 10.0, math.inf)]
    assert bounds == sorted(bounds)
    assert bounds[0] < 1e-3 * bounds[-1]
    assert layer.certificate().level == "points"
    assert layer.certificate(1.5).to_dict()["level"] == "points"


def test_without_torch_geometric_the_package_imports_and_the_layer_says_what_to_do() -> None:
    printed = python(
        """
        import sys
        sys.modules["torch_geometric"] = None
        import escnn_soft as es
        from escnn import gspaces
        s = gspaces.rot2dOnR2(4)
        for cls in (es.SoftR2PointConv, es.SoftR3PointConv):
            for build in (lambda: cls(None, None, width=1.0, n_rings=2), lambda: cls.from_hard(None)):
                try:
                    build()
                except es.errors.MissingPackageError as error:
                    print(error)
        print(es.escnn.SoftKernelBasis(s, s.irrep(1), s.irrep(1), 0.5, [1.0], 2).dim)
        """
    )
    lines = printed.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("Install it: pip install torch_geometric") for line in lines[:4])


# ---------------------------------------------------------------------- subgroups

SUBGROUPS = {
    "D4 > C4": (lambda: planar("D4"), (None, 4), SoftR2PointConv),
    "D4 tilted > mirror": (lambda: planar("D4 tilted"), (0, 1), SoftR2PointConv),
    "D4 tilted > C2": (lambda: planar("D4 tilted"), (None, 2), SoftR2PointConv),
    "SO(3) > octahedral": (lambda: spatial("SO(3)"), "octa", SoftR3PointConv),
}


@pytest.mark.parametrize("name", SUBGROUPS)
def test_relaxed_to_a_subgroup_it_stays_exact_there_and_restricts_to_it(name) -> None:
    make_space, subgroup, kind = SUBGROUPS[name]
    space = make_space()
    group = space.fibergroup
    field = space.type(space.trivial_repr, *group.irreps()[1:3])
    layer = kind(field, field, rings=[0.0, 1.0], sigma=[0.6, 0.7], softness=1.0, chain=[subgroup]).double()
    disturb(layer, 1.0)
    sub, lift, _ = group.subgroup(subgroup)
    cert = layer.certificate()
    kept = [lift(h) for h in sub.elements]
    for g in kept:
        assert cert.at(g) < 1e-7 * cert.norm  # its square is a difference of numbers of order 1
    others = [g for g in group.testing_elements() if g not in kept]
    assert others
    assert max(cert.at(g) for g in others) > 0.1 * cert.norm
    x = torch.randn(NODES, field.size, dtype=torch.float64)
    coords = COORDS[space.dimensionality]
    expected = layer(field(x, coords), EDGE_INDEX).tensor
    small = layer.restrict(subgroup)
    assert small.in_type == field.restrict(subgroup)
    assert_close(small(small.in_type(x, coords), EDGE_INDEX).tensor, expected, 1e-10, str(subgroup))


def test_soften_passes_a_chain_on_to_point_convolutions() -> None:
    space = planar("D4")
    field = space.type(space.regular_repr)
    soft = soften(nn.R2PointConv(field, field, width=1.0, n_rings=2), 0.5, chain=[(None, 4)])
    assert soft.chain == ((None, 4),)
    with pytest.raises(ArgumentError, match="chain"):
        SoftR2PointConv(field, field, width=1.0, n_rings=2, chain=[(None, 3)])
