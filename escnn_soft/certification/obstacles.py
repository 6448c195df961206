"""Why a tensor of a network cannot be followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from escnn.nn import GeometricTensor
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Module

from escnn_soft.certification.fact import Fact
from escnn_soft.certification.nested import tensor_of

__all__ = ["merged", "mismatch", "scripted", "unfit"]


def mismatch(x: GeometricTensor | Tensor, fact: Fact | None) -> str | None:
    """Why a field is not what the network's input was followed to."""
    if tensor_of(x).ndim < 2:
        return "its input has no dimension beside that of the samples"
    if fact is None or not isinstance(x, GeometricTensor):
        return None
    if x.coords is not None:
        return "point clouds with coordinates are not covered"
    if not fact.action.agrees(x.type):
        return "its input was given a field type that transforms differently from what was computed"
    return None


def unfit(out: Tensor, given: Sequence[Tensor]) -> str | None:
    """Why a tensor that was computed from others cannot be followed, whatever the rule says."""
    if out.ndim == 0 or len(out) != len(given[0]):
        return "it mixes the samples of the batch"
    if out.dtype == torch.float16 and any(x.dtype != torch.float16 for x in given):
        return "it casts to float16, where small numbers vanish"
    return None if bool(torch.isfinite(out).all()) else "it returns infinities or NaN"


def merged(gaps: Iterable[tuple[tuple[str, str], ...]]) -> tuple[tuple[str, str], ...]:
    """All gaps, each once."""
    return tuple(dict.fromkeys(gap for some in gaps for gap in some))


def scripted(model: Module) -> list[tuple[str, str]]:
    """The modules of TorchScript's, by name, with why what they compute cannot be followed."""
    names = [name for name, module in model.named_modules() if isinstance(module, ScriptModule)]
    outermost = [name for name in names if not name or name.rpartition(".")[0] not in names]
    return [(name or type(model).__name__, "it is scripted: certify the model before scripting") for name in outermost]
