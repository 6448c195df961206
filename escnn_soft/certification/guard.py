"""Comparing the bound with the model itself: what was not followed rightly shows wherever it matters for this input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from escnn.nn import GeometricTensor
from torch import Tensor, nn

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.tensor_action import Action

__all__ = ["Run", "compare", "preserved", "unrepeated"]

Run = Callable[[Tensor], object]
"""Runs the model on a copy of a tensor, typed as its input was."""


@contextmanager
def preserved(model: nn.Module, x: Tensor) -> Iterator[None]:
    """The generators of random numbers and the model's buffers are left as they were before this context."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        try:
            yield
        finally:
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def unrepeated(run: Run, x: Tensor, out: GeometricTensor | Tensor) -> str | None:
    """Why a model is not a function of its input, whose first output was ``out``; None if it is, to the last bit."""
    image = _image(run, x, out)
    if isinstance(image, str):
        return f"running it twice gives different outputs: {image}"
    before = tensor_of(out)
    same = image.dtype == before.dtype and torch.equal(image, before)
    return None if same else "running it twice gives different outputs"


def compare(
    ledger: Ledger, run: Run, start: Action, x: Tensor, action: Action, out: GeometricTensor | Tensor, bound: Tensor
) -> None:
    """Refuse the elements at which the model's own ||f(g x) - g f(x)|| exceeds the bound."""
    for row, element in enumerate(start.elements):
        lost = ledger.dead(row) or not bool(torch.isfinite(bound[row]).all())
        if element is None or element == element.group.identity or lost:
            continue
        image = _image(run, start(row, x), out)
        reason = image if isinstance(image, str) else _excess(image, action(row, tensor_of(out)), bound[row])
        if reason is not None:
            ledger.refuse("model", reason, row)


def _excess(image: Tensor, expected: Tensor, bound: Tensor) -> str | None:
    """Why an output does not respect the bound."""
    if image.shape != expected.shape:
        return f"its output on g x has shape {tuple(image.shape)} where {tuple(expected.shape)} was expected"
    if not bool(torch.isfinite(image).all()):
        return "its output on g x has infinities or NaN"
    error = sample_norms(image.double() - expected.double())
    if bool((error <= bound).all()):
        return None
    worst = int((error - bound).argmax())
    return (
        f"the model's own error {float(error[worst]):.3g} exceeds the bound {float(bound[worst]):.3g}: "
        "something in it is not what certify followed"
    )


def _image(run: Run, x: Tensor, out: GeometricTensor | Tensor) -> Tensor | str:
    """The model's output as a tensor, or why it is not comparable."""
    try:
        image = run(x)
    except Exception as error:  # whatever a model may raise
        return f"it cannot be run on the transformed input: {type(error).__name__}: {error}"
    if not isinstance(image, GeometricTensor | Tensor) or isinstance(image, Tensor) != isinstance(out, Tensor):
        return f"it returns a {type(image).__name__} where a {type(out).__name__} was expected"
    if isinstance(image, GeometricTensor) and isinstance(out, GeometricTensor) and image.type != out.type:
        return "it returns a field of another type"
    return tensor_of(image).clone()
