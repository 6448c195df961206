"""Searches for the worst: the input that a layer errs most on, and the group element at which it errs most."""

from __future__ import annotations

import math

import numpy as np
import torch
from escnn.group import GroupElement
from escnn.nn import GeometricTensor
from scipy.optimize import minimize
from torch import Tensor

from escnn_soft.functions import act
from escnn_soft.groups import FibreGroup

POWER_STEPS = 40


def equivariance_error(layer, element: GroupElement, x: Tensor) -> Tensor:
    """f(g x) - g f(x), without the bias, for a layer in evaluation mode."""
    field = GeometricTensor(x, layer.in_type)
    zero = GeometricTensor(torch.zeros_like(x), layer.in_type)

    def error(field: GeometricTensor) -> Tensor:
        return layer(act(element, field)).tensor - act(element, layer(field)).tensor

    return error(field) - error(zero)


def worst_input(layer, element: GroupElement, shape: tuple[int, ...], dtype=torch.float64) -> tuple[Tensor, float]:
    """The x that maximises ||f(g x) - g f(x)|| / ||x||, by power iteration on the error operator, and the quotient."""
    x = torch.randn(shape, dtype=dtype)
    for _ in range(POWER_STEPS):
        x = (x / x.norm()).requires_grad_(True)
        (gradient,) = torch.autograd.grad(equivariance_error(layer, element, x).square().sum(), x)
        if not gradient.any():
            return x.detach(), 0.0
        x = gradient.detach()
    x = x / x.norm()
    return x, float(equivariance_error(layer, element, x).detach().norm())


def worst_element(error, group: FibreGroup, starts: int = 200) -> float:
    """The largest error(g) found over a group: all of a finite one; else random starts, the best ones climbed."""
    if not group.circles:
        return max(error(g) for g in group.cosets)
    rng, best = np.random.default_rng(0), 0.0

    def at(coset: GroupElement, angles) -> GroupElement:
        for circle, t in zip(group.circles, angles, strict=True):
            coset = coset @ circle(t)
        return coset

    for coset in group.cosets:
        points = rng.uniform(0, 2 * math.pi, (starts, len(group.circles)))
        values = [error(at(coset, angles)) for angles in points]
        best = max(best, *values)
        for i in np.argsort(values)[-3:]:
            climb = minimize(
                lambda t, coset=coset: -error(at(coset, t)), points[i], method="Nelder-Mead", options={"maxiter": 150}
            )
            best = max(best, -climb.fun)
    return best
