"""Matrix layers in networks: between representations of an escnn group, after an invariant map, and else named."""

from __future__ import annotations

import math

import pytest
import torch
from escnn import nn

from escnn_soft import SoftMatrixLinear, certify
from escnn_soft.groups import escnn_matrix_representation, orthogonal_group, scalar, vector
from tests.cases import point
from tests.certification.checks import check, measured, random_field


class Network(torch.nn.Module):
    """A matrix layer, a norm non-linearity of escnn's, and a matrix layer."""

    def __init__(self, space, rho, out, softness):
        super().__init__()
        fields = [escnn_matrix_representation(psi) for psi in (rho, out)]
        self.in_type, self.out_type = space.type(rho, rho), space.type(*[out] * 3)
        self.first = SoftMatrixLinear(2 * fields[0], 2 * fields[0], softness=softness)
        self.act = nn.NormNonLinearity(self.in_type)
        self.last = SoftMatrixLinear(2 * fields[0], 3 * fields[1], softness=softness)

    def forward(self, x):
        h = self.act(self.in_type(self.first(x.tensor)))
        return self.out_type(self.last(h.tensor))


@pytest.mark.parametrize("softness", [0.0, 0.2])
@pytest.mark.parametrize("name", ["SO(3)", "SO(2)", "D4", "octahedral"])
def test_between_representations_of_escnns(name, softness):
    space = point(name)
    group = space.fibergroup
    rho = next(psi for psi in group.irreps() if psi.size > 1)
    model = Network(space, rho, group.irreps()[0], softness).eval()
    x = random_field(model.in_type, 3)
    for lookahead in (None, 1):
        cert = check(model, x, elements=list(group.testing_elements())[:6], lookahead=lookahead)
        assert {"first", "last"} <= {term.layer for term in cert.terms if term.kind == "soft"}
    if group.continuous:
        every = certify(model, x)
        assert every.covered == ("every element",)
        assert max(float(measured(model, x, g).max()) for g in group.testing_elements()) <= every.bound
    if softness == 0.0:
        assert cert.relative < 1e-2


def test_after_an_invariant_map():
    space = point("SO(3)")
    field = space.type(*[space.irrep(1)] * 4)
    one = scalar(orthogonal_group(5))

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.NormPool(field)
            self.layer = SoftMatrixLinear(4 * one, vector(orthogonal_group(5)), softness=0.3)

        def forward(self, x):
            return self.layer(self.pool(x).tensor)

    cert = certify(Head().eval(), random_field(field, 3))
    assert cert.certified
    assert cert.output == "invariant"


def test_another_group_is_named():
    space = point("SO(3)")
    field = space.type(*[space.irrep(1)] * 5, space.trivial_repr)
    V, one = vector(orthogonal_group(5)), scalar(orthogonal_group(5))
    layer = SoftMatrixLinear(3 * V + one, V)
    cert = certify(layer.eval(), random_field(field, 2).tensor, in_type=field)
    assert cert.bound == math.inf
    assert "use the layer's own certificate()" in cert.not_covered[0][1]
    swapped = SoftMatrixLinear(*[5 * escnn_matrix_representation(space.irrep(1))] * 2)
    other = space.type(*[space.trivial_repr] * 12, space.irrep(1))
    assert "otherwise" in certify(swapped.eval(), random_field(other, 2).tensor, in_type=other).not_covered[0][1]
