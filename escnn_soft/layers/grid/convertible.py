"""Soft convolutions from escnn's and torch's layers, and back."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from escnn.gspaces import GSpace
from escnn.nn import EquivariantModule, FieldType, R3IcoConv, R3IcoConvTransposed
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from escnn_soft._checks import class_words, instance
from escnn_soft.dial import Policy
from escnn_soft.errors import ArgumentError
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, exactly
from escnn_soft.escnn.stored_arguments import has_samples, rings_of
from escnn_soft.functions import Harmonic
from escnn_soft.grading import Chain, SpatialFunction
from escnn_soft.layers.arguments import check_band_limit, check_types, dense_geometry
from escnn_soft.layers.expansion import filled
from escnn_soft.layers.soft import SoftLayer, check_hard

__all__ = ["Convertible"]

_Layer = TypeVar("_Layer", bound="Convertible")


class Convertible(SoftLayer):
    """A soft convolution with a twin in escnn and one in torch.

    Attributes:
        hard_class: escnn's layer.
        plain_class: torch's layer.
    """

    hard_class: ClassVar[type[EquivariantModule]]
    plain_class: ClassVar[type[Any]]
    _harmonics: tuple[SpatialFunction, ...]
    _space_class: ClassVar[type[GSpace]]
    _remedy: ClassVar[str]

    @classmethod
    def from_hard(
        cls: type[_Layer],
        layer: EquivariantModule,
        softness: float | Policy = 0.0,
        *,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        basis_filter: BasisFilter | None = None,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> _Layer:
        """Soften an escnn layer; it computes the same function until its soft part is trained.

        Args:
            layer: the escnn layer; its Parameter objects, mode, device and dtype are kept.
            softness: a float in [0, 1] or a policy.
            frequencies_cutoff: as passed to the layer's constructor, which does not store it.
            basis_filter: likewise.
            chain: subgroups to relax to, as in the constructor.
            rank: number of products that the soft coefficients are sums of, as in the constructor.

        Returns:
            The soft layer.

        Raises:
            ArgumentError: if the layer is not escnn's twin of this class, is soft already, or has another basis, or if
                the chain or the rank is none.

        Example:
            >>> from escnn import gspaces, nn
            >>> from escnn_soft import SoftR2Conv
            >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
            >>> hard = nn.R2Conv(field, field, kernel_size=3)
            >>> SoftR2Conv.from_hard(hard, softness=0.3).weights is hard.weights
            True
        """
        check_hard(layer, cls.hard_class, f"Use from_dense for torch.nn.{cls.plain_class.__name__}.")
        if has_samples(layer) and not issubclass(cls, R3IcoConv | R3IcoConvTransposed):
            raise ArgumentError("layer", layer, f"{class_words(cls.hard_class)} of harmonics", "Use SoftR3IcoConv.")
        soft = cls._like(
            layer, layer.in_type, layer.out_type, frequencies_cutoff,
            bias=layer.bias is not None, basis_filter=basis_filter, softness=softness, chain=chain, rank=rank,
        )  # fmt: skip
        check_band_limit(soft, layer)
        soft._share_parameters(layer)
        return soft

    @classmethod
    def _like(
        cls: type[_Layer],
        layer: EquivariantModule,
        in_type: FieldType,
        out_type: FieldType,
        frequencies_cutoff: FrequenciesCutoff | None,
        **arguments: Any,
    ) -> _Layer:
        """A layer with the geometry and rings of another, soft or hard, and nothing drawn."""
        return cls(
            in_type, out_type, layer.kernel_size, padding=layer.padding, stride=layer.stride, dilation=layer.dilation,
            groups=layer.groups, **rings_of(layer), initialize=False,
            **cls._stored(layer, frequencies_cutoff), **arguments,
        )  # fmt: skip

    def _between(
        self: _Layer, in_type: FieldType, out_type: FieldType, softness: float | Policy, chain: Chain | None
    ) -> _Layer:
        cutoff, basis_filter = exactly(
            (h.radius, h.width, h.frequency) for h in self._harmonics if isinstance(h, Harmonic)
        )
        bias = self._bias_transform is not None
        return self._like(
            self, in_type, out_type, cutoff, bias=bias, basis_filter=basis_filter, softness=softness, chain=chain
        )

    @classmethod
    def _stored(cls, layer: EquivariantModule, frequencies_cutoff: FrequenciesCutoff | None) -> dict[str, Any]:
        """Further arguments that an escnn layer was built with."""
        return {"padding_mode": layer.padding_mode, "frequencies_cutoff": frequencies_cutoff}

    @classmethod
    def from_dense(
        cls: type[_Layer],
        conv: _ConvNd,
        in_type: FieldType,
        out_type: FieldType,
        softness: float | Policy = 1.0,
        *,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> _Layer:
        """Give a plain convolution field types; at softness 1 the result computes the same function, to rounding.

        Args:
            conv: a convolution of torch with equal sides.
            in_type: type of its input; ``conv.in_channels`` channels.
            out_type: type of its output; ``conv.out_channels`` channels.
            softness: a float in [0, 1] or a policy.
            chain: subgroups to relax to, as in the constructor; the part of the kernel that breaks the last is dropped.
            rank: as in the constructor: a warning says how much of the kernel, relative to its norm, is left out.

        Returns:
            The soft layer, with the convolution's device, dtype, mode and ``requires_grad``.

        Raises:
            ArgumentError: if the kernel is not square, or the chain or the rank is none.
            FieldTypeError: if a type has another number of channels.

        Example:
            >>> import torch
            >>> from escnn import gspaces
            >>> from escnn_soft import SoftR2Conv
            >>> space = gspaces.flipRot2dOnR2(4)
            >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
            >>> conv = torch.nn.Conv2d(1, 8, kernel_size=5)
            >>> soft = SoftR2Conv.from_dense(conv, image, hidden)
            >>> bool((soft.expand_parameters()[0] - conv.weight).abs().max() < 1e-5)
            True
        """
        instance("conv", conv, cls.plain_class, "Use from_hard for escnn layers.")
        check_types(in_type, out_type, cls._space_class, cls._remedy)
        kernel_size, padding, dilation = dense_geometry(conv, in_type, out_type)
        soft = cls(
            in_type, out_type, kernel_size, padding=padding, stride=tuple(conv.stride), dilation=dilation,
            groups=conv.groups, bias=conv.bias is not None, initialize=False, softness=softness, chain=chain,
            rank=rank, **cls._plain(conv),
        )  # fmt: skip
        soft._become_dense(conv)
        return soft

    @classmethod
    def _plain(cls, conv: _ConvNd) -> dict[str, Any]:
        """Further arguments that a torch layer was built with, by their names here and there."""
        return {"padding_mode": conv.padding_mode}

    def export(self) -> _ConvNd:
        """The convolution of ``plain_class`` with this geometry that computes the same function, in evaluation mode."""
        self.eval()
        return self.plain_with(self, *self._detached())

    @classmethod
    def plain_with(cls, layer: EquivariantModule, kernel: Tensor, bias: Tensor | None) -> _ConvNd:
        """The convolution of ``plain_class`` with a layer's geometry, soft or hard, and a kernel and bias."""
        further = {name: getattr(layer, name) for name in cls._plain(cls.plain_class(1, 1, 1))}
        conv: _ConvNd = cls.plain_class(
            layer.in_type.size, layer.out_type.size, layer.kernel_size, stride=layer.stride, padding=layer.padding,
            dilation=layer.dilation, groups=layer.groups, bias=bias is not None, device=kernel.device,
            dtype=kernel.dtype, **further,
        )  # fmt: skip
        return filled(conv, kernel, bias).eval()
