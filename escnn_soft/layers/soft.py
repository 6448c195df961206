"""What every soft layer is: escnn's layer plus graded coefficients of the directions that break the symmetry."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from escnn.group import Representation
from escnn.nn import EquivariantModule, FieldType
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.modules.conv import _ConvNd

from escnn_soft._checks import instance
from escnn_soft._lasting import place
from escnn_soft.bounds import Certificate
from escnn_soft.dial import Dial, Policy, SoftModule
from escnn_soft.dial.magnitude import hypotenuse, norm
from escnn_soft.errors import ArgumentError, NoPlainLayerError
from escnn_soft.escnn.sampled_basis import (
    SampledBasis,
    basis_coordinates,
    block_name,
    leaves_its_level,
    own,
    pair_blocks,
    projected,
    reach,
    sharpen,
)
from escnn_soft.escnn.strict_coefficients import StrictCoefficients, expands_slowly, takes_long
from escnn_soft.grading import (
    Chain,
    DampedSynthesis,
    GradedWeight,
    LowRank,
    SubgroupChain,
    SubgroupId,
    WeightSpectrum,
    WeightTransform,
    fibre_transform,
    restricted_type,
    subgroup_chain,
)
from escnn_soft.layers.adopted_basis import adopt, warn_of_other_fields
from escnn_soft.layers.expansion import Dense, ExpandedLayer, filled
from escnn_soft.layers.hardening import without_softness
from escnn_soft.layers.truncation import complete_factors, truncated
from escnn_soft.layers.type_words import between
from escnn_soft.linalg.straight_through import nothing_unless

__all__ = ["SoftLayer", "check_hard"]

_Soft = TypeVar("_Soft", bound="SoftLayer")


class SoftLayer(ExpandedLayer, SoftModule):
    """An escnn layer whose kernel is escnn's plus sum over levels of gain * (soft coefficients in that level).

    Comes before escnn's class in the bases of a concrete layer. In training mode the kernel is expanded at each
    forward pass; in evaluation mode it is kept, detached, until a parameter, the softness or the dtype changes.

    Attributes:
        soft_weights: coefficients of all directions outside escnn's basis, zero at first; where every gain is 0 they
            take no part in the computation and get no gradient; of a layer with a ``rank``, W of
            :class:`~escnn_soft.grading.LowRank`.  # shape: (directions,)
        soft_out: U of a layer with a rank; else None.
        soft_in: likewise V.
        soft_bias: likewise for the bias; None without a bias.  # shape: (directions,)
        level_logits: parameters of a ``Learned`` softness, the kernel's levels and then the bias's; else None.
    """

    soft_weights: Parameter
    soft_out: Parameter | None
    soft_in: Parameter | None
    soft_bias: Parameter | None
    bias: Parameter | None
    bias_expansion: Tensor
    _here: list[WeightTransform]
    _basisexpansion: SampledBasis
    _strict: StrictCoefficients | None
    _syntheses: list[DampedSynthesis | None]

    # ------------------------------------------------------------------ construction

    def _add_softness(
        self,
        transform: WeightTransform,
        in_representations: Sequence[Representation],
        policy: Policy,
        *,
        bias: bool,
        out_representations: Sequence[Representation] | None = None,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        """Add the soft parameters; called once, after escnn's constructor."""
        self._chain = None if chain is None else tuple(chain)
        self._low_rank = None if rank is None else LowRank.of(transform.soft, rank)
        self._in_representations = tuple(in_representations)
        # a transposed convolution's kernel belongs to one group of the output, any other's to all of it
        out_fields = self.out_type.representations if out_representations is None else out_representations
        self._out_representations = tuple(out_fields)
        self._basisexpansion = self._own_basis()
        transforms = [transform]
        if bias:
            gspace = self.out_type.gspace
            fields = [gspace.trivial_repr], self.out_type.representations
            transforms.append(fibre_transform(gspace, *fields, chain))
        for name in ("soft_out", "soft_in"):
            self.register_parameter(name, None)
        if self._low_rank is None:
            self.soft_weights = Parameter(self.weights.new_zeros(transform.soft.dim))
        else:
            self.soft_weights = Parameter(self.weights.new_zeros(sum(self._low_rank.sizes[0])))
            self.soft_out, self.soft_in = map(Parameter, self._low_rank.drawn(self.weights))
        self.register_parameter("soft_bias", None)
        if bias and transforms[1].soft.dim:
            self.soft_bias = Parameter(self.weights.new_zeros(transforms[1].soft.dim))
        self._drop_buffers()
        self._precision = torch.finfo(torch.float32).eps  # of escnn's basis, whatever its dtype is
        like = Dial.place(self.weights)
        dials = [Dial(GradedWeight(transform), policy, *like)]
        dials += [Dial(GradedWeight(t), policy, *like, anchored=dials[0].anchored) for t in transforms[1:]]
        self._hold(*dials)
        self._set_constants()

    @property
    def _transform(self) -> WeightTransform:
        """The spectrum of the kernel."""
        return self._spectrum_of(0)

    @property
    def _bias_transform(self) -> WeightTransform | None:
        """That of the bias, None without one."""
        return self._spectrum_of(1) if len(self._dials) > 1 else None

    def _spectrum_of(self, dial: int) -> WeightTransform:
        return cast("GradedWeight", self._dials[dial].graded).transform

    @torch.inference_mode(False)  # what is prepared here serves training too
    def _set_constants(self) -> None:
        """Bring everything that is neither parameter nor state to the dtype and device of the weights."""
        device, dtype = place(self.weights)
        precision = torch.finfo(dtype).eps
        sharpen_basis = precision < self._precision
        self._set_basis(sharpen_basis)
        if self.bias is not None:
            expansion = self._sharp_bias_expansion() if sharpen_basis else self.bias_expansion
            self.bias_expansion = expansion.to(device, dtype)
        self._precision = precision
        for dial in self._dials:
            dial.follow(self.weights)
        self._here = [cast("GradedWeight", dial.here).transform for dial in self._dials]
        self._choose_ways()
        self._forget()

    @torch.inference_mode(False)
    def _choose_ways(self) -> None:
        """How kernel and bias are put together, and all that it takes: a compiler would see it being built."""
        self._strict = self._strict_coefficients()
        kernel, here = self._dials[0], self._here[0]
        joint = self._strict is not None or (kernel.limited and kernel.policy.bounded)
        self._syntheses = [dial.synthesis(joint=joint and dial is kernel) for dial in self._dials]
        if kernel.policy.learned and joint:
            here.prepare(joint=True)
        if kernel.closed or (self._strict is None and self._limited):
            here.equivariant.prepare()

    @torch.no_grad()
    def _strict_coefficients(self) -> StrictCoefficients | None:
        """escnn's weights as coefficients; None where its own expansion is used."""
        # it is where it takes less time; where it makes another kernel of them, in other levels too, because rings miss
        # the pixels or rounding is coarse; and where a subclass may do more than to expand its weights
        expand = super().expand_parameters.__func__  # type: ignore[attr-defined]
        if self.weights.is_meta or not expand.__module__.startswith("escnn."):
            return None
        if self._dials[0].closed and not expands_slowly(self._basisexpansion, math.prod(self._transform.shape)):
            return None
        if takes_long(self._basisexpansion, self._transform.points):
            return None
        blocks = pair_blocks(self._basisexpansion)
        if any(leaves_its_level(block, partial(self._between_fields, pair)) for pair, block in blocks):
            return None
        fields = self._in_representations, self._out_representations
        found = StrictCoefficients.of(self._basisexpansion, self._transform.equivariant, *fields)
        return found.to(self._dials[0].device, self._dials[0].dtype)

    def _between_fields(self, pair: tuple[str, str]) -> WeightTransform:
        """The spectrum between two representations by their names."""
        in_rho = next(rho for rho in self._in_representations if rho.name == pair[0])
        out_rho = next(rho for rho in self._out_representations if rho.name == pair[1])
        return self._build_transform([in_rho], [out_rho])

    def _set(self, policy: Policy) -> None:
        super()._set(policy)
        self._choose_ways()

    def _own_basis(self) -> SampledBasis:
        """The layer's own copy of escnn's basis expansion."""
        return own(self._basisexpansion)

    def _set_basis(self, sharpen_basis: bool) -> None:
        """Bring escnn's basis to the dtype and device of the weights."""
        for pair, block in pair_blocks(self._basisexpansion):
            basis = self._sharp_basis(pair) if sharpen_basis else block.sampled_basis
            block.sampled_basis = basis.to(*place(self.weights))

    def _sharp_basis(self, pair: tuple[str, str]) -> Tensor:
        """escnn's basis between two representations, free of its float32 rounding; float64 on the CPU."""
        block = dict(pair_blocks(self._basisexpansion))[pair]
        return sharpen(block, self._between_fields(pair), self._precision)

    def _equivariant_basis(self) -> dict[tuple[str, str], Tensor]:
        """The equivariant part of escnn's basis, by names of (input, output) representation; float64 on the CPU."""
        found = {}
        for pair, _ in pair_blocks(self._basisexpansion):
            equivariant = self._between_fields(pair).equivariant
            found[pair] = projected(equivariant.project, self._sharp_basis(pair))
        return found

    def _reach(self) -> int:
        """Dimension of the equivariant kernels that escnn's basis reaches; few pixels far apart tell few of many."""
        return reach(self._basisexpansion, self._equivariant_basis())

    def _sharp_bias_expansion(self) -> Tensor:
        assert self._bias_transform is not None
        columns = self.bias_expansion.double().cpu().T
        equivariant = self._bias_transform.equivariant
        return torch.stack([equivariant.project(column[:, None, None]).flatten() for column in columns], dim=1)

    @abstractmethod
    def _build_transform(
        self, in_representations: Sequence[Representation], out_representations: Sequence[Representation]
    ) -> WeightTransform:
        """The layer's spectrum between other fields."""

    def _as_graded(self, kernel: Tensor) -> Tensor:
        """An expanded kernel as the spectrum has it, (out, in, S)."""
        return kernel.reshape(self._transform.shape)

    def _as_kernel(self, graded: Tensor) -> Tensor:
        """Weights (out, in, S) as the layer's kernel has them."""
        return graded.reshape(self._transform.shape[:2])

    # ------------------------------------------------------------------ the dial

    @property
    def chain(self) -> tuple[SubgroupId, ...] | None:
        """Subgroups by which the dial is graded, from large to small; the last stays exact at every softness."""
        return self._chain

    @property
    def rank(self) -> int | None:
        """Number of products that the soft coefficients are sums of; None for any coefficients."""
        return None if self._low_rank is None else self._low_rank.rank

    def _in_use(self) -> list[Tensor]:
        self._check_own("soft_weights", "soft_bias")
        with torch.no_grad():
            _, _, factors = self._expand()
            used = []
            for index, (dial, t, logits) in enumerate(zip(self._dials, factors, self._logits(), strict=True)):
                coefficients = (self._soft_coefficients(), self.soft_bias)[index]
                gains = dial.gains(t, logits)[dial.equivariant :]
                used.append(
                    self.weights.new_zeros(0)
                    if coefficients is None
                    else coefficients.to(gains) * self._soft(index).spread(gains)
                )
            return used

    def _stand_for(self, used: list[Tensor]) -> None:
        strict, bias = self._expand_strict()
        column = strict.new_zeros(self.out_type.size) if bias is None else bias
        own = self._norm_of(strict)
        norms = [own, self._norm_with_bias(column, own)] if len(self._dials) > 1 else [own]
        trained = self._soft_coefficients(), self.soft_bias
        writes = self._write_soft, None if self.soft_bias is None else self.soft_bias.copy_
        strays = self._astray(self._as_graded(strict)), None
        each = zip(self._dials, trained, writes, used, norms, self._logits(), strays, strict=False)
        for dial, tensor, write, value, beside, logits, astray in each:
            if tensor is not None and write is not None:
                write(dial.coefficients_for(value, tensor, beside, logits, astray))

    def _soft_coefficients(self) -> Tensor:
        """The kernel's soft coefficients; in double precision where they are products."""
        if self._low_rank is None:
            return self.soft_weights
        return self._low_rank.coefficients(*(p.double() for p in self._factors()))

    def _coefficients_of(self, soft_weights: Tensor) -> Tensor:
        """The soft coefficients of other soft weights, linearly, with the factors of a rank as they are."""
        if self._low_rank is None:
            return soft_weights
        _, out, into = (p.detach().to(soft_weights) for p in self._factors())
        return self._low_rank.coefficients(soft_weights, out, into)

    def _write_soft(self, coefficients: Tensor) -> None:
        """Let soft coefficients that differ by factors of their levels be those of the kernel."""
        if self._low_rank is not None:
            _, out, into = (p.double() for p in self._factors())
            coefficients = self._low_rank.kernels(coefficients.double(), out, into)
        self.soft_weights.copy_(coefficients)

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters of a layer with a rank."""
        assert self.soft_out is not None
        assert self.soft_in is not None
        return self.soft_weights, self.soft_out, self.soft_in

    def _subgroups(self) -> SubgroupChain | None:
        return None if self._chain is None else subgroup_chain(self.in_type.gspace, self._chain)

    @property
    def fields(self) -> str:
        """Its types in words."""
        return between(self.in_type, self.out_type)

    def _as_stored(self, bounds: Sequence[float]) -> Sequence[float]:
        if self.weights.is_meta:
            return bounds
        with torch.no_grad():
            (strict, own), (kernel, bias, _) = self._expand_strict(), self._expand()
        graded = self._as_graded(kernel)
        found = [self._dials[0].with_excess(bounds[0], graded, self._as_graded(strict))]
        if len(self._dials) > 1 and bias is not None:
            norm = math.sqrt(float(self._dials[0].graded.energies(graded.double().cpu()).sum()))
            beside = norm if self._dials[1].policy.balanced else 0.0
            found.append(self._dials[1].with_excess(bounds[1], bias, own, beside))
        return found

    def spectrum(self) -> WeightSpectrum:
        """How the layer's weights, as they are used, spread over the levels.

        Returns:
            A frozen value with one entry a level, in the order of the dial. Where the group acts on the grid (and for
            fibre maps) the energies add up to the squared norm of the kernel; otherwise they are those of the
            continuous kernel.
        """
        with torch.no_grad():
            kernel, bias, factors = self._expand()
        parts = zip(self._dials, factors, self._logits(), strict=True)
        gains = [dial.gains(t, logits) for dial, t, logits in parts]
        levels = self._dials[0].spectrum(self._as_graded(kernel), gains[0])
        if bias is None or len(self._dials) == 1:
            return WeightSpectrum(levels)
        return WeightSpectrum(levels, self._dials[1].spectrum(bias, gains[1]))

    def certificate(self) -> Certificate:
        """The equivariance error of the layer's weights, as they are used, for every element of the group.

        Returns:
            A frozen value: exact errors, certified upper bounds, and what they rest on.
        """
        with torch.no_grad():
            return self._certify(*self.expand_parameters())

    def certificate_of(self, hard: EquivariantModule) -> Certificate:
        """The certificate of a hard layer's weights, of which this layer is the twin.

        Args:
            hard: a layer of escnn's with this layer's types, geometry and band limit.

        Returns:
            A frozen value; in double precision it shows the rounding of escnn's basis, which soft layers do not have.
        """
        with torch.no_grad():
            return self._certify(*hard.expand_parameters())

    @abstractmethod
    def _certify(self, kernel: Tensor, bias: Tensor | None) -> Certificate:
        """The certificate of an expanded kernel and bias."""

    # ------------------------------------------------------------------ expansion

    def expand_parameters(self) -> tuple[Tensor, Tensor | None]:
        """The kernel and bias that the parameters stand for, differentiably.

        Returns:
            Kernel (out, in, *kernel) and bias (out,), or None without a bias.
        """
        kernel, bias, _ = self._expand()
        return kernel, bias

    def _expand(self) -> tuple[Tensor, Tensor | None, list[Tensor | None]]:
        """Kernel and bias, and the factor t of each dial, None where it has none."""
        if self._dials[0].device != self.weights.device:
            self._set_constants()  # parameters were put elsewhere one by one
        elif self._outdated():
            self._choose_ways()  # somebody wrote to escnn's basis
        factors: list[Tensor | None] = [None] * len(self._dials)
        with torch.autocast(self.weights.device.type, enabled=False):
            if self._strict is None:
                strict, bias = self._expand_strict()
                own = self._norm_of(strict)
                kernel, factors[0] = self._beside(strict, own)
            else:
                coefficients = self._strict(self.weights.to(self._dials[0].dtype))
                own = norm(coefficients) if self._limited else None
                kernel, factors[0] = self._joint(coefficients, own)
                bias = None if self.bias is None else self.bias_expansion @ self.bias
            if self.soft_bias is not None and not self._dials[1].closed:
                bias, factors[1] = self._expand_soft_bias(bias, own)
        return kernel, bias, factors

    def _outdated(self) -> bool:
        """Whether escnn's basis is not what its coefficients are of; a compiler keeps what it has seen."""
        return (
            self._strict is not None
            and not torch.compiler.is_compiling()
            and not self._strict.made_of(self._basisexpansion)
        )

    def _joint(self, strict: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The kernel, from the coefficients of escnn's part, their norm where it matters, and the others; and t."""
        dial, here, t = self._dials[0], self._here[0], None
        if dial.closed:
            whole = here.equivariant.synthesis(strict)
        else:
            coefficients, synthesis = self._trained_soft(dial), self._syntheses[0]
            t, resolved = dial.factor(coefficients, own)
            if synthesis is None:
                whole = here.joint_synthesis(strict, coefficients, dial.gains(None, self._logits()[0]))
            else:
                whole = synthesis(strict, coefficients, t=t, resolved=resolved)
        return self._as_kernel(whole.to(self.weights.dtype)), t

    def _beside(self, strict: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The kernel, from escnn's, which may lie in all levels, and the norm of its part in its own; and t."""
        dial, here = self._dials[0], self._here[0]
        if dial.closed:
            return strict, None
        kernel, coefficients = self._as_graded(strict).to(dial.dtype), self._trained_soft(dial)
        if dial.limited and dial.policy.bounded:
            # the factor multiplies what escnn's own part breaks too; from both parts anew: less what goes astray,
            # escnn's own would leave the rounding of that, and what a chain has no level for
            first, together = here.equivariant.analysis(kernel), coefficients + here.soft.analysis(kernel)
            t, resolved = dial.factor(together, own)
            assert self._syntheses[0] is not None
            whole = self._syntheses[0](first, together, t=t, resolved=resolved)
        else:
            t, _ = dial.factor(coefficients, own, self._astray(kernel))
            whole = kernel + self._soft_part(0, coefficients, t)
        return self._as_kernel(whole.to(strict.dtype)), t

    def _soft_part(self, index: int, coefficients: Tensor, t: Tensor | None) -> Tensor:
        """What the coefficients outside escnn's basis add."""
        dial, synthesis = self._dials[index], self._syntheses[index]
        if synthesis is not None:
            return synthesis(coefficients, t=t)
        return self._soft(index).synthesis(coefficients, dial.gains(None, self._logits()[index])[dial.equivariant :])

    def _trained_soft(self, dial: Dial) -> Tensor:
        """The kernel's soft coefficients in the dtype in which they are used."""
        if self._low_rank is None:
            return self._trained(self.soft_weights, dial)
        return self._low_rank.coefficients(*(p.to(dial.dtype) for p in self._factors()))

    @staticmethod
    def _trained(parameter: Tensor, dial: Dial) -> Tensor:
        """Trained coefficients in the dtype in which they are used."""
        here = parameter.to(dial.dtype)
        # backward passes ask for them again where gains depend on parameters, and FSDP, which does not see through
        # GeometricTensors, has taken the memory of parameters back by then
        return here if dial.fixed or here is not parameter else here.clone()

    def _expand_soft_bias(self, strict: Tensor | None, own: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The bias, escnn's own included, and the factor t of its dial; from the norm of escnn's own kernel."""
        dial = self._dials[1]
        assert self.soft_bias is not None
        coefficients = self._trained(self.soft_bias, dial)
        column = coefficients.new_zeros(self.out_type.size) if strict is None else strict.to(dial.dtype)
        t, resolved = dial.factor(coefficients, self._norm_with_bias(column, own))
        whole = column + self._soft_part(1, coefficients, t).flatten()
        if resolved is not None:
            whole = nothing_unless(resolved, whole)
        return whole.to(self.weights.dtype), t

    @property
    def _limited(self) -> bool:
        """Whether the norm of escnn's own part matters."""
        return any(dial.limited for dial in self._dials)

    def _norm_of(self, strict: Tensor) -> Tensor | None:
        """That of escnn's own kernel in its level, also where harmonics are not orthonormal on pixels."""
        if not self._limited:
            return None
        equivariant, kernel = self._here[0].equivariant, self._as_graded(strict).to(self._dials[0].dtype)
        return norm(equivariant.analysis(kernel) if self._strict is None else equivariant.isometric(kernel))

    def _norm_with_bias(self, bias: Tensor, own: Tensor | None) -> Tensor | None:
        """Likewise of the bias; a ``Graded`` measures it by the whole layer, as one more input of constant 1."""
        dial = self._dials[1]
        if not dial.limited:
            return None
        assert own is not None
        return hypotenuse(norm(bias), own) if dial.policy.balanced else norm(bias)

    def _astray(self, kernel: Tensor) -> Tensor | None:
        """What escnn's own kernel (out, in, S) has in the directions of the soft part; None where nobody asks."""
        asked = self._strict is None and self._dials[0].limited
        return self._soft(0).analysis(kernel.to(self._dials[0].dtype)) if asked else None

    def _soft(self, dial: int) -> WeightTransform:
        """The levels outside escnn's basis, on the weights' device in their dtype."""
        return self._here[dial].soft

    def _expand_strict(self) -> tuple[Tensor, Tensor | None]:
        """escnn's own kernel and bias."""
        return super().expand_parameters()

    # ------------------------------------------------------------------ state, casts, conversion

    def _apply(self, fn: Any, recurse: bool = True) -> SoftLayer:
        self._forget()  # torch swaps no tensor to which something kept refers
        constants = [(m, name, b) for m in self.modules() for name, b in m._buffers.items() if self.weights.is_meta]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weights.is_meta:  # parameters that come off the meta device have no values yet, but bases do
            for module, name, value in constants:
                module._buffers[name] = value
        self._set_constants()
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Read checkpoints of soft layers, and of escnn's own in either mode: they have no soft part."""
        self._forget()
        for name in (self._kernel_name, "expanded_bias"):
            state_dict.pop(prefix + name, None)
        if self._low_rank is not None:
            complete_factors(self._low_rank, state_dict, prefix, self)
        if prefix + "weights" in state_dict:
            for name in ("soft_weights", "soft_bias"):
                parameter = self._parameters.get(name)  # pruned or parametrised, it goes by another name
                if parameter is not None:
                    device = place(state_dict[prefix + "weights"])[0] if parameter.is_meta else parameter.device
                    state_dict.setdefault(prefix + name, torch.zeros_like(parameter, device=device))
        adopted = False
        for pair, block in pair_blocks(self._basisexpansion):
            key = f"{prefix}_basisexpansion.{block_name(self._basisexpansion, pair)}.sampled_basis"
            adopted |= adopt(state_dict, key, block, "sampled_basis")
        soft = state_dict.get(prefix + "soft_weights")
        if adopted and soft is not None and bool(soft.any()):
            fields = *self._in_representations, *self._out_representations
            warn_of_other_fields(prefix or type(self).__name__, fields)
        if self.bias is not None:
            adopt(state_dict, prefix + "bias_expansion", self, "bias_expansion")
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._precision = torch.finfo(torch.float32).eps  # of a basis that was taken over
        self._set_constants()

    def _set_dense(self, weight: Tensor, bias: Tensor | None, *, strictly: bool = False) -> None:
        """Choose the parameters so that at softness 1 the layer has this kernel and bias, to rounding.

        A rank comes as close as it can; ``strictly`` leaves the kernel's soft part alone.
        """
        transform, kernel = self._transform, self._as_graded(weight.detach().double().cpu())
        blocks = self._equivariant_basis()
        representations = self._in_representations, self._out_representations
        equivariant = transform.equivariant.project(kernel)
        with torch.no_grad():
            self.weights.copy_(basis_coordinates(self._basisexpansion, representations, blocks, equivariant))
            # what escnn's basis adds by its own rounding is taken back by the soft part
            strict = self._basisexpansion(self.weights).double().cpu().reshape(transform.shape)
            if not strictly:
                self._set_soft(transform.soft.analysis(kernel - strict), float(transform.analysis(kernel).norm()))
            if bias is not None:
                assert self._bias_transform is not None
                column = bias.detach().double().cpu()
                if self.bias is not None:
                    self.bias.copy_(torch.linalg.lstsq(self._sharp_bias_expansion(), column[:, None]).solution[:, 0])
                if self.soft_bias is not None:
                    self.soft_bias.copy_(self._bias_transform.soft.analysis(column[:, None, None]))
        self._forget()

    def _set_soft(self, coefficients: Tensor, whole: float) -> None:
        """Choose the kernel's soft parameters, given the norm of all its coefficients."""
        if self._low_rank is None:
            self.soft_weights.copy_(coefficients)
            return
        factors = truncated(self._low_rank, coefficients, self._factors()[1:], whole)
        for parameter, value in zip(self._factors(), factors, strict=True):
            parameter.copy_(value)

    def restrict(
        self: _Soft, subgroup: SubgroupId, softness: float | Policy = 1.0, *, chain: Chain | None = None
    ) -> _Soft:
        """The layer between its fields restricted to a subgroup: at softness 1 it computes the same function.

        What was soft and keeps the subgroup becomes escnn's own basis there, as far as that reaches: training can go on
        with the subgroup exact. A rank is not kept: what is a sum of few products for the group may need more for the
        subgroup, whose irreps have more copies. In a model the types of the neighbours have to follow, see
        ``escnn.nn.RestrictionModule``.

        Args:
            subgroup: id of the subgroup, as in ``gspace.restrict``.
            softness: a float in [0, 1] or a policy.
            chain: subgroups *of the subgroup* to relax to, as in the constructor; what breaks the last is dropped. The
                subgroup's own id keeps it exact at every softness, kernels beyond escnn's band limit included.

        Returns:
            A layer of the same class with Parameters of its own, and this layer's geometry, band limit, device, dtype,
            mode and ``requires_grad``.

        Raises:
            ArgumentError: if escnn cannot restrict the fields to it, or the chain is none.
            SoftnessError: if the softness is neither a number in [0, 1] nor a policy.

        Example:
            >>> from escnn import gspaces
            >>> from escnn_soft import SoftR2Conv
            >>> space = gspaces.flipRot2dOnR2(4)
            >>> field = space.type(space.regular_repr)
            >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=1.0, chain=[(None, 4)])
            >>> layer.restrict((None, 4), chain=[4]).in_type.fibergroup
            C4
        """
        types = restricted_type(self.in_type, subgroup), restricted_type(self.out_type, subgroup)
        layer: _Soft = self._between(*types, softness, chain)
        layer._become_restricted(self)
        return layer

    @abstractmethod
    def _between(
        self: _Soft, in_type: FieldType, out_type: FieldType, softness: float | Policy, chain: Chain | None
    ) -> _Soft:
        """An empty layer of the same geometry between other types."""

    def _become_dense(self, dense: _ConvNd | torch.nn.Linear, *, strictly: bool = False) -> None:
        """Compute what a plain layer computes, or its strict part, with its device, dtype, mode, ``requires_grad``."""
        self._take_over(dense, dense.weight, dense.weight, dense.bias, strictly=strictly)

    def _become_restricted(self, layer: SoftLayer) -> None:
        """Likewise what a soft layer between other types of the same sizes computes."""
        with torch.no_grad():
            self._take_over(layer, layer.weights, *layer.expand_parameters())

    def _take_over(
        self, module: Module, like: Tensor, kernel: Tensor, bias: Tensor | None, *, strictly: bool = False
    ) -> None:
        self.to(like.device, like.dtype)
        self._set_dense(kernel, bias, strictly=strictly)
        for parameter in self.parameters(recurse=False):
            parameter.requires_grad_(like.requires_grad)
        self.train(module.training)

    def _fill(self, dense: Dense) -> Dense:
        """Write the expanded kernel and bias into a plain layer of the same shape, in evaluation mode."""
        return filled(dense, *self._detached()).eval()

    def _share_parameters(self, layer: EquivariantModule) -> None:
        """Take over an escnn layer's own Parameter objects, with its device, dtype and mode."""
        self.to(layer.weights.device, layer.weights.dtype)
        self.weights = layer.weights
        if self.bias is not None:
            self.bias = layer.bias
        for soft in (self.soft_weights, self.soft_out, self.soft_in, self.soft_bias):
            if soft is not None:
                soft.requires_grad_(layer.weights.requires_grad)
        self._share_basis(layer)
        self.train(layer.training)

    def _share_basis(self, layer: EquivariantModule) -> None:
        """Take over an escnn layer's basis where it differs."""
        for (_, mine), (_, theirs) in zip(
            pair_blocks(self._basisexpansion), pair_blocks(layer.basisexpansion), strict=True
        ):
            adopt({"": theirs.sampled_basis}, "", mine, "sampled_basis")

    def export(self) -> Any:
        """The plain torch layer that computes the same function, where torch has one.

        Raises:
            NoPlainLayerError: if it has none, as over points.
        """
        remedy = "Keep the layer, and train it as it is; torch.export.export takes the network that holds it."
        expected = "a layer with a twin in torch (there is no plain torch layer)"
        raise NoPlainLayerError("layer", self, expected, remedy)

    def hardened(self) -> EquivariantModule:
        """escnn's layer with this layer's content, less its softness: it computes what this one does at softness 0.

        Returns:
            A layer of the hard class that this one extends, with the same Parameter objects.
        """
        return without_softness(self)

    def _hard_attributes(self, cls: type[EquivariantModule]) -> dict[str, Any]:
        """Attributes in which a layer of escnn's class differs, beside the softness."""
        return {}

    def extra_repr(self) -> str:
        """escnn's line, with the softness."""
        chain = "" if self._chain is None else f", chain={list(self._chain)}"
        own = f"{line}, " if (line := super().extra_repr()) else ""
        rank = "" if self.rank is None else f", rank={self.rank}"
        return f"{own}softness={self.softness}{self._closed_words()}{chain}{rank}"


def check_hard(layer: object, hard_class: type[EquivariantModule], remedy: str) -> None:
    """Refuse what is not a layer of escnn's own class, to be softened."""
    instance("layer", layer, hard_class, remedy)
    if isinstance(layer, SoftLayer):
        raise ArgumentError("layer", layer, "a layer that is not soft yet", "Set its .softness instead.")
