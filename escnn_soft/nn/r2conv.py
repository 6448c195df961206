"""The soft planar convolution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType, R2Conv
from torch import Tensor
from torch.nn.functional import conv2d, pad

from escnn_soft._checks import instance, integer
from escnn_soft.bounds import Certificate
from escnn_soft.errors import ArgumentError, BasisFilterError, EmptyBasisError
from escnn_soft.nn.arguments import check_geometry, check_groups, check_types, dense_geometry
from escnn_soft.nn.certificate import convolution_certificate
from escnn_soft.nn.equivariance_check import central_difference, smooth_image
from escnn_soft.nn.execution import Geometry
from escnn_soft.nn.initialization import generalized_he_init
from escnn_soft.nn.rings import BasisFilter, FrequenciesCutoff, kept_harmonics
from escnn_soft.nn.soft import SoftLayer
from escnn_soft.policies import Policy, as_policy
from escnn_soft.spectrum import WeightTransform, kernel_transform

__all__ = ["SoftR2Conv"]

_REMEDY = "SoftR2Conv acts on the plane: use gspaces.rot2dOnR2, flipRot2dOnR2, ..."


class SoftR2Conv(SoftLayer, R2Conv):
    r"""Planar convolution between feature fields, from exactly steerable to unconstrained.

    The kernel is escnn's plus everything it leaves out, level by level:

        K = K_escnn(weights) + sum over levels of gain(sigma_level) * K_level(soft_weights)

    A level holds all kernels that transform under one irrep of (g . K)(x) = rho_out(g) K(g^-1 x) rho_in(g)^-1. At
    softness 0 every gain but the equivariant one is 0 and the layer *is* ``escnn.nn.R2Conv``; at softness 1 every
    gain is 1 and it reaches every ``torch.nn.Conv2d``. The soft part starts at zero, so a fresh layer is equivariant
    at any softness, until it is trained.

    Drop-in: the same arguments in the same order as ``escnn.nn.R2Conv``, whose checkpoints load (in either mode).
    ``softness`` is a setting, like a dropout rate, and not part of the ``state_dict``.

    In evaluation mode the expanded kernel is kept and detached: gradients reach the input, not the parameters.

    In float64 the layer removes the float32 rounding of escnn's basis: filters differ from ``R2Conv``'s by about 1e-7,
    relative, and are equivariant to 1e-14.

    Source: Weiler and Cesa (arXiv 1911.08251) for the equivariant part; Rahman et al., "Tunable Soft Equivariance with
    Guarantees" (arXiv 2603.26657), for the idea of a dial on the violation.

    Args:
        in_type: type of the input field.
        out_type: type of the output field, on the same gspace.
        kernel_size: pixels along a side of the kernel.
        padding: zeros (or what ``padding_mode`` says) on each side; an int or one per axis.
        stride: step of the kernel.
        dilation: spacing of the kernel's pixels.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        groups: blocks of fields that are convolved separately.
        bias: whether to add a bias, with a soft part of its own.
        sigma: widths of the rings.
        frequencies_cutoff: highest frequency for each radius.
        rings: radii of the rings.
        maximum_offset: ignored by escnn 1.0.11, with a warning here.
        recompute: build escnn's basis anew instead of using its cache.
        basis_filter: which rings and frequencies to keep, from their attributes.
        initialize: whether to draw ``weights`` by generalised He initialisation.
        softness: a float in [0, 1] or a policy.

    Raises:
        GSpaceError: if the types do not live on the plane.
        FieldTypeError: if the types do not fit each other or ``groups``.
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy.
        EmptyBasisError: if there is no equivariant kernel between the types.
        AliasedBasisError: if the sampled harmonics are linearly dependent on the grid.
        BasisFilterError: if the basis filter looks at more than rings and frequencies.
        ArgumentError: if a size is not a positive integer.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(*[space.regular_repr] * 2)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, padding=1, softness=0.5)
        >>> layer(field(torch.zeros(1, 8, 9, 9))).shape
        torch.Size([1, 8, 9, 9])
        >>> [level.name for level in layer.spectrum().levels if not level.remainder]
        ['irrep_0', 'irrep_1', 'irrep_2']
        >>> layer.softness = 1.0
    """

    _kernel_name = "filter"

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        padding: int | tuple[int, int] = 0,
        stride: int | tuple[int, int] = 1,
        dilation: int = 1,
        padding_mode: str = "zeros",
        groups: int = 1,
        bias: bool = True,
        sigma: list[float] | float | None = None,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        rings: list[float] | None = None,
        maximum_offset: int | None = None,
        recompute: bool = False,
        basis_filter: BasisFilter | None = None,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
    ) -> None:
        check_types(in_type, out_type, GSpace2D, _REMEDY)
        for name, value in {"kernel_size": kernel_size, "dilation": dilation, "groups": groups}.items():
            integer(name, value, minimum=1)
        check_geometry(padding, stride, padding_mode)
        policy = as_policy(softness)
        in_fields = check_groups(in_type, out_type, groups)
        if maximum_offset is not None:
            warnings.warn(f"escnn ignores maximum_offset={maximum_offset}; use frequencies_cutoff.", stacklevel=2)
        self._harmonics = kept_harmonics(kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter)
        transform = kernel_transform(
            in_type.gspace, in_fields, out_type.representations, kernel_size, self._harmonics, dilation
        )
        if transform.equivariant.dim == 0:
            raise EmptyBasisError(
                "(in_type, out_type)", (in_type, out_type),
                f"types with an equivariant {kernel_size} x {kernel_size} kernel",
                "Enlarge kernel_size, raise frequencies_cutoff, or choose types that share irreps.",
            )  # fmt: skip
        super().__init__(
            in_type, out_type, kernel_size, padding, stride, dilation, padding_mode, groups, bias, sigma,
            frequencies_cutoff, rings, maximum_offset, recompute, basis_filter, initialize=False,
        )  # fmt: skip
        if self.weights.numel() != transform.equivariant.dim:
            raise BasisFilterError(
                "basis_filter", basis_filter,
                f"a filter that keeps all {transform.equivariant.dim} equivariant kernels of the rings and frequencies "
                f"it keeps ({self.weights.numel()} are left)",
                'Decide by "radius", "sigma" and "irrep:frequency" alone.',
            )  # fmt: skip
        self._add_softness(transform, in_fields, policy, bias=bias)
        if initialize:
            generalized_he_init(self.weights, self.basisexpansion)

    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        return kernel_transform(
            self.space, in_representations, out_representations, self.kernel_size, self._harmonics, self.dilation
        )

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = pad(x, self._reversed_padding_repeated_twice, self.padding_mode), 0
        return conv2d(x, kernel, bias, self.stride, padding, self.dilation, self.groups)

    def _certify(self, kernel: Tensor, bias: Tensor | None) -> Certificate:
        geometry = Geometry.of(self.stride, self.padding, self.dilation, self.padding_mode, self.groups)
        fields = self._in_representations, self.out_type.representations
        return convolution_certificate(self._transform, *fields, kernel, bias, self.space, geometry)

    @classmethod
    def from_hard(
        cls,
        layer: R2Conv,
        softness: float | Policy = 0.0,
        *,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        basis_filter: BasisFilter | None = None,
    ) -> SoftR2Conv:
        """Soften an escnn layer; it computes the same function until its soft part is trained.

        Args:
            layer: the escnn layer; its Parameter objects, mode, device and dtype are kept.
            softness: a float in [0, 1] or a policy.
            frequencies_cutoff: as passed to the layer's constructor, which does not store it.
            basis_filter: likewise.

        Returns:
            The soft layer.

        Raises:
            ArgumentError: if the layer is not an ``R2Conv``, is soft already, or has another basis.

        Example:
            >>> from escnn import gspaces, nn
            >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
            >>> hard = nn.R2Conv(field, field, kernel_size=3)
            >>> SoftR2Conv.from_hard(hard, softness=0.3).weights is hard.weights
            True
        """
        instance("layer", layer, R2Conv, "Use from_dense for torch.nn.Conv2d.")
        if isinstance(layer, SoftLayer):
            raise ArgumentError("layer", layer, "a layer that is not soft yet", "Set its .softness instead.")
        soft = cls(
            layer.in_type, layer.out_type, layer.kernel_size, layer.padding, layer.stride, layer.dilation,
            layer.padding_mode, layer.groups, layer.bias is not None, layer._sigma, frequencies_cutoff, layer._rings,
            basis_filter=basis_filter, initialize=False, softness=softness,
        )  # fmt: skip
        if soft.weights.shape != layer.weights.shape:
            raise ArgumentError(
                "layer", layer, f"a layer with {soft.weights.numel()} weights (it has {layer.weights.numel()})",
                "Pass the frequencies_cutoff and basis_filter that the layer was built with.",
            )  # fmt: skip
        soft._share_parameters(layer)
        return soft

    @classmethod
    def from_dense(
        cls, conv: torch.nn.Conv2d, in_type: FieldType, out_type: FieldType, softness: float | Policy = 1.0
    ) -> SoftR2Conv:
        """Give a plain convolution field types; at softness 1 the result computes the same function, to rounding.

        Args:
            conv: a convolution with a square kernel.
            in_type: type of its input; ``conv.in_channels`` channels.
            out_type: type of its output; ``conv.out_channels`` channels.
            softness: a float in [0, 1] or a policy.

        Returns:
            The soft layer, with the convolution's device, dtype, mode and ``requires_grad``.

        Raises:
            ArgumentError: if the kernel is not square.
            FieldTypeError: if a type has another number of channels.

        Example:
            >>> import torch
            >>> from escnn import gspaces
            >>> space = gspaces.flipRot2dOnR2(4)
            >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
            >>> conv = torch.nn.Conv2d(1, 8, kernel_size=5)
            >>> soft = SoftR2Conv.from_dense(conv, image, hidden)
            >>> bool((soft.expand_parameters()[0] - conv.weight).abs().max() < 1e-5)
            True
        """
        instance("conv", conv, torch.nn.Conv2d, "Use from_hard for escnn layers.")
        check_types(in_type, out_type, GSpace2D, _REMEDY)
        kernel_size, padding, dilation = dense_geometry(conv, in_type, out_type)
        soft = cls(
            in_type, out_type, kernel_size, padding, (conv.stride[0], conv.stride[1]), dilation, conv.padding_mode,
            conv.groups, conv.bias is not None, initialize=False, softness=softness,
        )  # fmt: skip
        soft._become_dense(conv)
        return soft

    def export(self) -> torch.nn.Conv2d:
        """The plain convolution that computes the same function, in evaluation mode.

        Returns:
            A ``torch.nn.Conv2d`` with this layer's geometry, ``padding_mode``, device and dtype.
        """
        self.eval()
        conv = torch.nn.Conv2d(
            self.in_type.size, self.out_type.size, self.kernel_size, self.stride, self.padding, self.dilation,
            self.groups, self.expanded_bias is not None, self.padding_mode, self.weights.device, self.weights.dtype,
        )  # fmt: skip
        return self._fill(conv)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for an input of a given shape; every geometry of the constructor is understood.

        Args:
            input_shape: (batch, channels, height, width).

        Returns:
            (batch, channels, height, width) of the output.

        Raises:
            ArgumentError: if the shape is not that of an input.
        """
        if len(input_shape) != 4 or input_shape[1] != self.in_type.size:
            expected = f"(batch, {self.in_type.size}, height, width)"
            raise ArgumentError("input_shape", input_shape, expected, "Pass the shape of a tensor of type in_type.")
        padding, stride, dilation = (
            torch.nn.modules.utils._pair(v) for v in (self.padding, self.stride, self.dilation)
        )
        spatial = (
            (size + 2 * p - d * (self.kernel_size - 1) - 1) // s + 1
            for size, p, s, d in zip(input_shape[2:], padding, stride, dilation, strict=True)
        )
        return (input_shape[0], self.out_type.size, *spatial)

    def check_equivariance(
        self, atol: float = 0.1, rtol: float = 0.1, assertion: bool = True, verbose: bool = False, device: str = "cpu"
    ) -> list[tuple[Any, float]]:
        """Measure the layer's equivariance on a smooth random image; escnn's own check downloads a photograph.

        Args:
            atol: absolute tolerance for each pixel.
            rtol: relative tolerance for each pixel.
            assertion: whether to raise where the tolerance is exceeded.
            verbose: as in escnn; nothing is printed here.
            device: where to run.

        Returns:
            Each testing element of the gspace with its mean absolute error.

        Raises:
            AssertionError: if ``assertion`` is set and an element exceeds the tolerance.
        """
        self.to(device)
        x = smooth_image(self)
        errors = []
        with torch.no_grad():
            for element in self.space.testing_elements:
                difference, scale = central_difference(self, x, element)
                if assertion and (difference > atol + rtol * scale).any():
                    raise AssertionError(
                        f"{element}: the error is up to {difference.max():.3g}, on values of {scale:.3g}"
                    )
                errors.append((element, difference.mean().item()))
        return errors
