"""Numbers of activations that reach the output by ways that no torch function shows: each is refused by name."""

from __future__ import annotations

import ctypes
import math
import re
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from escnn import group, gspaces
from escnn.nn import FieldType, GeometricTensor, IdentityModule
from torch import Tensor

from escnn_soft import SoftLinear, SoftR2Conv, certify
from tests.certification.checks import random_field

C4 = gspaces.rot2dOnR2(4)
IMAGE, FIELD = C4.type(C4.trivial_repr), C4.type(C4.regular_repr)
SO2 = gspaces.no_base_space(group.so2_group(2))
VECTORS = SO2.type(SO2.irrep(1), SO2.irrep(0))


@torch.jit.script
def jitted(buffer: Tensor, h: Tensor) -> None:
    buffer.copy_(h.abs().mean())


def by_view(buffer: Tensor, h: Tensor) -> float:
    buffer.view(-1).copy_(h.abs().mean())
    return 0.0


def by_data(buffer: Tensor, h: Tensor) -> float:
    buffer.data = torch.full((), 2.0) * h.abs().mean()
    return 0.0


def by_data_in_place(buffer: Tensor, h: Tensor) -> float:
    buffer.data.copy_(h.abs().mean())
    return 0.0


def by_jit(buffer: Tensor, h: Tensor) -> float:
    jitted(buffer, h)
    return 0.0


def by_thread(buffer: Tensor, h: Tensor) -> float:
    worker = threading.Thread(target=lambda: buffer.copy_(h[0].abs().mean()))
    worker.start()
    worker.join()
    return 0.0


def by_thread_as_a_number(_: Tensor, h: Tensor) -> float:
    found: list[float] = []
    worker = threading.Thread(target=lambda: found.append(float(h.abs().mean())))
    worker.start()
    worker.join()
    return found[0]


def by_dlpack(_: Tensor, h: Tensor) -> float:
    return float(np.from_dlpack(h).mean())


def by_c_dlpack(_: Tensor, h: Tensor) -> float:
    return float(torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(h.detach())).abs().mean())


def by_repr(_: Tensor, h: Tensor) -> float:
    return float(re.findall(r"-?\d+\.\d*(?:e[-+]\d+)?", repr(h))[0])


def by_numpy(_: Tensor, h: Tensor) -> float:
    return float(np.abs(h.numpy()).mean())


def by_item(_: Tensor, h: Tensor) -> float:
    return h.abs().mean().item()


def by_address(_: Tensor, h: Tensor) -> float:
    return ctypes.cast(h.data_ptr(), ctypes.POINTER(ctypes.c_float))[0]


def written_and_restored(buffer: Tensor, h: Tensor) -> float:
    by_thread(buffer, h)
    return 0.0


WAYS: list[Callable[[Tensor, Tensor], float]] = [
    by_view, by_data, by_data_in_place, by_jit, by_thread, by_thread_as_a_number, by_dlpack, by_c_dlpack, by_repr,
    by_numpy, by_item, by_address, written_and_restored,
]  # fmt: skip


class Leaking(torch.nn.Module):
    """Multiplies by a number that some way of reading the activation has put into a buffer, or that it returns."""

    def __init__(self, field: FieldType, way: Callable[[Tensor, Tensor], float], *, plain: bool) -> None:
        super().__init__()
        self.field, self.way = field, way
        value = torch.ones(())
        if plain:
            self.state = value
        else:
            self.register_buffer("state", value)

    def forward(self, x: GeometricTensor) -> GeometricTensor:
        factor = 1.0 + self.way(self.state, x.tensor)
        out = x.tensor * factor * self.state
        if self.way is written_and_restored:
            worker = threading.Thread(target=lambda: self.state.fill_(1.0))
            worker.start()
            worker.join()
        return GeometricTensor(out, self.field)


class Branching(torch.nn.Module):
    """Calls another function where a number that it has read is large."""

    def forward(self, x: GeometricTensor) -> GeometricTensor:
        large = by_thread_as_a_number(x.tensor, x.tensor) > 0.5
        return GeometricTensor(x.tensor * 100.0 if large else -x.tensor, x.type)


@pytest.mark.parametrize("plain", [False, True], ids=["buffer", "plain tensor"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("pixels", [True, False], ids=["pixels", "every element"])
def test_values_behind_torchs_back(pixels, way, plain) -> None:
    torch.manual_seed(0)
    if pixels:
        first, x, field = SoftR2Conv(IMAGE, FIELD, 3, padding=1), random_field(IMAGE, 2, 5, 5), FIELD
    else:
        first, x, field = SoftLinear(VECTORS, VECTORS), random_field(VECTORS, 2), VECTORS
    for module in (IdentityModule(x.type), first):
        model = torch.nn.Sequential(module, Leaking(module.out_type, way, plain=plain)).eval()
        state = model[1].state
        before = state.clone()
        cert = certify(model, x)
        assert cert.bound == math.inf
        assert cert.not_covered
        assert model[1].state is state or way is by_data
        assert torch.equal(model[1].state, before)
    assert field.size


def test_other_calls_for_other_values() -> None:
    model = torch.nn.Sequential(SoftLinear(VECTORS, VECTORS), Branching()).eval()
    x = VECTORS(0.01 * torch.ones(1, 3))
    layer, reason = certify(model, x).not_covered[0]
    assert layer == "1"
    assert "depends on values that it reads" in reason


def test_what_is_not_hidden_is_covered() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.full((), 0.5))
            self.number, self.plain = 3.0, torch.full((), 2.0)

        def forward(self, x: GeometricTensor) -> GeometricTensor:
            return GeometricTensor(x.tensor * self.state * self.number * self.plain, x.type)

    for first, x in (
        (SoftR2Conv(IMAGE, FIELD, 3, padding=1), random_field(IMAGE, 2, 5, 5)),
        (SoftLinear(VECTORS, VECTORS), random_field(VECTORS, 2)),
    ):
        assert certify(torch.nn.Sequential(first, Scaled()).eval(), x).certified
