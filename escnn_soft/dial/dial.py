"""One softness on one weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import cast

import torch
from torch import Tensor

from escnn_soft._lasting import place
from escnn_soft.dial.allowance import Allowance
from escnn_soft.dial.balance import CoefficientBalance, WeightBalance
from escnn_soft.dial.held import Held
from escnn_soft.dial.magnitude import largest, norm, scale_of
from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.policy import FLOOR, Policy
from escnn_soft.dial.policies.resolution import Resolution
from escnn_soft.errors import SoftnessError
from escnn_soft.grading import DampedSynthesis, GradedPixels, GradedWeight, Grading, Level, LevelEnergy, SpectralGrading
from escnn_soft.linalg.straight_through import nothing_unless

__all__ = ["Dial", "check_bounded"]

_FEW = 64
"""Channels that are looked at first."""

_CLOSED = 1e-15
"""Gain below which a level counts as closed when the weights are to stand for what they stood for."""


class Dial:
    r"""The levels of a weight, the gain that a policy gives to each, and what passes.

        F(W) = sum over levels of gain_l * W_l,         gain_l = static_l, times t in levels that break the symmetry

    The factor t <= 1 is that of a policy which depends on the weights, and 1 for all others. Turning the dial changes
    one vector of gains; the levels stay where they are.

    Args:
        graded: the levels, in float64.
        policy: the rule.
        device: of the weight.
        dtype: in which weights are filtered; that of the weight, or wider.
        weight_dtype: that of the weight; ``dtype`` if None.
        held: how the weight is held.
        anchored: whether something else in the layer breaks nothing, so that a ``Graded`` can measure by it.

    Attributes:
        graded: the levels, in float64.
        here: the levels on the weight's device.
        policy: the rule.
        held: how the weight is held.
        weight_dtype: that of the weight.
        resolution: what rounding can do to the weight.
        equivariant: number of levels whose gain is always 1; they come first.
        anchored: whether something breaks nothing, here or beside.
        static: the gains as the policy alone has them.  # shape: (levels,)
        undamped: whether all of these are 1.
        fixed: whether the gains depend on no parameter.
        limited: whether a factor t depends on the weights.
        closed: whether nothing but the equivariant levels passes, whatever the parameters.
        open: whether everything passes as it is, whatever the parameters.
    """

    def __init__(
        self,
        graded: Grading,
        policy: Policy,
        device: torch.device,
        dtype: torch.dtype,
        weight_dtype: torch.dtype | None = None,
        *,
        held: Held = Held.COEFFICIENTS,
        anchored: bool = False,
    ) -> None:
        self.graded, self.policy, self.held = graded, policy, held
        self.equivariant = sum(level.equivariant for level in graded.levels)
        self.anchored = anchored or any(level.symmetric and level.dim for level in graded.levels)
        self._places = graded.dial
        self._exponents = torch.tensor([level.exponent for level in graded.levels], dtype=torch.float64)
        self._breaks_nothing = torch.tensor([level.symmetric for level in graded.levels], dtype=torch.bool)
        self._whole = not isinstance(graded, SpectralGrading) or graded.whole is graded
        self.to(device, dtype, weight_dtype)

    def follow(self, weight: Tensor) -> None:
        """Filter a weight like this one where it is."""
        there = self.place(weight)
        if (self.device, self.dtype, self.weight_dtype) != there:
            self.to(*there)

    @staticmethod
    def place(weight: Tensor) -> tuple[torch.device, torch.dtype, torch.dtype]:
        """Where a weight is, the dtype in which it is filtered, to be rounded at the end, and its own."""
        device, dtype = place(weight)
        return device, torch.promote_types(dtype, torch.float32), dtype

    @torch.inference_mode(False)  # what is prepared here serves training too
    def to(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype | None = None) -> None:
        """Bring the levels and gains to another device or dtype, cast from float64."""
        self.device, self.dtype = device, dtype
        self.weight_dtype = dtype if weight_dtype is None else weight_dtype
        self.resolution = self._resolution()
        self.here = self.graded.to(device, dtype)
        self._allowance: Allowance | None = None
        places = torch.arange(len(self.graded.levels), device=device)
        self._strict_gains = (places < self.equivariant).to(dtype)
        self._symmetric = self._breaks_nothing.to(device)
        self.turn(self.policy)

    def _resolution(self) -> Resolution:
        if not isinstance(self.graded, SpectralGrading):
            return Resolution.of(self.weight_dtype, sum(level.dim for level in self.graded.levels), 1.0)
        transform = self.graded.transform
        return Resolution.of(self.weight_dtype, math.prod(transform.shape), transform.condition)

    @torch.inference_mode(False)
    def turn(self, policy: Policy) -> None:
        """Take another policy."""
        self.policy = policy
        gains = self._static()
        self.closed = not bool(gains[self.equivariant :].any())
        depends = policy.bounded or (policy.balanced and cast("Graded", policy).softness < 1)
        self.undamped = self._whole and bool((gains == 1).all())
        self.open = self.undamped and not (policy.learned or depends)
        self.limited = depends and not self.closed
        self.fixed = self.closed or not (policy.learned or depends)
        self.static = gains.to(self.device, self.dtype)
        self._prepare()

    def _static(self) -> Tensor:
        """The gains as the policy alone has them, in float64."""
        if self.policy.balanced:
            gains = self._graded_gains(cast("Graded", self.policy))
        else:
            gains = self.policy.gains(self._places)
        return torch.cat([gains.new_ones(self.equivariant), gains[self.equivariant :]])

    def _graded_gains(self, policy: Graded) -> Tensor:
        if not self.anchored and policy.softness < 1:
            return torch.zeros_like(self._exponents)
        if self.held is Held.GIVEN:
            return torch.full_like(self._exponents, float(policy.softness > 0))
        return torch.where(self._breaks_nothing, policy.opening, policy.gains(self._exponents))

    def _prepare(self) -> None:
        """What the factor t is computed of, and multiplies."""
        self._balance: CoefficientBalance | WeightBalance | None = None
        if not self.limited:
            return
        if self.held is not Held.COEFFICIENTS:
            self._still = torch.where(self._symmetric, self.static, 0.0)
            mask = (self._still > 0).to(self._still)
            self._still_mask = self._still if bool((self._still == mask).all()) else mask
            # what is left of a weight in which every gain is 1
            self._moving = None if self.undamped else torch.where(self._symmetric, 0.0, self.static)
        if self.policy.bounded:
            if self._allowance is None:
                transform = cast("SpectralGrading", self.graded).transform
                self._allowance = Allowance(transform, self.resolution, self.device, self.weight_dtype)
        elif self.held is Held.COEFFICIENTS:
            soft = cast("GradedWeight", self.here).transform.soft
            symmetric = self._symmetric[self.equivariant :]
            places = soft.spread(symmetric).nonzero()[:, 0] if bool(symmetric.any()) else None
            self._balance = CoefficientBalance(
                soft, self._exponents[self.equivariant :], cast("Graded", self.policy), places, self.dtype
            )
        else:
            self._balance = WeightBalance(
                self.here, self._exponents, self._symmetric, cast("Graded", self.policy), self.held
            )

    # ------------------------------------------------------------------ gains

    def gains(self, t: Tensor | None, logits: Tensor | None) -> Tensor:
        """The gain of each level, as the policy and the parameters have it at this moment.

        Args:
            t: the factor of a limited policy.  # shape: ()
            logits: parameters of a learned policy.  # shape: (levels outside the equivariant one,)

        Returns:
            The gains, differentiably.  # shape: (levels,)
        """
        if t is not None:
            return torch.where(self._symmetric, self.static, t.to(self.static) * self.static)
        if self.fixed or logits is None:
            return self.static
        return torch.cat([self.static[: self.equivariant], logits.to(self.dtype).sigmoid()])

    def first_logits(self, dtype: torch.dtype) -> Tensor:
        """What the parameters of a learned policy begin with."""
        return self.static[self.equivariant :].to(dtype).logit()

    @property
    def learnable(self) -> int:
        """Number of a learned policy's parameters."""
        return len(self.graded.levels) - self.equivariant

    def bound(self, move: Callable[[Level], float]) -> float:
        """Largest e(g) / ||W|| that the policy allows, the rounding of the weight's dtype included.

        Args:
            move: how far the element, or any element, moves a unit vector of a level: ||psi(g) - I||.

        Returns:
            The bound, known before any weight is.
        """
        levels = [level for level in self.graded.levels if level.dim and not level.symmetric]
        moves = [move(level) for level in levels]
        most, rounding = max(moves, default=0.0), self.resolution
        allowed = 0.0 if self.closed else self.policy.error_bound(levels, moves)
        # the rounding of a kernel lies in every direction, those that no level has included
        return min(allowed * (1 + rounding.breaking), most) + rounding.relative * max(most, 2.0)

    def with_excess(self, bound: float, value: Tensor, own: Tensor | None = None, beside: float = 0.0) -> float:
        """A bound of :meth:`bound`, with what a weight as it is adds to it.

        What should break nothing does, where escnn's rings miss the pixels, and so does all that is rounded among
        subnormal numbers. A budget's factor has taken both into account.

        Args:
            bound: for some elements; 0 for the identity alone.
            value: the weight as it is used.
            own: of it what should break nothing, as it is stored; None for what has been computed by these levels.
            beside: norm of what else in the layer counts.

        Returns:
            The bound, 2 at most where it was no more.
        """
        if bound == 0.0 or value.is_meta or (self.policy.bounded and not self.closed):
            return bound
        graded = self.graded.whole if isinstance(self.graded, SpectralGrading) else self.graded
        norm = math.hypot(math.sqrt(float(graded.energies(value.detach().double().cpu()).sum())), beside)
        if norm == 0.0:
            return bound
        astray = 0.0
        if own is not None:
            breaking = torch.tensor([not level.symmetric for level in graded.levels])
            astray = math.sqrt(float(graded.energies(own.detach().double().cpu())[breaking].sum()))
        moved = (2 + 2 * bound) * (astray + float(self.resolution.absolute)) / norm
        return min(bound + max(moved - 2 * self.resolution.relative, 0.0), max(bound, 2.0))

    # ------------------------------------------------------------------ what passes

    def synthesis(self, *, joint: bool) -> DampedSynthesis | None:
        """How weights are made of coefficients, at this softness.

        Args:
            joint: whether of all of them; else of those outside the equivariant level.

        Returns:
            The map; None where nothing but the equivariant level passes, or the gains are parameters.
        """
        if self.closed or self.policy.learned:
            return None
        transform, first = cast("GradedWeight", self.here).transform, 0 if joint else self.equivariant
        gains, breaking = self.static[first:], ~self._symmetric[first:]
        damping = None if bool((gains == 1).all()) else gains
        return DampedSynthesis(transform if joint else transform.soft, joint=joint, gains=damping, breaking=breaking)

    def factor(
        self, coefficients: Tensor, own: Tensor | None, astray: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The factor t of what breaks the symmetry in a weight that is given by coefficients.

        Args:
            coefficients: of the directions outside the equivariant level.  # shape: (dim,)
            own: norm of the equivariant part of the weight, with what else in the layer breaks nothing; None where
                the dial is not limited.  # shape: ()
            astray: what the weight has without them in their directions; None for nothing.  # shape: (dim,)

        Returns:
            t, differentiably, None for a policy that has none; under a budget, whether the weight's dtype can tell a
            weight within it.  # shapes: (), ()
        """
        if not self.limited:
            return None, None
        assert own is not None
        if self._balance is None:
            assert self._allowance is not None
            return self._allowance.of_coefficients(cast("Budget", self.policy), coefficients, own)
        assert isinstance(self._balance, CoefficientBalance)
        return self._balance(coefficients, own, astray), None

    def beside(self, kernel: Dial, weight: Tensor) -> Tensor | None:
        """Norm of what breaks nothing in the kernel of this dial's layer, by which a ``Graded`` measures a bias."""
        return kernel.strict(weight).norm() if self.limited and self.policy.balanced else None

    def filtered(self, weight: Tensor, logits: Tensor | None, beside: Tensor | None = None) -> Tensor:
        """F(W), differentiably in the weight and the parameters; the weight itself where the dial is open.

        Args:
            weight: the unfiltered weight.
            logits: parameters of a learned policy.  # shape: (levels outside the equivariant one,)
            beside: norm of what else in the layer breaks nothing.  # shape: ()

        Returns:
            The filtered one, in the same shape and dtype.
        """
        if self.open:
            return weight
        if self.closed:
            return self.strict(weight)
        work = weight.to(self.dtype)
        if not self.limited:
            return self.here.filtered(work, self.gains(None, logits)).to(weight.dtype)
        if isinstance(self.here, GradedPixels):
            passed, t, resolved = self._limited_pixels(self.here, work, beside)
            return (passed if resolved is None else nothing_unless(resolved, passed)).to(weight.dtype)
        still = self._unbroken(work, self._still, self._still_mask)
        t, resolved = self._factor_of(work, still, beside)
        t = t.to(work)
        if self._moving is None:
            passed = torch.lerp(still, work, t)
        else:
            passed = still + t * self.here.filtered(work, self._moving)
        return (passed if resolved is None else nothing_unless(resolved, passed)).to(weight.dtype)

    def weight_factor(self, weight: Tensor, beside: Tensor | None = None) -> Tensor | None:
        """The factor t of what breaks the symmetry in a dense weight; None for a policy that has none."""
        if not self.limited:
            return None
        work = weight.to(self.dtype)
        if isinstance(self.here, GradedPixels):
            return self._limited_pixels(self.here, work, beside)[1]
        return self._factor_of(work, self._unbroken(work, self._still, self._still_mask), beside)[0]

    def _limited_pixels(
        self, here: GradedPixels, weight: Tensor, beside: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A limited filter of functions on pixels, the factor t, and whether it is resolved."""
        # by the products of their coefficients: such kernels are large and these matrices small, and what counts is
        # how often kernels are read
        scale = scale_of(largest(weight), None).clamp(max=torch.finfo(self.dtype).tiny ** -0.75)  # 1 / scale is normal
        (c,) = replace(here, analysis=here.analysis * scale).block_coefficients(weight)
        products = here.products(c)
        squares = products.diagonal()
        symmetric, still = (v[here.transform.row_levels] for v in (self._symmetric, self._still))
        most = squares.detach()
        some = torch.where(symmetric, most, 0.0).max() > (FLOOR * torch.finfo(self.dtype).eps) ** 2 * most.max()
        still = still * some  # 0 where what breaks nothing is no more than rounding
        free = (still.square() * squares).sum()
        resolved: Tensor | None = None
        if self._balance is None:
            assert self._allowance is not None
            t, resolved = self._allowance.of_products(cast("Budget", self.policy), products, free, scale)
        else:
            assert isinstance(self._balance, WeightBalance)
            energies = squares.new_zeros(len(here.levels)).index_add(0, here.transform.row_levels, squares)
            t = self._balance.of_energies(energies, free, scale, beside)
        gains = torch.where(self._symmetric, self._still * some, t.to(c) * self.static)
        passed = here.synthesised(c, gains / scale).reshape(weight.shape)
        return torch.where((gains == 1).all(), weight, passed), t, resolved  # what is allowed passes as it is

    @torch.no_grad()
    def shows(self, weight: Tensor) -> bool:
        """Whether a few channels of a weight tell already that some of it passes; if not, all have to be asked."""
        if not (self.limited and isinstance(self.here, GradedPixels)) or weight.is_meta or not weight.numel():
            return False
        analysis, still = self.here.analysis, self._still[self.here.transform.row_levels]
        rows = weight.reshape(-1, len(analysis))
        (few,) = self.here.block_coefficients(rows[:_FEW].to(analysis))
        # no coefficient is larger, and so no norm over the channels, which is what the filter compares
        most = largest(weight).to(analysis) * analysis.abs().sum(0).max() * math.sqrt(len(rows))
        unbroken = few * still
        beyond = FLOOR * torch.finfo(self.dtype).eps * most
        seen = self.here.synthesised(few, still).to(weight.dtype)  # 0 where the weight's dtype has no such numbers
        return bool(unbroken.abs().max() > beyond) and bool(seen.any())

    def _factor_of(self, weight: Tensor, still: Tensor, beside: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The factor t, from the weight and what of it breaks nothing, after the gains; and whether it is resolved."""
        own = self._isometric(still)
        if self._balance is None:
            assert self._allowance is not None
            pieces = self._allowance.soft(cast("SpectralGrading", self.here).block_coefficients(weight))
            return self._allowance.of_blocks(cast("Budget", self.policy), pieces, norm(own))
        assert isinstance(self._balance, WeightBalance)
        return self._balance(weight, own, beside), None

    def _isometric(self, still: Tensor) -> Tensor:
        """What has the norm that counts of a weight that breaks nothing."""
        if isinstance(self.here, GradedWeight):
            return self.here.isometric(still)
        squared = self.here.energies(still)[self._symmetric].sum()
        some = squared > 0  # sqrt has no derivative at 0, where a table of zeros begins
        return torch.where(some, torch.where(some, squared, 1.0).sqrt(), 0.0)

    def _unbroken(self, weight: Tensor, gains: Tensor, mask: Tensor) -> Tensor:
        """The levels of a weight that break nothing, by their gains; 0 where they are no more than rounding."""
        # the rounding that the first filter leaves is of the size of the whole weight, not of this part of it
        still = self.here.filtered(self.here.filtered(weight, gains), mask)
        return still * (largest(still) > FLOOR * torch.finfo(self.dtype).eps * largest(weight))

    def strict(self, weight: Tensor) -> Tensor:
        """The equivariant part of a weight, at any softness."""
        return self._unbroken(weight.to(self.dtype), self._strict_gains, self._strict_gains).to(weight.dtype)

    # ------------------------------------------------------------------ turning it without a jump

    def coefficients_for(
        self,
        used: Tensor,
        coefficients: Tensor,
        own: Tensor | None,
        logits: Tensor | None,
        astray: Tensor | None = None,
    ) -> Tensor:
        """Coefficients that now stand for what was in use, as far as the policy allows it.

        Args:
            used: coefficients of the weight as it was.  # shape: (dim,)
            coefficients: those that are trained, kept where a level is closed now.  # shape: (dim,)
            own: as for :meth:`factor`.
            logits: parameters of a learned policy.
            astray: as for :meth:`factor`.

        Returns:
            t used / gain, of which the policy's factor is 1.  # shape: (dim,)
        """
        soft = cast("GradedWeight", self.here).transform.soft
        gains = soft.spread(self.gains(None, logits)[self.equivariant :]).double()
        some = gains > _CLOSED
        found = torch.where(some, used.double() / torch.where(some, gains, 1.0), coefficients.double())
        t, _ = self.factor(found, own, astray)
        if t is not None:
            found = found * soft.spread(torch.where(self._symmetric[self.equivariant :], 1.0, t.to(found)))
        return found.to(coefficients.dtype)

    def weight_for(self, used: Tensor, weight: Tensor, logits: Tensor | None) -> Tensor:
        """Likewise a dense weight, in its shape and dtype."""
        gains = self.gains(None, logits)
        some = gains > _CLOSED
        stretched = self.here.filtered(used.to(self.dtype), torch.where(some, 1 / torch.where(some, gains, 1.0), 0.0))
        return (stretched + self.here.filtered(weight.to(self.dtype), (~some).to(gains))).to(weight.dtype)

    # ------------------------------------------------------------------ what it is made of

    def spectrum(self, weight: Tensor, gains: Tensor) -> tuple[LevelEnergy, ...]:
        """The energy of a weight, as it is used, and the gain of each level.

        Args:
            weight: after the gains.
            gains: of all levels.  # shape: (levels,)

        Returns:
            One entry a level, in the order of the dial.
        """
        energies = self.graded.energies(weight.detach().double().cpu()).tolist()
        names = [f.name for f in fields(Level)]
        return tuple(
            LevelEnergy(**{name: getattr(level, name) for name in names}, energy=energy, gain=gain)
            for level, energy, gain in zip(self.graded.levels, energies, gains.tolist(), strict=True)
        )


def check_bounded(graded: Grading, policy: Policy) -> None:
    """Refuse a policy that needs a bound of the error where there is none.

    Args:
        graded: the levels.
        policy: the policy.

    Raises:
        SoftnessError: if no irreps grade the weight.
    """
    if policy.bounded and not isinstance(graded, SpectralGrading):
        remedy = "Use a float, Cutoff or Learned."
        raise SoftnessError("softness", policy, "a softness that needs no bound of the error here", remedy)
