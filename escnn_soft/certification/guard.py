"""Comparing the bound with the model itself: what was not followed rightly shows wherever it matters for this input."""

from __future__ import annotations

import torch
from escnn.nn import GeometricTensor
from torch import Tensor

from escnn_soft.certification.fact import sample_distances
from escnn_soft.certification.guarded import Guarded, image_of
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.other_inputs import around
from escnn_soft.certification.tensor_action import Action

__all__ = ["compare", "compare_around"]

_SAMPLED = 4
"""Elements at which "every element" of an infinite group is compared."""


def compare(
    ledger: Ledger,
    run: Guarded,
    actions: tuple[Action, Action],
    x: Tensor,
    out: GeometricTensor | Tensor,
    bound: Tensor,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Refuse the elements at which the model's own ||f(g x) - g f(x)|| exceeds the bound.

    Args:
        ledger: where to note.
        run: the model.
        actions: on its input and output.
        x: the input.
        out: the output.
        bound: on the error.  # shape: (rows, samples)

    Returns:
        That error, infinite where it is not that of a single element, (rows, samples); and f(g x) by row.
    """
    start, found, images = actions[0], ledger.table(torch.inf), {}
    for row, element in enumerate(start.elements):
        if ledger.dead(row) or not bool(torch.isfinite(bound[row]).all()):
            continue
        if element is None:
            _compare_some(ledger, run, actions, x, out, bound[row], row)
            continue
        if element == element.group.identity:
            found[row], images[row] = 0.0, tensor_of(out)
            continue
        end = _end(run, actions, x, out, row)
        reason = end if isinstance(end, str) else _excess(end[0], bound[row])
        if reason is not None:
            ledger.refuse("model", reason, row)
        elif not isinstance(end, str):
            found[row], images[row] = end
    return found, images


def compare_around(
    ledger: Ledger,
    run: Guarded,
    actions: tuple[Action, Action],
    x: Tensor,
    out: GeometricTensor | Tensor,
    bound: Tensor,
) -> None:
    """Likewise at some points as far from x as the bound reaches.

    Args:
        ledger: where to note, with the radius.
        run: the model.
        actions: on its input and output.
        x: the input.
        out: the output on x.
        bound: on the error.  # shape: (rows, samples)
    """
    for y in around(x, ledger.radius):
        image = image_of(run, y, out)
        if isinstance(image, Tensor):
            end = image if isinstance(out, Tensor) else GeometricTensor(image, out.type)
            compare(ledger, run, actions, y, end, bound)
            continue
        for row in range(len(bound)):
            ledger.refuse("model", image, row)


def _compare_some(
    ledger: Ledger,
    run: Guarded,
    actions: tuple[Action, Action],
    x: Tensor,
    out: GeometricTensor | Tensor,
    bound: Tensor,
    row: int,
) -> None:
    """Likewise for some elements of an infinite group that is bounded at once."""
    start, action = actions
    assert start.type is not None
    group = start.type.fibergroup
    if action.type is not None and action.type.fibergroup != group:
        return  # those outside the subgroup were left behind
    several = [g for g in group.testing_elements() if g != group.identity]
    elements = tuple(several[:: max(1, len(several) // _SAMPLED)])[:_SAMPLED]
    sampled = (Action(elements, start.type, start.pixels), Action(elements, action.type, action.pixels))
    for number in range(len(elements)):
        ends = _end(run, sampled, x, out, number)
        reason = ends if isinstance(ends, str) else _excess(ends[0], bound)
        if reason is not None:
            ledger.refuse("model", reason, row)
            return


def _end(
    run: Guarded, actions: tuple[Action, Action], x: Tensor, out: GeometricTensor | Tensor, row: int
) -> tuple[Tensor, Tensor] | str:
    """||f(g x) - g f(x)|| and f(g x), or why there are none."""
    start, action = actions
    image = image_of(run, start(row, x), out)
    if isinstance(image, str):
        return image
    expected = action(row, tensor_of(out))
    if image.shape != expected.shape:
        return f"its output on g x has shape {tuple(image.shape)} where {tuple(expected.shape)} was expected"
    if not bool(torch.isfinite(image).all()):
        return "its output on g x has infinities or NaN"
    return sample_distances(image, expected), image


def _excess(error: Tensor, bound: Tensor) -> str | None:
    """Why an error does not respect the bound."""
    if bool((error <= bound).all()):
        return None
    worst = int((error - bound).argmax())
    return (
        f"the model's own error {float(error[worst]):.3g} exceeds the bound {float(bound[worst]):.3g}: "
        "something in it is not what certify followed"
    )
