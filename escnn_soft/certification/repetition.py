"""Whether a model is a function of its input that was followed rightly: it repeats itself, on all inputs alike."""

from __future__ import annotations

import torch
from escnn.nn import GeometricTensor
from torch import Tensor

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.guarded import Guarded, image_of
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.other_inputs import other_values, reshaping_rows
from escnn_soft.certification.rehearsal import Rehearsal
from escnn_soft.certification.script import difference
from escnn_soft.certification.trace import Trace

__all__ = ["refusal"]

_SLACK = 1e-3
"""Relative allowance for rounding where the Lipschitz constant is compared with two outputs."""


def refusal(
    trace: Trace, run: Guarded, x: Tensor, out: GeometricTensor | Tensor, lipschitz: Tensor
) -> tuple[str, str] | None:
    """Why a model is not a function of its input that was followed rightly, with the layer; None if it seems to be one.

    It has to repeat itself to the last bit, to leave its own tensors alone, and to do the same with other numbers: the
    same calls, and outputs no further apart than the Lipschitz constant allows. Elements that swap sides of different
    lengths are refused where it makes other calls on inputs of the shape that they give: values hide that where they
    vanish.

    Args:
        trace: of its run on x.
        run: the model.
        x: the input.
        out: what came out first.
        lipschitz: what is claimed.  # shape: (samples,)

    Returns:
        The layer and the reason.
    """
    written = trace.constants.written()
    if written is not None:
        return written, "it was written while the model ran"
    reason = _repeats(run, x, out, tensor_of(out))
    if reason is not None:
        return "model", reason
    contradiction = _on_other_inputs(trace, run, x, out, lipschitz)
    written = trace.constants.written()
    if contradiction is None and written is not None:
        return written, "it was written while the model ran on other values"
    return contradiction


def _on_other_inputs(
    trace: Trace, run: Guarded, x: Tensor, out: GeometricTensor | Tensor, lipschitz: Tensor
) -> tuple[str, str] | None:
    """How what a model does on other values contradicts what it did on x; on other shapes, noted in the ledger."""
    ledger, shapes = trace.ledger, reshaping_rows(trace.start.action, x)
    for other in other_values(x, ledger.radius):
        image = _rehearsed(trace, run, other, out)
        if not isinstance(image, Tensor):
            return image
        apart = _too_far_apart(image, tensor_of(out), lipschitz * sample_norms(other - x))
        if apart is not None:
            return "model", apart
        for rows in shapes:
            alive = [row for row in rows if not ledger.dead(row)]
            moved = _rehearsed(trace, run, trace.start.action(alive[0], other), out, alive[0]) if alive else None
            if isinstance(moved, tuple):
                for row in alive:
                    ledger.refuse(*moved, row)
    return None


def _repeats(run: Guarded, x: Tensor, out: GeometricTensor | Tensor, before: Tensor) -> str | None:
    """Why what comes out for x is not what came out before."""
    image = image_of(run, x, out)
    if isinstance(image, str):
        return f"running it twice gives different outputs: {image}"
    same = image.dtype == before.dtype and image.shape == before.shape
    if same and torch.equal(image.nan_to_num(), before.nan_to_num()):  # larger numbers may overflow
        return None
    return "running it twice gives different outputs"


def _rehearsed(
    trace: Trace, run: Guarded, values: Tensor, out: GeometricTensor | Tensor, row: int | None = None
) -> Tensor | tuple[str, str]:
    """A model's output on other values, of the shape that a row's element gives; or how it contradicts the trace."""
    where = "of the same shape" if row is None else f"of shape {tuple(values.shape)}"
    rehearsal = Rehearsal(run.model, Ledger(trace.ledger.names, len(values)), trace.start, lookahead=None)

    def rehearse(given: Tensor) -> object:
        rehearsal.learn(given, trace.start)
        with rehearsal.watching():
            return run.model(given if run.plain else GeometricTensor(given, run.type))

    image = image_of(rehearse, values.clone(), out)
    if isinstance(image, str):
        return "model", f"{image} (on other values {where})"
    parted = difference([step if row is None else step.moved(row) for step in trace.script], rehearsal.script)
    if parted is not None:
        layer, words = parted
        why = "values that it reads behind torch's back" if row is None else "the shape of its input"
        return layer, f"what it does depends on {why}: {words} {where}"
    reason = _repeats(run, values, out, image)
    return image if reason is None else ("model", f"{reason} (on other values {where})")


def _too_far_apart(image: Tensor, before: Tensor, allowed: Tensor) -> str | None:
    """Why two outputs contradict the Lipschitz constant."""
    if image.shape != before.shape:
        return f"its output has shape {tuple(before.shape)} on x and {tuple(image.shape)} on other values"
    apart = sample_norms(image.double() - before.double())
    allowed = allowed * (1 + _SLACK) + _SLACK * (sample_norms(image) + sample_norms(before))
    if bool((apart.isfinite() & (apart > allowed)).any()):  # larger numbers may overflow
        return "two outputs are further apart than its Lipschitz constant allows"
    return None
