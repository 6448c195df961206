"""SoftLinear and SoftR2Conv conform, and so does a layer that a user might write; broken ones do not."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from escnn import group, gspaces, nn
from escnn.gspaces import GSpace

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.dial import as_policy
from escnn_soft.testing.conformance import ConformanceSuite


@cache
def space(name: str) -> GSpace:
    return {
        "C4": lambda: gspaces.rot2dOnR2(4),
        "D2": lambda: gspaces.flipRot2dOnR2(2),
        "C3": lambda: gspaces.rot2dOnR2(3),
        "D3 point": lambda: gspaces.no_base_space(group.dihedral_group(3)),
        "SO(3) point": lambda: gspaces.no_base_space(group.so3_group(2)),
        "SO(2) point": lambda: gspaces.no_base_space(group.so2_group(2)),
    }[name]()


class TestSoftLinear(ConformanceSuite):
    def make(self, softness):
        s = space("D3 point")
        return SoftLinear(s.type(s.irrep(1, 1), s.trivial_repr), s.type(s.regular_repr), softness=softness)

    def dense(self, layer):
        return layer.expand_parameters()[0].detach()

    def hard(self, layer):
        hard = nn.Linear(layer.in_type, layer.out_type)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


class TestSoftLinearOfARank(TestSoftLinear):
    def make(self, softness):
        s = space("D3 point")
        fields = s.type(*[s.irrep(1, 1), s.trivial_repr] * 2)
        return SoftLinear(fields, fields, softness=softness, rank=1)


class TestSoftLinearOfSO3(TestSoftLinear):
    def make(self, softness):
        s = space("SO(3) point")
        return SoftLinear(s.type(s.irrep(0), s.irrep(1)), s.type(s.irrep(1)), bias=True, softness=softness)


class TestSoftR2Conv(ConformanceSuite):
    """By impulses, so independently of how the layer expands its parameters."""

    def make(self, softness):
        s = space("C4")
        return SoftR2Conv(s.type(s.irrep(1), s.trivial_repr), s.type(s.irrep(1)), 3, padding=1, softness=softness)

    def hard(self, layer):
        hard = nn.R2Conv(layer.in_type, layer.out_type, 3, padding=1)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


class TestSoftR2ConvOfARank(TestSoftR2Conv):
    def make(self, softness):
        s = space("C4")
        fields = s.type(*[s.irrep(1)] * 2), s.type(s.irrep(1), *[s.trivial_repr] * 3)
        return SoftR2Conv(*fields, 3, padding=1, softness=softness, rank=2)


class TestStridedGroupedSoftR2Conv(ConformanceSuite):
    def make(self, softness):
        s = space("D2")
        fields = s.type(*[s.irrep(1, 1)] * 2)
        return SoftR2Conv(
            fields, fields, 3, padding=1, stride=2, padding_mode="circular", groups=2, bias=False, softness=softness
        )

    # circular padding moves the stride's phase on odd sides; even ones are off-centre. What is covered is checked
    # by the certificate.
    def test_softness_0_is_equivariant(self):
        layer = self.trained(0.0)
        assert self.error(layer) <= 1e-9 * float(self.dense(layer).norm())


class TestSoftR2ConvOfAGroupThatLeavesTheGrid(TestSoftR2Conv):
    def make(self, softness):
        s = space("C3")
        return SoftR2Conv(s.type(s.irrep(1), s.trivial_repr), s.type(s.irrep(1)), 3, padding=1, softness=softness)


# ---------------------------------------------------------------------- a user's layer


class Blend(nn.EquivariantModule):
    """Frequency 0 -> 0 and 1 -> 1 of SO(2) strictly; all other entries of the matrix times the softness."""

    def __init__(self, softness) -> None:
        super().__init__()
        s = space("SO(2) point")
        self.in_type = self.out_type = s.type(s.trivial_repr, s.irrep(1))
        self.weight = torch.nn.Parameter(torch.randn(3, 3))
        self.softness = softness

    @property
    def softness(self):
        return self._softness

    @softness.setter
    def softness(self, softness):
        self._softness = as_policy(softness).softness

    def matrix(self):
        w = self.weight
        trace, skew = (w[1, 1] + w[2, 2]) / 2, (w[1, 2] - w[2, 1]) / 2
        pair = torch.stack([torch.stack([trace, skew]), torch.stack([-skew, trace])])
        strict = torch.block_diag(w[:1, :1], pair)
        return strict + self.softness * (w - strict)

    def forward(self, x):
        assert x.type == self.in_type
        return nn.GeometricTensor(x.tensor @ self.matrix().T, self.out_type)

    def evaluate_output_shape(self, shape):
        return shape


class TestBlend(ConformanceSuite):
    capabilities = frozenset()

    def make(self, softness):
        return Blend(softness)

    def dense(self, layer):
        return layer.matrix().detach()


class Lopsided(Blend):
    """Its strict part is not equivariant."""

    def matrix(self):
        return super().matrix() + 0.01 * torch.ones(3, 3, dtype=self.weight.dtype).triu()


class Backwards(Blend):
    """More softness, less error."""

    def matrix(self):
        self.__dict__["_softness"] = 1 - self._softness
        try:
            return super().matrix()
        finally:
            self.__dict__["_softness"] = 1 - self._softness


class Exporting(Blend):
    def export(self):
        return torch.nn.Linear(3, 3)


class Forgetful(Blend):
    """Ignores its dense weight's first row."""

    def forward(self, x):
        return nn.GeometricTensor((x.tensor @ self.matrix().T).roll(1, dims=1), self.out_type)


class Partial(Blend):
    """Cannot reach a symmetric block between the pair."""

    def matrix(self):
        matrix = super().matrix()
        return matrix - self.softness * torch.diag(matrix.diagonal() - matrix.diagonal().mean())


class Stale(Blend):
    """Keeps the first matrix that it has seen in evaluation mode."""

    def matrix(self):
        if self.training:
            return super().matrix()
        self.__dict__.setdefault("kept", super().matrix().detach())
        return self.__dict__["kept"]


def suite(kind):
    class Suite(TestBlend):
        def make(self, softness):
            return kind(softness)

    return Suite()


@pytest.mark.parametrize(
    ("kind", "test", "message"),
    [
        (Lopsided, "test_softness_0_is_equivariant", "is not equivariant"),
        (Backwards, "test_error_never_shrinks_with_softness", "the error falls"),
        (Exporting, "test_declares_its_capabilities", "export exists: True"),
        (Forgetful, "test_forward_is_the_dense_weight", "against dense: differs by"),
        (Partial, "test_softness_1_reaches_every_dense_weight", "a level is missing"),
        (Stale, "test_evaluation_agrees_with_training", "after a change"),
    ],
)
def test_the_suite_refuses_broken_layers(kind, test, message) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(suite(kind), test)()


def test_what_is_not_declared_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="does not declare the capability 'export'"):
        suite(Blend).test_export_agrees()


def test_make_must_be_defined() -> None:
    with pytest.raises(NotImplementedError, match="must return a layer"):
        ConformanceSuite().make(0.0)
