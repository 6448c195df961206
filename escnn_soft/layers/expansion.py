"""Layers that expand their parameters into a kernel, and keep it in evaluation mode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor
from torch.nn import Module, Parameter

from escnn_soft.dial import Kept, may_keep
from escnn_soft.errors import DtypeError, FieldTypeError, shown

__all__ = ["Expanded", "ExpandedLayer", "filled"]

Dense = TypeVar("Dense", bound=Any)
_Module = TypeVar("_Module", bound="Expanded")


class Expanded(Module):
    """A module that applies a kernel and a bias that its parameters stand for.

    In training mode they are expanded at each forward pass; in evaluation mode they are kept, detached, until one of
    the tensors that they are expanded from changes, as :class:`Kept` sees it.
    """

    _kernel_name: str
    """Attribute of the expanded kernel."""

    expanded_bias: Tensor | None
    expand_parameters: Callable[[], tuple[Tensor, Tensor | None]]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """escnn's attributes have no types; torch would call each of them a tensor or a module."""

    def _forget(self) -> None:
        """Drop what is kept."""
        self.__dict__[self._kernel_name] = None
        self.__dict__["expanded_bias"] = None
        self._kept = Kept[tuple[Tensor, Tensor | None]]()

    def _current_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias for a forward pass: expanded in training, kept in evaluation."""
        if self.training:
            return self.expand_parameters()
        if torch.compiler.is_compiling():
            with torch.no_grad():
                return self.expand_parameters()
        kept = self._refreshed()
        return self.expand_parameters() if kept is None else kept

    def _watched(self) -> Iterator[Tensor]:
        """The tensors that are expanded: the module's own, Parameters or not, and those that are parametrized."""
        yield from (p for p in self._parameters.values() if p is not None)
        yield from (b for b in self._buffers.values() if b is not None)
        kept = (self._kernel_name, "expanded_bias")
        public = ((name, value) for name, value in vars(self).items() if name[0] != "_")  # half as many to look at
        yield from (value for name, value in public if isinstance(value, Tensor) and name not in kept)
        computed: Any = self._modules.get("parametrizations", ())
        yield from (getattr(self, name).detach() for name in computed)

    def _basis(self) -> Iterator[Tensor]:
        """That in which they are expanded."""
        expansion = self._modules.get("_basisexpansion")
        return iter(()) if expansion is None else expansion.buffers()

    def _sharded(self) -> bool:
        """Whether this process holds only a part of the parameters, or none: under FSDP2, outside ``forward``."""
        return any(p.is_meta or hasattr(p, "full_tensor") for p in self.parameters(recurse=False))

    def train(self: _Module, mode: bool = True) -> _Module:
        """Switch between training (expand at each pass) and evaluation (keep the detached kernel)."""
        # Past escnn's own ``train``, which makes the kernel part of the state, with its graph attached.
        Module.train(self, mode)
        self._forget()
        if not (mode or self._sharded()):  # else at the first forward pass
            self._refreshed()
        return self

    def _refreshed(self) -> tuple[Tensor, Tensor | None] | None:
        """What is kept, brought up to date; None where nothing may be kept."""
        watched, basis = list(self._watched()), list(self._basis())
        if not may_keep([*watched, *basis]):
            return None
        policies = tuple(dial.policy for dial in self._dials)  # a shallow copy has the same dials
        kernel, bias = self._kept(watched, self._detached, settings=policies, constants=basis)
        if self.__dict__[self._kernel_name] is not kernel:
            self.__dict__.update({self._kernel_name: kernel, "expanded_bias": bias})
        return kernel, bias

    @torch.no_grad()
    def _detached(self) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias as they are now, without a graph."""
        kernel, bias = self.expand_parameters()
        return kernel.detach(), None if bias is None else bias.detach()


def filled(dense: Dense, kernel: Tensor, bias: Tensor | None) -> Dense:
    """A plain layer with this kernel and bias written into its Parameters."""
    with torch.no_grad():
        dense.weight.copy_(kernel)
        if dense.bias is not None and bias is not None:
            dense.bias.copy_(bias)
    return dense


class ExpandedLayer(Expanded, EquivariantModule):
    """The same between fields, in the place of an escnn layer."""

    weights: Parameter

    def _drop_buffers(self) -> None:
        """Make a cache of what escnn registers as buffers, which AveragedModel would pair across the modes; once."""
        for name in (self._kernel_name, "expanded_bias"):
            self._buffers.pop(name, None)
        self._forget()

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        """Apply the layer.

        Args:
            input: a field of type ``in_type``, in the layer's dtype unless autocast is on.

        Returns:
            A field of type ``out_type``.

        Raises:
            FieldTypeError: if the input's type is not ``in_type``.
            DtypeError: if the input's dtype or device is not the layer's.
        """
        self._check_field(input)
        kernel, bias = self._current_parameters()
        return GeometricTensor(self._compute(input.tensor, kernel, bias), self.out_type)

    def _check_field(self, input: object) -> None:
        """Refuse what is not a field of type ``in_type`` in the layer's dtype and on its device."""
        if not isinstance(input, GeometricTensor) or input.type != self.in_type:
            name, got = ("input.type", input.type) if isinstance(input, GeometricTensor) else ("input", input)
            remedy = "Wrap the tensor as layer.in_type(tensor), or connect layers of matching types."
            raise FieldTypeError(name, got, f"a GeometricTensor of type {shown(self.in_type)}", remedy)
        x, w = input.tensor, self.weights
        if x.device != w.device or (x.dtype != w.dtype and not torch.is_autocast_enabled(x.device.type)):
            expected = f"an input with dtype {w.dtype} on {w.device}, like the layer's weights"
            remedy = "Cast one of them: input.to(...) or layer.to(...)."
            raise DtypeError("input", f"{x.dtype} on {x.device}", expected, remedy)

    @abstractmethod
    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Apply an expanded kernel and bias to a tensor."""
