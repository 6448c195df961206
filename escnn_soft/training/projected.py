"""Projected training: dense weights that an optimiser's post-step hook keeps in the open levels."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import become, structural_copy
from escnn_soft.errors import ArgumentError, FieldTypeError, SoftnessError
from escnn_soft.nn import SoftLayer
from escnn_soft.policies import Budget, Learned
from escnn_soft.training.level_filter import LevelFilter

__all__ = ["ProjectedLayer", "project_after_step", "projected"]

AnyModule = TypeVar("AnyModule", bound=Module)


class ProjectedLayer(EquivariantModule):
    """A plain layer between fields whose weights are to stay in the levels that a soft layer opens.

    Its forward pass is the plain layer's; :func:`project_after_step` does the rest. Made by :func:`projected`.

    Attributes:
        dense: the plain torch layer, with an ordinary ``weight`` and ``bias``.

    Args:
        soft: the layer to take the kernel, types and softness from.

    Raises:
        SoftnessError: if its softness depends on the weights (``Budget``, ``Learned``).
    """

    def __init__(self, soft: SoftLayer) -> None:
        super().__init__()
        if isinstance(soft._policy, Budget | Learned):
            remedy = "Train the soft layer itself, or use a float or Cutoff."
            raise SoftnessError("softness", soft.softness, "a softness that does not depend on the weights", remedy)
        self.in_type, self.out_type, self.softness = soft.in_type, soft.out_type, soft.softness
        training, weights = soft.training, soft.weights
        self.dense = soft.export()
        soft.train(training)
        self.dense.requires_grad_(weights.requires_grad)
        self.train(training)
        self._soft = (soft,)  # in a tuple: its parameters are not this module's
        self._filters: tuple[LevelFilter, LevelFilter | None] | None = None
        self._like: tuple[torch.device, torch.dtype] | None = None

    def filters(self) -> tuple[LevelFilter, LevelFilter | None]:
        """What every update of the weight and of the bias goes through; factors are squared gains."""
        weight = self.dense.weight
        if self._filters is None or self._like != (weight.device, weight.dtype):
            soft = self._soft[0]
            bias = soft._bias_transform
            self._filters = (
                _filter(soft._transform, soft._gains.static, weight),
                None if bias is None or soft._bias_gains is None else _filter(bias, soft._bias_gains.static, weight),
            )
            self._like = (weight.device, weight.dtype)
        return self._filters

    def filtered(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A weight and bias (or updates of them), each level multiplied by the square of its gain.

        Args:
            weight: in the plain layer's shape.  # shape: (out, in, *kernel)
            bias: likewise, or None.  # shape: (out,)

        Returns:
            Both, filtered.
        """
        soft, (kernel, column) = self._soft[0], self.filters()
        weight = soft._as_kernel(kernel(soft._as_graded(weight)), weight.shape)
        return weight, bias if bias is None or column is None else column(bias[:, None, None]).flatten()

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Apply the plain layer.

        Args:
            input: a field of type ``in_type``.

        Returns:
            A field of type ``out_type``.

        Raises:
            FieldTypeError: if the input's type is not ``in_type``.
        """
        if input.type != self.in_type:
            remedy = "Wrap the tensor as layer.in_type(tensor), or connect layers of matching types."
            raise FieldTypeError("input.type", input.type, f"a GeometricTensor of type {self.in_type}", remedy)
        return GeometricTensor(self.dense(input.tensor), self.out_type)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for an input of a given shape.

        Args:
            input_shape: (batch, channels, *sizes).

        Returns:
            (batch, channels, *sizes) of the output.
        """
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
        raise ArgumentError("model", type(model).__name__, "a model with soft layers", "Use soften first.")
    model = model if inplace else structural_copy(model)
    pairs = []
    for name in layers:
        soft = model.get_submodule(name)
        assert isinstance(soft, SoftLayer)
        twin: Any = object.__new__(type(soft))  # the soft layer moves out of its object, which becomes the plain one
        pairs.append((soft, twin, ProjectedLayer(soft)))
    for soft, twin, plain in pairs:
        twin.__dict__.update(vars(soft))
        plain._soft = (twin,)
        plain.__dict__.update((name, value) for name, value in vars(soft).items() if "hook" in name)
        become(soft, plain)
    return model


def project_after_step(model: Module, optimizer: Optimizer) -> RemovableHandle:
    r"""Keep the weights of a model's :class:`ProjectedLayer`\ s in the open levels, whatever the optimiser does.

    After each step, the step's update goes through F = sum over levels of gain^2 * P_level:

    * Where every gain is 0 or 1 (``Cutoff``, softness 0 and 1) F is a projection, and the weights range over the very
      set that the soft layer reaches: the sum of the open levels. At softness 0 they are escnn's equivariant kernels
      and, on grids that the group acts on, nothing else.
    * Gains between 0 and 1 (a float) close no level: the soft layer reaches every kernel, and so does the plain one.
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
        raise ArgumentError("model", type(model).__name__, "a model with projected layers", remedy)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if any(p.requires_grad and id(p) not in trained for layer in layers for p in layer.dense.parameters()):
        remedy = "Build the optimiser from the parameters of the projected model."
        raise ArgumentError("optimizer", optimizer, "an optimiser of the projected layers' weights", remedy)
    before: dict[int, tuple[Tensor, Tensor | None]] = {}

    @torch.no_grad()
    def remember(*_: Any) -> None:
        for layer in layers:
            kernel, column = layer.filters()
            if not kernel.projection or (column is not None and not column.projection):
                bias = layer.dense.bias
                before[id(layer)] = layer.dense.weight.clone(), None if bias is None else bias.clone()

    @torch.no_grad()
    def project(*_: Any) -> None:
        for layer in layers:
            weight, bias = layer.dense.weight, layer.dense.bias
            start, start_bias = before.pop(id(layer), (None, None))
            update = weight if start is None else weight - start
            bias_update = bias if bias is None or start_bias is None else bias - start_bias
            update, bias_update = layer.filtered(update, bias_update)
            weight.copy_(update if start is None else start + update)
            if bias is not None and bias_update is not None:
                bias.copy_(bias_update if start_bias is None else start_bias + bias_update)

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


def _filter(transform: Any, gains: Tensor, like: Tensor) -> LevelFilter:
    """The filter of a kernel or bias; ``gains`` are those of the levels outside escnn's basis."""
    ones = gains.new_ones(len(transform.levels) - len(gains))
    return LevelFilter(transform, torch.cat([ones, gains]).double().cpu().square(), like)
