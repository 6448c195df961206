"""A suite of tests that a soft layer, ours or your own, inherits from a constructor and a dense evaluator."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor

from escnn_soft.dial import Cutoff
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftLayer
from escnn_soft.testing.assertions import assert_equivariant
from escnn_soft.testing.certificates import assert_certificate_holds
from escnn_soft.testing.layer_strategies import randomize
from escnn_soft.testing.subject import CAPABILITIES, Subject

__all__ = ["ConformanceSuite"]


class ConformanceSuite(Subject):
    """Inherit it as ``class TestMyLayer(ConformanceSuite)`` and define :meth:`make`; pytest finds the tests.

    A layer has ``in_type`` and ``out_type``, maps a GeometricTensor to another, is affine in its input, and has a
    settable ``softness``. What it may leave out it leaves out of ``capabilities``; those tests are then skipped with
    that reason, and a layer that has the method nevertheless fails.
    """

    def needs(self, capability: str) -> None:
        """Skip, and say why, if the layer does not declare a capability."""
        if capability not in self.capabilities:
            pytest.skip(f"{type(self).__name__} does not declare the capability {capability!r}")

    # ------------------------------------------------------------------ the tests

    def test_declares_its_capabilities(self) -> None:
        """A layer that has a method must declare it, so that its tests run; and the other way round."""
        layer = self.make(self.dial[0])
        assert self.capabilities <= set(CAPABILITIES), f"unknown: {self.capabilities - set(CAPABILITIES)}"
        for capability, method in CAPABILITIES.items():
            if method:
                own = getattr(type(layer), method, None)
                nothing = (None, getattr(EquivariantModule, method, None), SoftLayer.export)  # which says why not
                exists = all(own is not other for other in nothing)
                assert exists == (capability in self.capabilities), (
                    f"{type(layer).__name__}.{method} exists: {exists}, but capability {capability!r} is declared: "
                    f"{capability in self.capabilities}"
                )

    def test_forward_is_the_dense_weight(self) -> None:
        """f(x) - f(0) is what the dense evaluator's weight does to x."""
        for softness in self.dial:
            layer = self.trained(softness)
            x = self.inputs(layer)
            linear = layer(x).tensor - layer(GeometricTensor(torch.zeros_like(x.tensor), x.type, x.coords)).tensor
            expected = self.apply_dense(layer, self.dense(layer), x.tensor)
            assert_close(linear, expected, self.tolerance, f"forward at softness {softness}, against dense")

    def test_softness_0_is_equivariant(self) -> None:
        """At the strict end the weights commute, and so does the layer, its bias included."""
        layer = self.trained(self.dial[0])
        assert_equivariant(layer, self.inputs(layer), self.elements(layer), rtol=self.tolerance)
        assert self.error(layer) <= self.tolerance * float(self.dense(layer).norm())

    def test_softness_0_is_the_hard_layer(self) -> None:
        """At the strict end the layer computes what escnn's computes, to float32 rounding."""
        layer = self.trained(self.dial[0], torch.float32)
        hard = self.hard(layer)
        if hard is None:
            pytest.skip(f"{type(self).__name__}.hard returns None: there is no escnn layer to compare with")
        x = self.inputs(layer, torch.float32)
        assert_close(layer(x).tensor, hard(x).tensor, 1e-5, "softness 0, against the hard layer")

    def test_softness_1_reaches_every_dense_weight(self) -> None:
        """The dense weights at the free end span the whole space."""
        span, layer = self.span(self.dial[-1]), self.make(self.dial[-1])
        assert len(span) == self.reachable(layer), (
            f"softness {self.dial[-1]} reaches {len(span)} of {self.reachable(layer)} dimensions: a level is missing, "
            "or its gain is 0"
        )

    def test_levels_are_stable_under_the_group(self) -> None:
        """Moving a weight that the dial reaches gives a weight that it reaches."""
        self.needs("policies")
        for bound in self.cutoffs:
            span, layer = self.span(Cutoff(bound)), self.make(Cutoff(bound))
            shape = self.dense(layer).shape
            for element in self.elements(layer):
                moved = self.move(layer, element, span.view(-1, *shape)).flatten(1)
                outside = float((moved - moved @ span.T @ span).abs().max())
                assert outside < 1e-7, (
                    f"{element} moves a weight that Cutoff({bound:g}) reaches out of its reach, by {outside:.2g}: a "
                    "level is split"
                )

    def test_error_never_shrinks_with_softness(self) -> None:
        """With the parameters fixed, more softness means more error, element by element."""
        layer = self.trained(self.dial[0])
        errors: list[list[float]] = []
        for softness in self.dial:
            layer.softness = softness
            weight = self.dense(layer)
            errors.append([self.weight_error(layer, g, weight) for g in self.elements(layer)])
        for (low, high), (smaller, larger) in zip(pairwise(self.dial), pairwise(errors), strict=True):
            for g, a, b in zip(self.elements(layer), smaller, larger, strict=True):
                assert a <= b * (1 + 1e-9) + 1e-9, (
                    f"at {g} the error falls from {a:.9g} to {b:.9g} from {low} to {high}"
                )

    def test_certificate_holds(self) -> None:
        """The layer's own certificate survives :func:`assert_certificate_holds` along the dial."""
        self.needs("certificate")
        for softness in (self.dial[0], self.dial[len(self.dial) // 2], self.dial[-1]):
            layer = self.trained(softness)
            assert_certificate_holds(layer, certificate=layer.certificate())

    def test_spectrum_adds_up(self) -> None:
        """At softness 0 nothing breaks the symmetry, and breaking energy grows along the dial."""
        self.needs("spectrum")
        layer = self.trained(self.dial[0])
        breaking = []
        for softness in self.dial:
            layer.softness = softness
            breaking.append(layer.spectrum().breaking)
        assert breaking[0] <= self.tolerance
        assert breaking == sorted(breaking)

    def test_export_agrees(self) -> None:
        """The exported plain layer computes the same function."""
        self.needs("export")
        layer = self.trained(self.dial[1])
        x = self.inputs(layer)
        assert_close(layer.export()(x.tensor), layer(x).tensor, self.tolerance, "export")

    def test_evaluation_agrees_with_training(self) -> None:
        """Both modes compute the same, also after a parameter or the softness has changed in evaluation mode."""
        layer = self.trained(self.dial[1])
        x = self.inputs(layer)
        assert_close(layer.eval()(x).tensor, layer.train()(x).tensor, self.tolerance, "evaluation mode")
        layer.eval()
        randomize(layer, 1)
        layer.softness = self.dial[-1]
        assert_close(layer(x).tensor, layer.train()(x).tensor, self.tolerance, "evaluation mode after a change")

    @pytest.mark.parametrize("target", [True, False], ids=["to train", "to eval"])
    @pytest.mark.parametrize("source", [True, False], ids=["from train", "from eval"])
    def test_state_round_trip(self, source: bool, target: bool) -> None:
        """A strict load_state_dict works between the modes."""
        first, second = self.trained(self.dial[1]).train(source), self.trained(self.dial[1]).train(target)
        randomize(second, 1)
        second.load_state_dict(first.state_dict(), strict=True)
        x = self.inputs(first)
        assert_close(second(x).tensor, first(x).tensor, self.tolerance, "a loaded state")

    def test_copies_are_independent(self) -> None:
        """A deep copy computes the same; changing it leaves the original alone."""
        layer = self.trained(self.dial[1])
        x = self.inputs(layer)
        before = layer(x).tensor.detach().clone()
        twin = copy.deepcopy(layer)
        assert_close(twin(x).tensor, before, self.tolerance, "a deep copy")
        randomize(twin, 1)
        twin.softness = self.dial[-1]
        assert_close(layer(x).tensor, before, 0.0, "the original of a changed copy")

    def test_dtypes_follow_the_module(self) -> None:
        """float32, float64 and back compute the same function; bfloat16 runs; another layer is left alone."""
        layer, other = self.trained(self.dial[1], torch.float32), self.make(self.dial[1])
        expected = layer(self.inputs(layer, torch.float32)).tensor
        assert_close(layer.double()(self.inputs(layer)).tensor, expected, 1e-5, "float64")
        other(self.inputs(other, torch.float32))
        assert_close(layer.float()(self.inputs(layer, torch.float32)).tensor, expected, 1e-5, "float32 again")
        assert layer.bfloat16()(self.inputs(layer, torch.bfloat16)).tensor.dtype == torch.bfloat16

    def test_gradients_are_right(self) -> None:
        """gradcheck of the output, along random directions, with respect to the input and every parameter."""
        layer = self.trained(self.dial[-1]).train()
        names = [name for name, p in layer.named_parameters() if p.requires_grad]
        start = [dict(layer.named_parameters())[name].detach() for name in names]
        x = self.inputs(layer)
        generator = torch.Generator().manual_seed(0)
        tests = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in (x.tensor, *start)]
        probe = torch.randn(layer(x).tensor.shape, generator=generator, dtype=torch.float64)

        def along(*steps: Tensor) -> Tensor:
            moved = [p + t * d for p, t, d in zip((x.tensor, *start), steps, tests, strict=True)]
            field = GeometricTensor(moved[0], layer.in_type, x.coords)
            parameters = dict(zip(names, moved[1:], strict=True))
            return (torch.func.functional_call(layer, parameters, (field,)).tensor * probe).sum()

        steps = tuple(torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in tests)
        assert torch.autograd.gradcheck(along, steps)

    def test_every_parameter_gets_a_gradient(self) -> None:
        """At the free end no parameter is idle."""
        layer = self.trained(self.dial[-1]).train()
        layer(self.inputs(layer)).tensor.square().sum().backward()
        idle = [name for name, p in layer.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
        assert not idle, f"no gradient reaches {idle}"

    @pytest.mark.parametrize("softness", [-0.1, 1.1, float("nan"), "soft", None, True])
    def test_refuses_what_is_no_softness(self, softness: object) -> None:
        """Numbers outside [0, 1] and other things raise ArgumentError, in the constructor and on assignment."""
        with pytest.raises(ArgumentError, match="softness"):
            self.make(softness)  # type: ignore[arg-type]
        layer = self.make(self.dial[0])
        with pytest.raises(ArgumentError, match="softness"):
            layer.softness = softness

    def test_refuses_inputs_of_another_type(self) -> None:
        """A plain tensor, and a field of another type, raise an error of ours or of escnn."""
        layer = self.make(self.dial[0])
        x = self.inputs(layer, torch.float32)
        wider = layer.in_type + layer.in_type
        for wrong in (x.tensor, GeometricTensor(torch.cat([x.tensor, x.tensor], dim=1), wider, x.coords)):
            with pytest.raises((ArgumentError, AssertionError, AttributeError, TypeError)):
                layer(wrong)


def assert_close(value: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Refuse a difference, relative to the largest entry, above a tolerance."""
    assert value.shape == expected.shape, f"{what}: shape {tuple(value.shape)}, expected {tuple(expected.shape)}"
    value, expected = value.detach().double(), expected.detach().double()
    difference, scale = float((value - expected).abs().max()), float(expected.abs().max())
    assert difference <= tolerance * scale, f"{what}: differs by {difference:.3g} on values up to {scale:.3g}"
