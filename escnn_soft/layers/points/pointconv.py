"""What the soft point convolutions share, on the plane and in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.nn import EquivariantModule, FieldType, GeometricTensor
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft._lasting import place
from escnn_soft.bounds import Certificate
from escnn_soft.dial import Policy, as_policy
from escnn_soft.errors import ArgumentError, EmptyBasisError, ShapeError
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, exactly, generalized_he_init, harmonics_at_points
from escnn_soft.escnn.point_basis import PointExpansion, SampledAtPoints, own_sampler
from escnn_soft.escnn.point_convolutions import message_arguments, require_point_convolutions
from escnn_soft.escnn.stored_arguments import rings_of
from escnn_soft.functions import Harmonic
from escnn_soft.grading import Chain, WeightTransform, continuous_transform, ring_functions
from escnn_soft.layers.arguments import check_band_limit, check_filter, check_rank, check_types
from escnn_soft.layers.points.point_execution import point_certificate
from escnn_soft.layers.soft import SoftLayer, check_hard

__all__ = ["SoftPointConvolution"]


class SoftPointConvolution(SoftLayer):
    r"""A soft layer whose kernel is evaluated at the edges of a graph: K(x) = sum over s of C_s phi_s(x).

    The phi_s are rings times harmonics, evaluated once per edge. The coefficients C (out, in, S) are the layer's kernel
    in the sense of :class:`SoftLayer`; the kernel itself, (edges, out, in), is never formed.

    Attributes:
        hard_class: escnn's layer.
    """

    hard_class: ClassVar[Any]
    _space_class: ClassVar[type[GSpace]]
    _kernel_name = "coefficients"
    _harmonics: tuple[Harmonic, ...]
    _basissampler: SampledAtPoints

    # ------------------------------------------------------------------ construction

    def _plan(
        self,
        in_type: FieldType,
        out_type: FieldType,
        groups: int,
        softness: float | Policy,
        chain: Chain | None,
        **rings: Any,
    ) -> tuple[Policy, WeightTransform]:
        """The policy and the spectrum, after every check; escnn's constructor has not run yet."""
        name = type(self).__name__
        require_point_convolutions(name)
        check_types(in_type, out_type, self._space_class, f"{name} acts on points of a {self._space_class.__name__}.")
        if groups != 1:
            remedy = "Build one layer for each group of channels."
            raise ArgumentError("groups", groups, "1 (escnn's point convolutions have no groups)", remedy)
        policy = as_policy(softness)
        harmonics = harmonics_at_points(dims=in_type.gspace.dimensionality, **rings)
        fields = in_type.representations, out_type.representations
        if not harmonics:
            raise EmptyBasisError(
                "(in_type, out_type)", (in_type, out_type), "rings and frequencies of which a kernel can be made",
                "Add rings, or raise frequencies_cutoff.",
            )  # fmt: skip
        transform = continuous_transform(in_type.gspace, *fields, harmonics, chain)
        self._harmonics = harmonics
        return policy, transform

    def _soften(
        self,
        plan: tuple[Policy, WeightTransform],
        basis_filter: BasisFilter | None,
        *,
        bias: bool,
        chain: Chain | None,
        rank: int | None,
        initialize: bool,
    ) -> None:
        """Add the soft part to escnn's layer, and draw its weights."""
        policy, transform = plan
        check_filter(basis_filter, self.weights.numel(), transform)
        self._in_representations = tuple(self.in_type.representations)
        self._basissampler = own_sampler(self._basissampler)
        self._add_softness(
            transform, self.in_type.representations, policy, bias=bias, chain=chain, rank=check_rank(rank)
        )
        if initialize:
            generalized_he_init(self.weights, self._basisexpansion)

    def _own_basis(self) -> Any:
        fields = self._in_representations, self.out_type.representations
        expansion = PointExpansion(self._basissampler, fields, ring_functions(self.space, self._harmonics))
        for (in_name, out_name), block in expansion.blocks():
            in_rho = next(rho for rho in fields[0] if rho.name == in_name)
            out_rho = next(rho for rho in fields[1] if rho.name == out_name)
            block.sharpen(self._build_transform([in_rho], [out_rho]).equivariant)
        return expansion

    def _set_basis(self, sharpen_basis: bool) -> None:
        """Cast what is needed for an edge; the basis is kept in double precision beside it."""
        device, dtype = place(self.weights)
        for _, block in self._basisexpansion.blocks():
            block.sampled_basis = block.exact.to(device, dtype)
        # points are told apart in single precision at least
        work = torch.promote_types(dtype, torch.float32)
        self._functions = ring_functions(self.space, self._harmonics).to(device, work)

    def _sharp_basis(self, pair: tuple[str, str]) -> Tensor:
        exact: Tensor = dict(self._basisexpansion.blocks())[pair].exact
        return exact

    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        return continuous_transform(self.space, in_representations, out_representations, self._harmonics)

    def _as_kernel(self, graded: Tensor) -> Tensor:
        return graded

    def _expand_strict(self) -> tuple[Tensor, Tensor | None]:
        return self._basisexpansion(self.weights), self.expand_bias()

    # ------------------------------------------------------------------ the layer as it runs

    def forward(  # type: ignore[override]  # points need edges
        self, x: GeometricTensor, edge_index: Tensor, edge_delta: Tensor | None = None
    ) -> GeometricTensor:
        """Apply the layer: at each node, the mean of the messages K(x_j - x_i) f_j of its edges j -> i.

        Args:
            x: a field of type ``in_type`` over nodes, with ``coords`` unless ``edge_delta`` is given.
            edge_index: sources and targets.  # shape: (2, edges)
            edge_delta: coordinates of each edge's source, seen from its target.  # shape: (edges, dims)

        Returns:
            A field of type ``out_type`` over the same nodes.

        Raises:
            FieldTypeError: if the input's type is not ``in_type``.
            DtypeError: if the input's dtype or device is not the layer's.
            ShapeError: if ``edge_index`` is not (2, edges).
            ArgumentError: if the input has no coordinates and ``edge_delta`` is not given.
        """
        self._check_field(x)
        if edge_index.dim() != 2 or len(edge_index) != 2:
            remedy = "Pass the sources and targets of the edges, as torch_geometric does."
            raise ShapeError("edge_index.shape", tuple(edge_index.shape), "(2, edges)", remedy)
        if edge_delta is None:
            if x.coords is None:
                remedy = "Wrap the features as in_type(tensor, coords), or pass edge_delta."
                raise ArgumentError("x.coords", None, "coordinates of the nodes", remedy)
            edge_delta = x.coords[edge_index[0]] - x.coords[edge_index[1]]
        kernel, bias = self._current_parameters()
        out = self.propagate(edge_index, x=x.tensor, edge_delta=edge_delta, coefficients=kernel)
        return GeometricTensor(out if bias is None else out + bias, self.out_type, coords=x.coords)

    def message(self, x_j: Tensor, edge_delta: Tensor, coefficients: Tensor) -> Tensor:
        """K(x) f = sum over s of phi_s(x) C_s f, edge by edge.

        Args:
            x_j: features of the sources.  # shape: (edges, in)
            edge_delta: the edges x.  # shape: (edges, dims)
            coefficients: C.  # shape: (out, in, S)

        Returns:
            The messages.  # shape: (edges, out)
        """
        functions = self._functions(edge_delta.to(self._functions.radii.dtype)).to(x_j.dtype)
        m, n, _ = coefficients.shape
        if n <= m:  # the smaller side is spread over the functions
            spread = (x_j[:, :, None] * functions[:, None, :]).flatten(1)
            return spread @ coefficients.flatten(1).T
        responses = (x_j @ coefficients.permute(1, 0, 2).flatten(1)).unflatten(1, (m, -1))
        return (responses @ functions[:, :, None])[:, :, 0]

    def _compute(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError("A point convolution is applied to edges: see forward.")

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (nodes, channels) of the output; ``ArgumentError`` if that of the input does not fit."""
        if len(input_shape) != 2 or input_shape[1] != self.in_type.size:
            expected = f"(nodes, {self.in_type.size})"
            raise ArgumentError("input_shape", input_shape, expected, "Pass the shape of a tensor of type in_type.")
        return input_shape[0], self.out_type.size

    def expand_filter(self, points: Tensor) -> Tensor:
        """The kernel (points, out, in) at some points (points, dims) in Cartesian coordinates, soft part included."""
        kernel, _ = SoftLayer.expand_parameters(self)
        functions = self._functions(points.to(self._functions.radii)).to(kernel)
        return torch.einsum("ps,ois->poi", functions, kernel)

    def expand_parameters(self, points: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The kernel and bias that the parameters stand for, differentiably.

        Args:
            points: where to evaluate the kernel; None for its coefficients.  # shape: (points, dims)

        Returns:
            Kernel (points, out, in), or coefficients (out, in, S); and bias (out,), or None without a bias.
        """
        kernel, bias = super().expand_parameters()
        return (kernel if points is None else self.expand_filter(points)), bias

    # ------------------------------------------------------------------ its error

    def certificate(self, radius: float = math.inf) -> Certificate:
        r"""The equivariance error of the layer's kernel, as it is used, for every element of the group.

        The layer commutes exactly with moving the points where its kernel is equivariant, so the error is that of the
        kernel. With C its coefficients and g . C the coefficients of rho_out(g) K(g^-1 x) rho_in(g)^-1,

            e(g) = ||g . C - C||_F                                                        exact, for every g
            ||rho_out(g) K(g^-1 x) rho_in(g)^-1 - K(x)||_F <= e(g) |phi(x)|               for every edge x

        ``operator`` bounds that of every edge of length at most ``radius``, with the supremum of |phi| over the ball;
        messages are averaged, so it bounds the largest vector of f(g x) - g f(x) by that of x, without the bias.

        Args:
            radius: length of the longest edge.

        Returns:
            A frozen value: exact errors, certified upper bounds, and what they rest on.

        Raises:
            ArgumentError: if the radius is negative.
        """
        remedy = "Pass the length of the longest edge."
        number("radius", radius, minimum=0.0, maximum=math.inf, error=ArgumentError, remedy=remedy)
        with torch.no_grad():
            kernel, bias = super().expand_parameters()
        return self._certify(kernel, bias, radius)

    def certificate_of(self, hard: EquivariantModule) -> Certificate:
        """The certificate of a hard layer that this one was made from: this layer's own, with the same coefficients."""
        return self.certificate()

    def _certify(self, kernel: Tensor, bias: Tensor | None, radius: float = math.inf) -> Certificate:
        functions = ring_functions(self.space, self._harmonics)
        return point_certificate(self._transform, functions, kernel, bias, self.out_type, radius)

    # ------------------------------------------------------------------ state and conversion

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Read checkpoints of either mode; a basis that differs from ours is taken over, as escnn would."""
        key = prefix + "_basissampler."
        pairs = [
            (b, state_dict[key + name]) for name, b in self._basissampler.named_buffers() if key + name in state_dict
        ]
        same_shape = [(ours, theirs) for ours, theirs in pairs if ours.shape == theirs.shape]
        if not all(torch.allclose(theirs.to(ours), ours, atol=1e-5) for ours, theirs in same_shape):
            for ours, theirs in same_shape:
                ours.copy_(theirs)
            self._basisexpansion = self._own_basis()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _share_basis(self, layer: EquivariantModule) -> None:
        self._basissampler = own_sampler(layer.basissampler)
        self._basisexpansion = self._own_basis()
        self._set_constants()

    def _hard_attributes(self, cls: type[EquivariantModule]) -> dict[str, Any]:
        return message_arguments(cls)  # escnn's messages take other arguments

    @classmethod
    def from_hard(
        cls,
        layer: EquivariantModule,
        softness: float | Policy = 0.0,
        *,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        basis_filter: BasisFilter | None = None,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> SoftPointConvolution:
        """As :meth:`SoftR2Conv.from_hard`; ``MissingPackageError`` if torch_geometric is not installed."""
        require_point_convolutions(cls.__name__)
        check_hard(layer, cls.hard_class, "There is no plain torch layer of this kind.")
        soft: Any = cls(
            layer.in_type, layer.out_type, bias=layer.bias is not None, **rings_of(layer),
            frequencies_cutoff=frequencies_cutoff, basis_filter=basis_filter, initialize=False, softness=softness,
            chain=chain, rank=rank,
        )  # fmt: skip
        check_band_limit(soft, layer)
        soft._share_parameters(layer)
        return soft

    def _between(self, in_type: FieldType, out_type: FieldType, softness: float | Policy, chain: Chain | None) -> Any:
        cutoff, basis_filter = exactly((h.radius, h.width, h.frequency) for h in self._harmonics)
        make: Any = type(self)
        return make(
            in_type, out_type, bias=self._bias_transform is not None, **rings_of(self),
            frequencies_cutoff=cutoff, basis_filter=basis_filter, initialize=False, softness=softness, chain=chain,
        )  # fmt: skip

    def _become_restricted(self, layer: SoftLayer) -> None:
        assert isinstance(layer, SoftPointConvolution)
        theirs, mine = (ring_functions(conv.space, conv._harmonics) for conv in (layer, self))
        assert theirs.harmonics == mine.harmonics
        with torch.no_grad():
            kernel, bias = SoftLayer.expand_parameters(layer)
            turned = kernel.double() @ theirs.counted_from(mine.axis).to(kernel.device)
            self._take_over(layer, layer.weights, turned, bias)
