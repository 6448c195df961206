"""Projected training: dense weights that an optimiser's post-step hook keeps in the open levels."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from escnn_soft._checks import instance
from escnn_soft.bounds import Certificate
from escnn_soft.convert.exchange import become, structural_copy
from escnn_soft.dial import Dial, Graded, Held, Policy, SoftModule, as_softness
from escnn_soft.errors import ArgumentError, FieldTypeError, SoftnessError, shown
from escnn_soft.grading import SubgroupId, WeightSpectrum
from escnn_soft.layers import SoftLayer

__all__ = ["ProjectedLayer", "project_after_step", "projected"]

AnyModule = TypeVar("AnyModule", bound=Module)


class ProjectedLayer(SoftModule, EquivariantModule):
    """A plain layer between fields whose weights are to stay in the levels that a soft layer opens.

    Its forward pass is the plain layer's; :func:`project_after_step` does the rest. Made by :func:`projected`. Its
    softness says what updates may do: weights follow a dial that is turned at the next step of the optimiser, and
    :func:`certificate` tells what they are until then.

    Attributes:
        dense: the plain torch layer, with an ordinary ``weight`` and ``bias``.

    Args:
        soft: the layer to take the kernel, types and softness from.

    Raises:
        ArgumentError: if its weights are on the meta device.
        SoftnessError: if its softness depends on the weights (``Budget``, ``Learned``).
    """

    _means_softness = False

    def __init__(self, soft: SoftLayer) -> None:
        super().__init__()
        training, weights = soft.training, soft.weights
        if weights.is_meta:
            remedy = "Load its state first: the plain layer begins with its kernel."
            raise ArgumentError("soft", "weights on the meta device", "a layer whose weights have values", remedy)
        self._forget()
        like = weights.device, weights.dtype
        self._hold(*(Dial(d.graded, Graded(0.0), *like, held=Held.GIVEN, anchored=d.anchored) for d in soft._dials))
        self.softness = soft.softness
        self.in_type, self.out_type = soft.in_type, soft.out_type
        self.dense = soft.export()
        soft.train(training)
        biases = [p for p in (soft.bias, soft.soft_bias) if p is not None]
        self.dense.requires_grad_(weights.requires_grad)
        if self.dense.bias is not None:
            self.dense.bias.requires_grad_(any(p.requires_grad for p in biases))
        self.train(training)
        self._soft = (soft,)  # in a tuple: its parameters are not this module's

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy of a softness; ``SoftnessError`` if it depends on the weights (``Budget``, ``Learned``)."""
        policy = super().accepted(softness)
        if policy.learned or policy.bounded:
            remedy = "Train the soft layer itself, or use a float or Cutoff."
            raise SoftnessError(
                "softness", as_softness(policy), "a softness that does not depend on the weights", remedy
            )
        return policy

    @property
    def chain(self) -> tuple[SubgroupId, ...] | None:
        """Subgroups by which the dial is graded, as the soft layer had them."""
        return self._soft[0].chain

    @property
    def rank(self) -> int | None:
        """That of the soft layer; the plain one's weights have none."""
        return self._soft[0].rank

    @property
    def soft_kind(self) -> str:
        """Name of the class of the soft layer it stands for."""
        return self._soft[0].kind

    @property
    def fields(self) -> str:
        """Its types in words."""
        return self._soft[0].fields

    @property
    def projecting(self) -> bool:
        """Whether the dial leaves what it allows as it is, so that weights are brought back into a set after each step.

        Else, with gains between 0 and 1, updates are weighed level by level.
        """
        limited = self._dials[0].policy.balanced
        return limited or all(bool(((f == 0) | (f == 1)).all()) for f in self._factors())

    _squared: list[Tensor] | None = None

    def _factors(self) -> list[Tensor]:
        """Squared gains: what every update of the weight, and of the bias, is multiplied by, level by level."""
        if self._squared is None:
            self._squared = [dial.static.square() for dial in self._dials]
        return self._squared

    def _forget(self) -> None:
        self._squared = None

    def allowed(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A weight (out, in, *kernel) and bias, brought into the set that the dial allows."""
        soft, dial = self._soft[0], self._dials[0]
        graded = soft._as_graded(weight)
        if bias is not None and len(self._dials) > 1:
            bias = self._dials[1].filtered(bias, None, self._dials[1].beside(dial, graded))
        return soft._as_kernel(dial.filtered(graded, None)), bias

    def weighed(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Updates of a weight (out, in, *kernel) and bias, each level multiplied by the square of its gain."""
        soft, factors = self._soft[0], self._factors()
        graded = self._dials[0].here.filtered(soft._as_graded(weight), factors[0])
        if bias is not None and len(factors) > 1:
            bias = self._dials[1].here.filtered(bias, factors[1])
        return soft._as_kernel(graded), bias

    def bound(self, element: Any = None) -> float:
        """As of a soft layer, for the weights after the next step: they follow a dial that is turned only then."""
        return super().bound(element)

    def _in_use(self) -> list[Tensor]:
        return []  # nothing changes before the next step

    def _stand_for(self, used: list[Tensor]) -> None:
        pass

    def spectrum(self) -> WeightSpectrum:
        """How the layer's weights spread over the levels, in the order of the dial."""
        tensors = [self._soft[0]._as_graded(self.dense.weight), *([] if self.dense.bias is None else [self.dense.bias])]
        return WeightSpectrum(*(d.spectrum(t, d.static) for d, t in zip(self._dials, tensors, strict=True)))

    def certificate(self) -> Certificate:
        """The equivariance error of the layer's weights, for every element of the group."""
        with torch.no_grad():
            return self._soft[0]._certify(self.dense.weight, self.dense.bias)

    def hardened(self) -> EquivariantModule:
        """escnn's layer with the equivariant part of the weights, and Parameters of its own."""
        soft = copy.deepcopy(self._soft[0])
        soft._become_dense(self.dense, strictly=True)
        return soft.hardened()

    def _apply(self, fn: Any, recurse: bool = True) -> ProjectedLayer:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for dial in self._dials:
            dial.to(self.dense.weight.device, self.dense.weight.dtype)
        self._forget()
        return self

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Apply the plain layer to a field of type ``in_type``; ``FieldTypeError`` for any other."""
        if input.type != self.in_type:
            remedy = "Wrap the tensor as layer.in_type(tensor), or connect layers of matching types."
            raise FieldTypeError("input.type", input.type, f"a GeometricTensor of type {shown(self.in_type)}", remedy)
        return GeometricTensor(self.dense(input.tensor), self.out_type)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (batch, channels, *sizes) of the output for an input of a given shape."""
        return self._soft[0].evaluate_output_shape(input_shape)

    def export(self) -> Module:
        """The plain layer, in evaluation mode."""
        return self.dense.eval()


def projected(model: AnyModule, *, inplace: bool = False) -> AnyModule:
    """Exchange the soft layers of a model for plain ones with the same kernels, to be trained by projection.

    Args:
        model: a model with soft layers.
        inplace: whether to change the model itself or to return a copy, which shares the other layers' Parameters.

    Returns:
        The model; each soft layer is a :class:`ProjectedLayer` with Parameters of its own.

    Raises:
        ArgumentError: if there is no soft layer.
        SoftnessError: if a softness depends on the weights (``Budget``, ``Learned``).

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import Cutoff, SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> model = projected(SoftR2Conv(field, field, kernel_size=3, softness=Cutoff(1.0)))
        >>> model.dense
        Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    layers = [name for name, module in model.named_modules() if isinstance(module, SoftLayer)]
    if not layers:
        remedy = "Use soften first; plain weights with a filter and matrix layers are trained as they are."
        raise ArgumentError("model", model, "a model with soft layers of escnn's", remedy)
    model = model if inplace else structural_copy(model)
    become_projected([soft for name in layers if isinstance(soft := model.get_submodule(name), SoftLayer)])
    return model


def become_projected(layers: Iterable[SoftLayer]) -> None:
    """Turn soft layers into plain ones for projected training: all of them, or, if one refuses, none.

    Args:
        layers: the objects that change.
    """
    pairs = []
    for soft in layers:
        twin: Any = object.__new__(type(soft))  # the soft layer moves out of its object, which becomes the plain one
        pairs.append((soft, twin, ProjectedLayer(soft)))
    for soft, twin, plain in pairs:
        twin.__dict__.update(vars(soft))
        plain._soft = (twin,)
        plain.__dict__.update((name, value) for name, value in vars(soft).items() if "hook" in name)
        become(soft, plain)


def project_after_step(model: Module, optimizer: Optimizer) -> RemovableHandle:
    r"""Keep the weights of a model's :class:`ProjectedLayer`\ s in the set that their softness allows.

    * A float and a ``Cutoff`` stand for a set of weights. After each step the weights are brought back into it, so that
      they range over the very set that the soft layer reaches, with its bound. At softness 0 they are escnn's
      equivariant kernels and, on grids that the group acts on, nothing else.
    * ``Exponential`` closes no level: the soft layer reaches every kernel, and so does the plain one. Each step's
      update goes through F = sum over levels of gain^2 * P_level.
      What a gain does is to slow its level down, c being trained in W = gain * c: under SGD, with or without momentum,
      the soft layer's update of W in a level is gain^2 times that of a dense weight, which is what F makes it (exactly,
      where levels are orthonormal: fibre maps, and grids that the group acts on). Adam and its like divide by the size
      of their gradients and reach the same set on another path; so do weights in the equivariant level, where escnn's
      own basis is not orthonormal.

    Args:
        model: a model from :func:`projected`.
        optimizer: the optimiser of its parameters.

    Returns:
        A handle; ``remove()`` ends the projection.

    Raises:
        ArgumentError: if the model has no such layer, or the optimiser does not train its weights.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv, certificate
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> model = projected(SoftR2Conv(field, field, kernel_size=3, softness=0.0))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> handle = project_after_step(model, optimizer)
        >>> model(field(torch.randn(1, 4, 9, 9))).tensor.square().sum().backward()
        >>> optimizer.step()
        >>> certificate(model.dense, field, field).relative.sup < 1e-5
        True
    """
    instance("model", model, Module, "Pass a model from projected(...).")
    instance("optimizer", optimizer, Optimizer, "Pass the torch optimiser of the model's parameters.")
    layers = [module for module in model.modules() if isinstance(module, ProjectedLayer)]
    if not layers:
        remedy = "Make one with projected(soften(model, softness))."
        raise ArgumentError("model", model, "a model with projected layers", remedy)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if any(p.requires_grad and id(p) not in trained for layer in layers for p in layer.dense.parameters()):
        remedy = "Build the optimiser from the parameters of the projected model."
        raise ArgumentError("optimizer", optimizer, "an optimiser of the projected layers' weights", remedy)
    before: dict[int, tuple[Tensor, Tensor | None]] = {}

    @torch.no_grad()
    def remember(*_: Any) -> None:
        for layer in layers:
            if not layer.projecting:
                bias = layer.dense.bias
                before[id(layer)] = layer.dense.weight.clone(), None if bias is None else bias.clone()

    @torch.no_grad()
    def project(*_: Any) -> None:
        for layer in layers:
            weight, bias = layer.dense.weight, layer.dense.bias
            start, start_bias = before.pop(id(layer), (None, None))
            if start is None:
                new, new_bias = layer.allowed(weight, bias)
            else:
                change = None if bias is None or start_bias is None else bias - start_bias
                update, change = layer.weighed(weight - start, change)
                new = start + update
                new_bias = None if change is None or start_bias is None else start_bias + change
            weight.copy_(new)
            if bias is not None and new_bias is not None:
                bias.copy_(new_bias)

    remembering = optimizer.register_step_pre_hook(remember)
    handle = optimizer.register_step_post_hook(project)
    return _Handle(handle, remembering)


class _Handle(RemovableHandle):
    """Removes both hooks."""

    def __init__(self, *handles: RemovableHandle) -> None:
        self.handles = handles

    def remove(self) -> None:
        """End the projection."""
        for handle in self.handles:
            handle.remove()
