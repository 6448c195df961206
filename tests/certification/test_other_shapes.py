"""Models that depend on the shape of their input, or do something else on others: on x the difference may vanish."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from escnn import nn
from torch import Tensor

from escnn_soft import SoftR2Conv, certify
from escnn_soft.certification.other_inputs import around, other_values
from escnn_soft.certification.tensor_action import Action
from escnn_soft.functions import pixel_elements
from tests.cases import planar, spatial
from tests.certification.checks import check, random_field, shake, violations

C4, VOLUMES = planar("C4"), spatial("octahedral")
VOXELS = VOLUMES.type(VOLUMES.trivial_repr)
IMAGE, FIELD = C4.type(C4.trivial_repr), C4.type(*[C4.regular_repr] * 2)


class Body(torch.nn.Module):
    """An exact convolution, and a function of what comes out and of the module."""

    in_type = IMAGE

    def __init__(self, after) -> None:
        super().__init__()
        self.conv, self.pool = SoftR2Conv(IMAGE, FIELD, 3, padding=1, softness=0.0), nn.GroupPooling(FIELD)
        self.first, self.second = torch.nn.ReLU(), torch.nn.Tanh()
        self.window = torch.nn.AdaptiveAvgPool2d((None, 4))
        self.linear = torch.nn.Linear(2, 3)
        torch.nn.init.ones_(self.linear.weight)
        self.slope = torch.nn.LeakyReLU(0.1)
        self.table = torch.nn.Parameter(torch.rand(1, 2, 40, 40))
        self.after = after

    def forward(self, x):
        return self.after(self.pool(self.conv(x)).tensor, self)


def sloped(t: Tensor, m: Body) -> Tensor:
    m.slope.negative_slope = 1 / t.shape[2]
    return m.slope(t - 1).mean((2, 3))


def rewritten(t: Tensor, m: Body) -> Tensor:
    """The same weights on wide images as before, others on high ones, and the same again afterwards."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        m.linear.weight.fill_(1.0 if t.shape[2] < t.shape[3] else 2.0)
    out = m.linear(t.mean((2, 3)))
    with torch._C.DisableTorchFunction(), torch.no_grad():
        m.linear.weight.fill_(1.0)
    return out


DEPENDING = {
    "a number": lambda t, m: t.sum((2, 3)) / t.shape[2],
    "a branch": lambda t, m: (m.first if t.shape[2] < t.shape[3] else m.second)(t).sum((2, 3)),
    "one more call": lambda t, m: (t if t.shape[2] < t.shape[3] else 2 * t).sum((2, 3)),
    "a reshaping": lambda t, m: t.reshape(-1, 2, 4, 40).amax((2, 3)),
    "a resizing": lambda t, m: F.interpolate(t, scale_factor=2 if t.shape[2] < 40 else 3).amax((2, 3)),
    "a pooling": lambda t, m: m.window(t).amax((2, 3)),
    "a part of a constant": lambda t, m: t.sum((2, 3)) * m.table[0, :, t.shape[2] - 1, 0],
    "a setting of a layer": sloped,
    "weights of a layer": rewritten,
    "strides": lambda t, m: t.sum((2, 3)) * t.stride(2),
}


@pytest.mark.parametrize("radius", [0.0, 1.0])
@pytest.mark.parametrize("name", list(DEPENDING))
def test_a_model_that_depends_on_the_shape_of_its_input_is_refused(name, radius) -> None:
    model = Body(DEPENDING[name]).eval()
    for x in (torch.zeros(1, 1, 4, 40), torch.full((1, 1, 4, 40), 1e-6)):
        cert = certify(model, IMAGE(x), radius=radius)
        assert cert.bound == math.inf
        assert any("depends on the shape of its input" in why for _, why in cert.not_covered), cert.not_covered
        half_turn = C4.fibergroup.element(2)
        assert math.isfinite(cert.at(half_turn))  # which swaps nothing
        assert math.isfinite(certify(model, IMAGE(x), elements=[half_turn], radius=radius).bound)


FOLLOWED = {
    "the number of pixels": lambda t, m: t.sum((2, 3)) / (t.shape[2] * t.shape[3]),
    "its own sizes": lambda t, m: t.reshape(t.shape[0], 2, t.shape[2], t.shape[3]).amax((2, 3)),
    "twice as large": lambda t, m: F.interpolate(t, scale_factor=2).amax((2, 3)),
    "a constant for all pixels": lambda t, m: (t * m.table[:, :, :1, :1]).mean((2, 3)),
}


