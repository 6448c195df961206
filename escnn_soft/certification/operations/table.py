"""The table of torch's functions: one line a rule."""

from __future__ import annotations

from collections.abc import Callable

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.operations.contractions import contracted, linear, multiplied
from escnn_soft.certification.operations.pointwise_functions import clamped, extreme, pointwise, softened
from escnn_soft.certification.operations.reductions import reduced
from escnn_soft.certification.operations.reshaping import beside, dropped, permuted, reshaped, selected
from escnn_soft.certification.operations.sums import DIVISIONS, same, scaled, summed

__all__ = ["METADATA", "operate"]

METADATA = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "stride", "__len__", "is_contiguous", "is_floating_point",
     "is_complex", "get_device", "element_size", "storage_offset", "type", "__hash__",
     "is_autocast_enabled", "_is_view", "is_inference", "is_same_size", "register_hook"}
)  # fmt: skip
"""Functions that look at the shape, dtype or place of a tensor and not at its values."""


def operate(operation: Operation) -> Outcome | str:
    """What is known of an operation: its outcome, or the reason why it is not covered."""
    if operation.result.ndim == 0 or operation.result.shape[0] != operation.tracked[0].shape[0]:
        return f"torch.{operation.name} mixes the samples of the batch"
    rule = _RULES.get(operation.name, pointwise)
    unknown = operation.kwargs.keys() - {"input", *_KEYWORDS.get(rule, operation.kwargs)}
    if unknown:
        return f"torch.{operation.name} with {', '.join(sorted(unknown))}"
    outcome = rule(operation)
    if isinstance(outcome, str):
        return outcome
    if len(outcome.factors) != len(operation.tracked):
        return f"torch.{operation.name} of more than one activation"
    if not operation.result.is_floating_point():
        return f"torch.{operation.name} to {operation.result.dtype}"
    return outcome


def _largest(operation: Operation) -> Outcome | str:
    """``max`` and ``min``: of two activations, or along a dimension."""
    return extreme(operation) if len(operation.tracked) > 1 else reduced(operation)


_KEYWORDS: dict[Callable[[Operation], Outcome | str], tuple[str, ...]] = {
    same: ("dtype", "device", "copy", "non_blocking", "memory_format", "requires_grad"),
    summed: ("other", "alpha"),
    scaled: ("other",),
    reduced: ("dim", "axis", "keepdim", "keepdims", "dtype", "p", "ord", "correction", "unbiased"),
    _largest: ("dim", "axis", "keepdim", "keepdims", "other"),
    extreme: ("other",),
    clamped: ("min", "max"),
    reshaped: ("shape", "size", "dim", "start_dim", "end_dim"),
    permuted: ("dim0", "dim1", "dims"),
    beside: ("tensors", "dim", "axis"),
    dropped: ("p", "training", "train", "inplace"),
    softened: ("dim", "dtype", "_stacklevel"),
    selected: (),
    linear: ("weight", "bias"),
    multiplied: ("other", "mat2"),
    contracted: ("equation", "operands"),
}
"""Keyword arguments that a rule knows of; those of functions of one number depend on the function."""

_RULES: dict[str, Callable[[Operation], Outcome | str]] = {
    **dict.fromkeys(("clone", "contiguous", "detach", "to", "float", "double", "alias", "requires_grad"), same),
    **dict.fromkeys(("neg", "negative", "__neg__"), same),
    **dict.fromkeys(("add", "sub", "subtract", "rsub", "__add__", "__radd__", "__iadd__"), summed),
    **dict.fromkeys(("__sub__", "__rsub__", "__isub__"), summed),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__", "__imul__", *DIVISIONS), scaled),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "norm", "vector_norm", "linalg_vector_norm", "logsumexp", "std"), reduced
    ),
    **dict.fromkeys(("max", "min"), _largest),
    **dict.fromkeys(("maximum", "minimum"), extreme),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), clamped),
    **dict.fromkeys(("flatten", "reshape", "view", "squeeze", "unsqueeze", "view_as", "reshape_as"), reshaped),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "flip"), permuted),
    **dict.fromkeys(("cat", "concat", "concatenate"), beside),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), dropped),
    **dict.fromkeys(("softmax", "log_softmax"), softened),
    **dict.fromkeys(("matmul", "mm", "__matmul__", "__rmatmul__"), multiplied),
    "einsum": contracted,
    "linear": linear,
    "__getitem__": selected,
}
