"""Norms of any scale, their derivatives at 0 included, whichever way torch takes them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from escnn_soft.dial.magnitude import hypotenuse, largest, norm, norm_of, scale_of

SCALES = {torch.float32: [1e-30, 1e-15, 1.0, 1e30], torch.float64: [1e-300, 1e-100, 1.0, 1e150, 1e300]}
CASES = [(dtype, scale) for dtype, scales in SCALES.items() for scale in scales]


@pytest.mark.parametrize("numbers", [0, 1, 5, 1000, 2**16 + 3])
@pytest.mark.parametrize(("dtype", "scale"), CASES)
def test_norms_of_any_scale_and_length(dtype: torch.dtype, scale: float, numbers: int) -> None:
    values = torch.randn(numbers, generator=torch.Generator().manual_seed(numbers), dtype=torch.float64).to(dtype)
    expected = math.sqrt(math.fsum(v * v for v in values.tolist()))
    for found in (norm(values * scale), norm_of(values * scale)):
        assert found.dtype == torch.float64
        error = 1e-6 if dtype == torch.float32 else 1e-12
        assert float(found) / scale == pytest.approx(expected, rel=error)


def test_constant_numbers_are_added_up_without_loss() -> None:
    values = torch.full((2**20,), 0.1)
    assert float(norm(values)) == pytest.approx(2**10 * float(values[0]), rel=2e-7)


WAYS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "backward": lambda f, x: torch.autograd.grad(f(x), x)[0],
    "torch.func": lambda f, x: torch.func.grad(f)(x),
    "create_graph": lambda f, x: torch.autograd.grad(f(x), x, create_graph=True)[0],
}


@pytest.mark.parametrize("way", WAYS)
def test_derivatives(way: str) -> None:
    x = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.allclose(WAYS[way](norm, x), x / x.norm())
    both = WAYS[way](lambda v: hypotenuse(norm(v[:2]), norm(v[2:])), x)
    assert torch.allclose(both, x / x.norm())
    zero = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.equal(WAYS[way](norm, zero), torch.zeros(6, dtype=torch.float64))
    none = WAYS[way](lambda v: hypotenuse(norm(v[:2]), norm(v[2:])), zero)
    assert torch.equal(none, torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-43, 1e-38, 1e-30, 1e30])
@pytest.mark.parametrize("gradient", [1.0, 65536.0, 1e10])
def test_derivatives_at_any_scale(scale: float, gradient: float) -> None:
    x = torch.tensor([3.0, 0.0, 4.0]).mul(scale).requires_grad_()
    (found,) = torch.autograd.grad(norm(x), x, torch.tensor(gradient, dtype=torch.float64))
    assert torch.allclose(found / gradient, torch.tensor([0.6, 0.0, 0.8]), atol=0.1 if scale < 1e-40 else 1e-6)


def test_second_derivatives() -> None:
    x = torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(norm, x)
    assert torch.autograd.gradgradcheck(norm, x)
    assert torch.autograd.gradgradcheck(lambda v: hypotenuse(norm(v[:2]), norm(v[2:])), x)


def test_largest_entries_and_scales() -> None:
    assert float(largest(torch.tensor([1.0, -3.0]))) == 3.0
    assert float(largest(torch.zeros(0))) == 0.0
    assert float(scale_of(torch.tensor(4.0), torch.tensor(8.0))) == 0.125
    assert float(scale_of(torch.tensor(0.0), None)) == 1.0