@pytest.mark.parametrize("name", list(FOLLOWED))
def test_oblong_images_are_covered_where_sizes_are_swapped_rightly(name) -> None:
    model = Body(FOLLOWED[name]).eval()
    check(model, random_field(IMAGE, 2, 4, 40))
    x = IMAGE(torch.zeros(1, 1, 4, 40))
    cert = certify(model, x, radius=1.0)
    assert cert.certified, cert.not_covered
    for y in around(x.tensor, 1.0):
        assert violations(model, IMAGE(y), cert) == []


@pytest.mark.parametrize("function", [torch.add, torch.mul, torch.sub, torch.div])
@pytest.mark.parametrize("size", [(4, 5), (1, 5)])
def test_a_table_of_an_oblong_image_has_no_other_shape(function, size) -> None:
    model = Body(lambda t, m: function(t, 1 + m.table[:, :, : size[0], : size[1]])).eval()
    cert = certify(model, IMAGE(torch.zeros(1, 1, *size)))
    assert cert.bound == math.inf
    assert any("sides of different lengths" in why for _, why in cert.not_covered), cert.not_covered
    assert math.isfinite(cert.at(C4.fibergroup.element(2)))


class Dead(torch.nn.Module):
    """Does something else for inputs of which x shows nothing: the same calls, other numbers."""

    in_type = IMAGE

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.calls = function, 0
        self.register_buffer("buffer", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.function(x.tensor, self)


def unseen(t: Tensor) -> float:
    with torch._C.DisableTorchFunction():
        return float(t.abs().max())


def written_where_large(t: Tensor, m: Dead) -> Tensor:
    with torch._C.DisableTorchFunction():
        m.buffer.add_(float(unseen(t) > 0.5))
    return t * 1.0


BEHIND = {
    "a branch of values": lambda t, m: t * 2.0 if unseen(t) > 0.5 else t * 1.0,
    "a buffer": written_where_large,
    "a count of calls": lambda t, m: t * m.calls,
}


@pytest.mark.parametrize("name", list(BEHIND))
@pytest.mark.parametrize("radius", [0.0, 3.0])
def test_an_input_that_vanishes_hides_nothing(name, radius) -> None:
    cert = certify(Dead(BEHIND[name]).eval(), IMAGE(torch.zeros(1, 1, 5, 5)), radius=radius)
    assert cert.bound == math.inf
    assert cert.not_covered


class Masked(torch.nn.Module):
    """Multiplies by a table behind torch's back, which is no one's Lipschitz constant and shows where x is not 0."""

    in_type = IMAGE

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.rand(1, 1, 5, 5)

    def forward(self, x):
        out = x.tensor.clone()
        with torch._C.DisableTorchFunction():
            out.numpy()[:] *= self.table.numpy()
        return self.in_type(out)


def test_a_bound_that_is_wrong_around_x_is_found_there() -> None:
    x = IMAGE(torch.zeros(1, 1, 5, 5))
    assert certify(Masked().eval(), x).certified  # on x alone it is nothing but true
    cert = certify(Masked().eval(), x, radius=1.0)
    assert cert.bound == math.inf
    assert all("something in it is not what certify followed" in why for _, why in cert.not_covered)


def test_other_inputs() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert [round(float(y.std())) for y in other_values(x, 0.0)] == [1, 31]
    assert [round(float(y.std())) for y in other_values(x, 77.5)] == [10, 310]
    assert all(bool(y.isfinite().all()) for y in other_values(x, 1e300))
    for tensor in (x, torch.ones(2, 3)):
        for y in around(tensor, 2.0):
            distances = (y - tensor).flatten(1).norm(dim=1)
            assert bool(((distances > 1.97) & (distances < 2.0)).all())


@pytest.mark.parametrize("field", [IMAGE, VOXELS], ids=["plane", "space"])
def test_the_shape_of_what_is_moved(field) -> None:
    elements = tuple(pixel_elements(field.gspace))
    x = torch.zeros(1, 1, *(3, 4, 5)[: field.gspace.dimensionality])
    for action in (Action(elements, field, pixels=True), Action(elements, None, pixels=False)):
        for row in range(len(elements)):
            assert action.moved_shape(row, x.shape) == action(row, x).shape


def test_soft_layers_on_oblong_images_keep_their_bound() -> None:
    soft = SoftR2Conv(IMAGE, FIELD, 3, softness=0.3)
    model = nn.SequentialModule(soft, nn.ReLU(FIELD), nn.GroupPooling(FIELD)).eval()
    shake(model)
    check(model, random_field(IMAGE, 2, 5, 8))
    assert certify(model, random_field(IMAGE, 1, 5, 8), radius=0.1).certified
