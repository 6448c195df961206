"""The error of the whole network at its end, which the bound of single elements need not exceed."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.guarded import Guarded
from escnn_soft.certification.known_errors import SLACK, rounding_of_action
from escnn_soft.certification.nested import fields, tensor_of
from escnn_soft.certification.net import Net
from escnn_soft.certification.tensor_action import Action

__all__ = ["error_on_a_net", "rounding_at_the_end"]

_ELSEWHERE = 2.0
"""Sums in another order may round so many times as much as here."""
_UNITS = 2
"""All numbers are changed by so many units in the last place, for what rounding did not do here but may."""
_FEWEST, _MOST, _ENOUGH = 2, 16, 32
"""Draws of such changes: so many that there are enough outputs."""


def rounding_at_the_end(
    run: Guarded, start: Action, x: Tensor, action: Action, out: Tensor, images: dict[int, Tensor]
) -> dict[int, Tensor] | None:
    """||fl f(x) - f(x)|| + ||fl f(fl g x) - f(g x)||, twice, the exact f by the model in double precision.

    Few numbers may round to the right ones by chance. So neither part counts less than what changing the input and all
    parameters and buffers by two units in the last place, up or down, does to f(x).

    Args:
        run: the model.
        start: the action on its input.
        x: the input.
        action: that on its output.
        out: the output.
        images: the output on g x, by row.

    Returns:
        The sum, and what g rounds of the output, by row, sample by sample; None if the model does not run in double
        precision or has it already.
    """
    if out.dtype == torch.float64 or x.dtype == torch.float64:
        return None
    try:
        double = replace(run, model=copy.deepcopy(run.model).double())
    except Exception:  # whatever a model may raise
        return None
    exact = _exact(double, x.double(), out)
    wobble = None if exact is None else _wobble(double, x.double(), exact, _UNITS * torch.finfo(out.dtype).eps)
    if exact is None or wobble is None:
        return None
    still, found = _apart(out, exact), {}
    for row, image in images.items():
        exact = _exact(double, start(row, x.double()), image)
        if exact is None:
            return None
        rounded = torch.maximum(still, wobble) + torch.maximum(_apart(image, exact), wobble)
        found[row] = _ELSEWHERE * rounded * (1 + SLACK) + rounding_of_action(action, out, row)
    return found


def error_on_a_net(run: Guarded, start: Action, x: Tensor, fact: Fact, out: Tensor) -> Tensor | None:
    """||f(g x) - g f(x)|| for every element of an infinite group, from a grid of them; None if there is no such grid.

    Args:
        run: the model.
        start: the action on its input.
        x: the input.
        fact: on its output.
        out: its output.

    Returns:
        A bound, sample by sample, on the error but for what rounding does between the points of the grid.
    """
    before, after = start.type, fact.action.type
    if not Net.exists(before) or start.pixels or not bool(torch.isfinite(fact.lipschitz).all()):
        return None
    assert before is not None
    if after is not None and after.fibergroup != before.fibergroup:
        return None
    net = Net(before)
    found = net.largest(lambda y: tensor_of(next(fields(run(y)))), (before, x), (after, out))
    return found * (1 + SLACK) + fact.lipschitz * net.mesh(before, x) + net.mesh(after, out)


def _exact(double: Guarded, x: Tensor, out: Tensor) -> Tensor | None:
    """The output in double precision, None if there is none of the shape of ``out``."""
    try:
        exact = tensor_of(next(fields(double(x))))
    except Exception:  # whatever a model may raise
        return None
    fits = exact.dtype == torch.float64 and exact.shape == out.shape
    return exact if fits and bool(torch.isfinite(exact).all()) else None


def _wobble(double: Guarded, x: Tensor, exact: Tensor, change: float) -> Tensor | None:
    """Root mean square of what relative changes of all numbers, up or down, do to the output."""
    tensors = (*double.model.parameters(), *double.model.buffers())
    numbers = [t for t in tensors if t.is_floating_point() and 0 not in t.stride() and not t.is_inference()]
    kept = [t.detach().clone() for t in numbers]
    generator = torch.Generator().manual_seed(0)
    draws = max(_FEWEST, min(_MOST, _ENOUGH * len(exact) // max(1, exact.numel())))

    def changed(t: Tensor) -> Tensor:
        signs = torch.randint(2, t.shape, generator=generator, dtype=torch.int8) * 2 - 1
        return t * (1 + change * signs.to(t))

    squares = []
    try:
        with torch.no_grad():
            for _ in range(draws):
                for number, before in zip(numbers, kept, strict=True):
                    number.copy_(changed(before))
                moved = _exact(double, changed(x), exact)
                if moved is None:
                    return None
                squares.append(_apart(moved, exact).square())
    finally:
        with torch.no_grad():
            for number, before in zip(numbers, kept, strict=True):
                number.copy_(before)
    return torch.stack(squares).mean(0).sqrt()


def _apart(out: Tensor, exact: Tensor) -> Tensor:
    return sample_norms(out.double() - exact)
