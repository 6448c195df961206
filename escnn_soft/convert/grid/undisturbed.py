"""Running a model as it is at softness 0, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Module, Parameter
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from escnn_soft.convert.selection import names_of
from escnn_soft.dial import DialHolder, evaluated

__all__ = ["undisturbed"]

_ASLEEP = 1e-3
"""Largest entry of a Parameter that hides what it multiplies: layer scales begin at 1e-4 to 1e-6, heads at 0."""


@contextmanager
def undisturbed(model: Module, device: torch.device) -> Iterator[tuple[str, ...]]:
    """Evaluation at softness 0 without gradient, in which Parameters that hide what they multiply are awake.

    Mode, softness, buffers, Parameters and torch's random numbers are afterwards what they were. Nothing is copied but
    the buffers: a Parameter that the model itself writes to stays as it was written.

    Args:
        model: the model.
        device: where it draws its random numbers.

    Yields:
        Full names of the Parameters that are zero, or close to it, and for which noise stands inside.
    """
    elsewhere = [] if device.type == "cpu" else [device]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(elsewhere, device_type=device.type if elsewhere else "cuda"))
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # nothing is compiled for a few runs
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluated(model))
        for module in model.modules():
            if isinstance(module, DialHolder):
                stack.enter_context(module.at_zero())
        stack.enter_context(_same_buffers(model))
        yield stack.enter_context(_awake(model))


@contextmanager
def _same_buffers(model: Module) -> Iterator[None]:
    """Buffers are the same objects afterwards, with the same content."""
    # a scripted module has no dictionary of its own in which another buffer could be put
    plain = [module for module in model.modules() if not isinstance(module, ScriptModule)]
    held = [(module._buffers, dict(module._buffers)) for module in plain]
    contents = [(each, each.clone()) for each in model.buffers() if _has_data(each)]
    try:
        yield
    finally:
        for buffers, own in held:
            buffers.clear()
            buffers.update(own)
        for each, content in contents:
            if not torch.equal(each, content):
                each.copy_(content)


@contextmanager
def _awake(model: Module) -> Iterator[tuple[str, ...]]:
    """Positive noise in the place of Parameters that are zero, or close to it; biases hide nothing."""
    asleep = _asleep(model)
    generator = torch.Generator().manual_seed(0)
    try:
        for owner, tensor, parameter in asleep.values():
            noise = 0.2 * torch.rand(parameter.shape, generator=generator)
            owner._parameters[tensor] = Parameter(noise.to(parameter), requires_grad=parameter.requires_grad)
        yield tuple(asleep)
    finally:
        for owner, tensor, parameter in asleep.values():
            owner._parameters[tensor] = parameter


def _asleep(model: Module) -> dict[str, tuple[Module, str, Parameter]]:
    """The Parameters that hide what they multiply, but for those that a dial or a field type rules."""
    ruled = DialHolder | EquivariantModule | ParametrizationList
    found = {}
    for module, names in names_of(model, lambda each: not isinstance(each, ruled), None).items():
        for tensor, parameter in module._parameters.items():
            if parameter is None or tensor.endswith("bias") or is_parametrized(module, tensor):
                continue
            if _hides(parameter):
                found[".".join(filter(None, (names[0], tensor)))] = module, tensor, parameter
    return found


def _hides(parameter: Tensor) -> bool:
    if not (_has_data(parameter) and parameter.is_floating_point() and parameter.numel()):
        return False
    first = parameter.flatten()[:1]  # one entry tells most of them apart
    return bool(first.abs().max() <= _ASLEEP) and bool(parameter.abs().max() <= _ASLEEP)


def _has_data(tensor: Tensor) -> bool:
    """Whether there are entries to compare: lazy and abstract tensors have none, and sparse ones are not compared."""
    return not (is_lazy(tensor) or tensor.is_meta) and tensor.layout is torch.strided
