"""escnn's published networks, as they are written: everything in them is covered, or named."""

from __future__ import annotations

import math

import pytest
import torch
from escnn.nn import GeometricTensor

from escnn_soft import certify, soften
from tests.certification.checks import violations
from tests.published_networks import PUBLISHED, WideResNet

LEFT_OUT = {
    "Wide ResNet D8 D4 D1": ("outside the subgroup", "interpolated"),
    "steerable CNN": ("interpolated",),
    "SE(3) CNN": ("interpolated",),
}
"""What a certificate does not cover of a network whose layers are all covered: elements, with the reason."""


class OnFields(torch.nn.Module):
    """A network that takes plain tensors, as one that takes fields."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: GeometricTensor):
        return self.model(x.tensor)


HARD = ("Wide ResNet D4", "steerable CNN", "SO(2) MLP", "octahedral CNN")
"""Those that are tested as they are too."""


@pytest.mark.parametrize(("name", "softness"), [*((name, 0.1) for name in PUBLISHED), *((name, None) for name in HARD)])
def test_published_networks_are_covered(name, softness):
    published = PUBLISHED[name]()
    model = published.model if softness is None else soften(published.model, softness).eval()
    x = published.input(2)
    cert = certify(model, x, in_type=published.in_type)
    assert cert.certified, cert.not_covered
    for expected, (_, why) in zip(LEFT_OUT.get(name, ()), cert.not_covered, strict=True):
        assert expected in why
    field = x if isinstance(x, GeometricTensor) else published.in_type(x)
    every = cert.covered == ("every element",)
    assert every or len(cert.covered) > 1
    some = list(field.type.fibergroup.testing_elements())[:12] if every else None
    assert violations(model if published.typed else OnFields(model), field, cert, some) == []


def test_even_images_are_named():
    """CIFAR's 32 x 32 pixels put strides off the centre: escnn's own network is not equivariant there either."""
    model = WideResNet((4, 4, 4), (1, 1, 1, 1)).eval()
    cert = certify(model, torch.randn(1, 3, 16, 16))
    assert cert.bound == math.inf
    assert "off-centre on size 16" in cert.not_covered[0][1]
