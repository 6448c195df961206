"""Comparing the bound with the model itself: what was not followed rightly shows wherever it matters for this input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor, nn

from escnn_soft.certification.fact import Fact, sample_norms
from escnn_soft.certification.ledger import Ledger
from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.network_constants import NetworkConstants
from escnn_soft.certification.rehearsal import Rehearsal
from escnn_soft.certification.script import difference
from escnn_soft.certification.tensor_action import Action
from escnn_soft.certification.trace import Trace

__all__ = ["Guarded", "compare", "preserved", "refusal"]

_SLACK = 1e-3
"""Relative allowance for rounding where the Lipschitz constant is compared with two outputs."""
_SCALES = (1.0, 30.0)
"""Sizes of other values, in units of x."""
_SAMPLED = 4
"""Elements at which "every element" of an infinite group is compared."""


@dataclass(frozen=True, eq=False)
class Guarded:
    """A model, and how it is run.

    Attributes:
        model: the model, or one that stands for it in another precision.
        type: of its input.
        plain: whether it takes a plain tensor.
    """

    model: nn.Module
    type: FieldType
    plain: bool

    def __call__(self, x: Tensor) -> object:
        """Its output on a copy of a tensor."""
        return self.model(x.clone() if self.plain else GeometricTensor(x.clone(), self.type))


@contextmanager
def preserved(constants: NetworkConstants, x: Tensor) -> Iterator[None]:
    """The generators of random numbers and the model's tensors are left as they were before this context."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        try:
            yield
        finally:
            constants.restore()


def refusal(
    trace: Trace, run: Guarded, x: Tensor, out: GeometricTensor | Tensor, lipschitz: Tensor
) -> tuple[str, str] | None:
    """Why a model is not a function of its input that was followed rightly, with the layer; None if it seems to be one.

    It has to repeat itself to the last bit, to leave its own tensors alone, and to do the same with other numbers: the
    same calls, and outputs no further apart than the Lipschitz constant allows.

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
    image = _image(run, x, out)
    if isinstance(image, str):
        return "model", f"running it twice gives different outputs: {image}"
    before = tensor_of(out)
    if image.dtype != before.dtype or not torch.equal(image, before):
        return "model", "running it twice gives different outputs"
    for scale in _SCALES:
        reason = _on_other_values(trace, run, x, scale, out, lipschitz)
        if reason is not None:
            return reason
    return None


def _on_other_values(
    trace: Trace, run: Guarded, x: Tensor, scale: float, out: GeometricTensor | Tensor, lipschitz: Tensor
) -> tuple[str, str] | None:
    """How what a model does on random numbers, of a size in units of x, contradicts what it did on x."""
    size = scale * x.double().square().mean().sqrt().cpu() + _SLACK
    other = (size * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(x)
    rehearsal = Rehearsal(run.model, Ledger(trace.ledger.names, len(x)), trace.start, lookahead=None)

    def rehearse(values: Tensor) -> object:
        rehearsal.learn(values, trace.start)
        with rehearsal.watching():
            return run.model(values if run.plain else GeometricTensor(values, run.type))

    image, before = _image(rehearse, other.clone(), out), tensor_of(out)
    if isinstance(image, str):
        return "model", f"{image} (on other values of the same shape)"
    parted = difference(trace.script, rehearsal.script)
    if parted is not None:
        layer, words = parted
        return layer, f"what it does depends on values that it reads behind torch's back: {words}"
    apart, allowed = sample_norms(image.double() - before.double()), lipschitz * sample_norms(other - x)
    allowed = allowed * (1 + _SLACK) + _SLACK * (sample_norms(image) + sample_norms(before))
    if bool((apart.isfinite() & (apart > allowed)).any()):  # larger numbers may overflow
        return "model", "two outputs are further apart than its Lipschitz constant allows"
    return None


def compare(
    ledger: Ledger, run: Guarded, start: Action, x: Tensor, fact: Fact, out: GeometricTensor | Tensor
) -> tuple[Tensor, dict[int, Tensor]]:
    """Refuse the elements at which the model's own ||f(g x) - g f(x)|| exceeds the bound.

    Args:
        ledger: where to note.
        run: the model.
        start: the action on its input.
        x: the input.
        fact: on its output.
        out: the output.

    Returns:
        That error, infinite where it is not that of a single element, (rows, samples); and f(g x) by row.
    """
    found, bound, images = ledger.table(torch.inf), fact.error, {}
    for row, element in enumerate(start.elements):
        if ledger.dead(row) or not bool(torch.isfinite(bound[row]).all()):
            continue
        if element is None:
            _compare_some(ledger, run, start, x, fact.action, out, bound[row], row)
            continue
        if element == element.group.identity:
            found[row], images[row] = 0.0, tensor_of(out)
            continue
        end = _end(run, start, x, fact.action, out, row)
        reason = end if isinstance(end, str) else _excess(end[0], bound[row])
        if reason is not None:
            ledger.refuse("model", reason, row)
        elif not isinstance(end, str):
            found[row], images[row] = end
    return found, images


def _compare_some(
    ledger: Ledger,
    run: Guarded,
    start: Action,
    x: Tensor,
    action: Action,
    out: GeometricTensor | Tensor,
    bound: Tensor,
    row: int,
) -> None:
    """Likewise for some elements of an infinite group that is bounded at once."""
    assert start.type is not None
    group = start.type.fibergroup
    if action.type is not None and action.type.fibergroup != group:
        return  # those outside the subgroup were left behind
    several = [g for g in group.testing_elements() if g != group.identity]
    elements = tuple(several[:: max(1, len(several) // _SAMPLED)])[:_SAMPLED]
    before, after = (Action(elements, a.type, a.pixels) for a in (start, action))
    for sampled in range(len(elements)):
        ends = _end(run, before, x, after, out, sampled)
        reason = ends if isinstance(ends, str) else _excess(ends[0], bound)
        if reason is not None:
            ledger.refuse("model", reason, row)
            return


def _end(
    run: Guarded, start: Action, x: Tensor, action: Action, out: GeometricTensor | Tensor, row: int
) -> tuple[Tensor, Tensor] | str:
    """||f(g x) - g f(x)|| and f(g x), or why there are none."""
    image = _image(run, start(row, x), out)
    if isinstance(image, str):
        return image
    expected = action(row, tensor_of(out))
    if image.shape != expected.shape:
        return f"its output on g x has shape {tuple(image.shape)} where {tuple(expected.shape)} was expected"
    if not bool(torch.isfinite(image).all()):
        return "its output on g x has infinities or NaN"
    return sample_norms(image.double() - expected.double()), image


def _excess(error: Tensor, bound: Tensor) -> str | None:
    """Why an error does not respect the bound."""
    if bool((error <= bound).all()):
        return None
    worst = int((error - bound).argmax())
    return (
        f"the model's own error {float(error[worst]):.3g} exceeds the bound {float(bound[worst]):.3g}: "
        "something in it is not what certify followed"
    )


def _image(run: Callable[[Tensor], object], x: Tensor, out: GeometricTensor | Tensor) -> Tensor | str:
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
