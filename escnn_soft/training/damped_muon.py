"""Muon for layers with a softness, with damping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from escnn_soft._checks import number
from escnn_soft.errors import ArgumentError
from escnn_soft.training.elementwise import elementwise_step
from escnn_soft.training.kernel_map import CoefficientMap, DenseMap, KernelMap, bases
from escnn_soft.training.layer_optimizer import LayerOptimizer, is_share
from escnn_soft.training.layer_parameters import LayerParameters
from escnn_soft.training.local_tensors import sharded, wide, wide_like, write_back
from escnn_soft.training.orthogonal import damped_orthogonal, largest_squared

__all__ = ["DampedMuon"]

_RMS = 0.2
"""Root mean square of an entry of a step, in units of lr: about Adam's."""
_FORGETTING = 0.99
"""How fast the largest squared singular value so far is forgotten."""


class DampedMuon(LayerOptimizer):
    r"""Muon whose step commutes with the group, and which is slow to leave a symmetry that the data have.

    Muon makes the singular values of a step equal. Here the matrix is the kernel, (out, in * S), that a layer's
    coefficients stand for, so that both sides are turned by orthogonal matrices when the group acts, with which the
    step commutes; and small singular values, which rounding has too, are damped:

        m <- mu m + (1 - mu) g,      M = kernel of (mu m + (1 - mu) g)                            Nesterov's momentum
        O = (M M^T + rho^2 ref 1)^(-1/2) M,      ref = running largest of the squared singular values of M
        w <- w - lr * 0.2 sqrt(max(out, in * S)) * coefficients of O

    Undamped, singular values of rounding would become those of the gradient. Damped, what is rounding in M is at most
    1 / rho times as large in O, relative to the largest, and a layer on data that have the symmetry keeps it for
    hundreds or thousands of steps. Not for ever: steps do not shrink with the gradient, so that where breaking the
    symmetry lowers the loss it grows at last. :class:`LayerwiseAdam` is the one that keeps it.

    Kernels are made and read by the layer's own bases and the gains of its softness, see
    :class:`~escnn_soft.training.kernel_map.CoefficientMap`. That makes it by far the stiffest dial: a level that
    s^sigma damps a little moves much less, and below s = 0.1 or so a layer stays practically strict. Choose s by
    accuracy against error. A dense weight (of matrix layers, of softened plain ones) is its own matrix. All is done in
    single precision or wider, by matrix products alone: leave TF32 off. Biases move as in :class:`LayerwiseAdam`, at
    ``layer_rate * lr``, and so do softened tables; parameters of no layer with a softness get ordinary Adam.

    ``torch.optim.Muon`` is neither: it works in bfloat16, on parameters with two axes, and has no damping.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the factor 0.2
    sqrt(max(out, in)) is that of Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), by which lr is
    about that of Adam.

    Args:
        model: a model, or groups from :func:`layer_group` with options of their own.
        lr: as of Adam.
        momentum: mu.
        damping: rho; relative to the largest singular value.
        betas: of Adam, for biases and all other parameters.
        eps: likewise.
        weight_decay: decoupled.
        layer_rate: as in :class:`LayerwiseAdam`, for biases and tables.

    Raises:
        ArgumentError: if an option is outside its domain, the parameters come without their layers, or (at the first
            step) kernels are sharded.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=1.0)
        >>> optimizer = DampedMuon(layer, lr=1e-3)
        >>> layer(field(torch.ones(1, 4, 9, 9))).tensor.square().sum().backward()
        >>> optimizer.step()
        >>> layer.certificate().relative.sup < 1e-5  # constant images say nothing about breaking
        True
    """

    def __init__(
        self,
        model: Module | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.9,
        damping: float = 0.03,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        layer_rate: float = 2.0,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "damping": damping, "betas": betas, "eps": eps}
        self._maps: dict[int, tuple[tuple[Tensor, ...], list[KernelMap]]] = {}
        super().__init__(model, {**options, "weight_decay": weight_decay, "layer_rate": layer_rate})

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        remedy = "It is relative to the largest singular value; 0.03 is a good one."
        number("damping", options["damping"], minimum=1e-4, maximum=1e4, error=ArgumentError, remedy=remedy)
        if not is_share(options["momentum"]):
            remedy = "It is the share of the past in a running mean."
            raise ArgumentError("momentum", options["momentum"], "a number in [0, 1)", remedy)

    def _update(self, index: int, group: dict[str, Any], layers: Sequence[LayerParameters]) -> None:
        maps = [m for layer in layers for m in self._kernels(layer)]
        matrices = {id(p) for m in maps for p in m.parameters}
        layerwise = {id(p) for layer in layers for p in layer.all}
        if layerwise:
            self._layerwise(index, group, layers, lambda p: id(p) not in matrices)
        for kernel in maps:
            self._orthogonalised(kernel, group)
        rest = [p for p in group["params"] if p.grad is not None and id(p) not in layerwise]
        elementwise_step(rest, self.state, group)

    def _orthogonalised(self, kernel: KernelMap, group: dict[str, Any]) -> None:
        """Move the parameters of one kernel."""
        mu, damping, parameters = group["momentum"], group["damping"], kernel.parameters
        gradients = wide(p.grad for p in parameters if p.grad is not None)
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = wide_like(p)
        averages = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - mu)
        ahead = torch._foreach_lerp(gradients, averages, mu)
        state = self.state[parameters[0]]
        if "reference" not in state:
            state["reference"] = gradients[0].new_zeros(())

        def rule(matrix: Tensor) -> Tensor:
            gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
            state["reference"].mul_(_FORGETTING).copy_(torch.maximum(state["reference"], largest_squared(gram)))
            return damped_orthogonal(matrix, state["reference"], damping)

        with torch.autocast(parameters[0].device.type, enabled=False):
            steps = kernel.applied(rule, ahead)
        copies = wide(parameters)
        if group["weight_decay"] != 0:
            torch._foreach_mul_(copies, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_sub_(copies, torch._foreach_mul(steps, group["lr"] * (_RMS * max(kernel.shape) ** 0.5)))
        write_back(parameters, copies)

    def _kernels(self, layer: LayerParameters) -> list[KernelMap]:
        """The kernels of a layer of which something has a gradient; kept until that, or its basis, changes."""
        free = tuple(p for p in layer.weights if p.grad is not None)
        watched = (*free, *(basis for soft in layer.layers for basis in bases(soft)))
        before, maps = self._maps.get(id(layer), ((), []))
        if len(before) != len(watched) or any(a is not b for a, b in zip(before, watched, strict=True)):
            maps = list(_kernel_maps(layer, list(free)))
            self._maps[id(layer)] = watched, maps
        return maps

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold."""
        return {**super().__getstate__(), "_maps": {}}


def _kernel_maps(layer: LayerParameters, free: list[Parameter]) -> Iterator[KernelMap]:
    """The kernels that some of a layer's weights make up."""
    if any(sharded(p) for p in free):
        remedy = "Use LayerwiseAdam with FSDP2, or DistributedDataParallel."
        raise ArgumentError("parameters", "sharded", "whole kernels", remedy)
    for soft in layer.layers:
        own = _pop(free, (soft.weights, soft.soft_weights))
        if own:
            yield CoefficientMap.of(soft, own)
    for weight, dial in layer.matrices:
        if _pop(free, (weight,)):
            yield DenseMap(weight, dial)


def _pop(free: list[Parameter], wanted: Sequence[Any]) -> tuple[Parameter, ...]:
    """Those of some parameters that are still free, which they are not from then on."""
    found = tuple(p for p in wanted if any(p is other for other in free))
    free[:] = [p for p in free if not any(p is other for other in found)]
    return found
