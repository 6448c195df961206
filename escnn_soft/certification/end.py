"""The error of the whole network at its end, which the bound of single elements need not exceed."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.guard import Guarded
from escnn_soft.certification.known_errors import SLACK, rounding_of_action
from escnn_soft.certification.nested import fields, tensor_of
from escnn_soft.certification.net import Net
from escnn_soft.certification.tensor_action import Action

__all__ = ["error_on_a_net", "rounding_at_the_end"]

_ELSEWHERE = 2.0
"""Sums in another order may round so many times as much as here."""


def rounding_at_the_end(
    run: Guarded, start: Action, x: Tensor, action: Action, out: Tensor, images: dict[int, Tensor]
) -> dict[int, Tensor] | None:
    """||fl f(x) - f(x)|| + ||fl f(fl g x) - f(g x)||, twice, the exact f by the model in double precision.

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
    still, found = _error(double, x.double(), out), {}
    for row, image in images.items():
        error = _error(double, start(row, x.double()), image)
        if still is None or error is None:
            return None
        found[row] = _ELSEWHERE * (still + error) * (1 + SLACK) + rounding_of_action(action, out, row)
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


def _error(double: Guarded, x: Tensor, out: Tensor) -> Tensor | None:
    try:
        exact = next(fields(double(x)))
    except Exception:  # whatever a model may raise
        return None
    exact = tensor_of(exact)
    if exact.dtype != torch.float64 or exact.shape != out.shape:
        return None
    error = sample_norms(out.double() - exact)
    return error if bool(torch.isfinite(error).all()) else None
