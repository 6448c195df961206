"""The factor that keeps a weight within a bound on its own certified error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.bounds import Orbit, error_form, error_forms, largest_squared_error, squared_errors
from escnn_soft.dial.magnitude import largest, scale_of
from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.policy import allowed_share
from escnn_soft.dial.policies.resolution import Resolution
from escnn_soft.grading import GramVector, IrrepGrams, WeightTransform
from escnn_soft.linalg.one_step import one_step

__all__ = ["Allowance"]


class Allowance:
    """What a :class:`Budget` asks of a weight, prepared for one device and dtype; the budget itself may change.

    Args:
        transform: the spectrum, in float64.
        resolution: of the weight.
        device: of the weight.
        dtype: of the weight.
    """

    def __init__(
        self, transform: WeightTransform, resolution: Resolution, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._resolution = resolution
        self.work = torch.promote_types(dtype, torch.float32)
        whole, soft = transform.whole.soft.to(device, self.work), transform.soft
        self._embeddings = [
            None
            if block.basis.embedding is None
            else block.basis.embedding[block.span, full.span].to(device, self.work)
            for block, full in zip(soft.blocks, whole.blocks, strict=True)
        ]
        self._strict = [block.shape[1] for block in transform.equivariant.blocks]
        self._grams = IrrepGrams(whole)
        irreps = list(zip(self._grams.irreps, self._grams.sigmas, strict=True))
        self._lawful = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma > 0]
        self._symmetric = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma == 0]
        self._lawless = [i for i, (irrep, _) in enumerate(irreps) if irrep is None]
        orbit = whole.group.orbit([irrep for irrep, sigma in irreps if irrep is not None and sigma > 0])
        self._orbit = orbit.to(device, self.work)
        self._here = soft.to(device, self.work)
        self._whole = transform.source is None
        if self._whole:
            self._stacks = self._here.stacks
            self._entries = GramVector(self._here, self._stacks.units)
            self._traces, self._errors = self._quadratic_forms(orbit, device)

    def _quadratic_forms(self, orbit: Orbit, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """What is asked of all matrices together, as rows on their entries.

        Args:
            orbit: the irreps that break the symmetry on a grid of the group.
            device: where it is asked.

        Returns:
            Squared norms in the trivial irrep, in no irrep and in all others, and a bound of the largest squared error;
            this error at every point of the grid, None where the certificate takes them by factors.
        """
        sizes = self._grams.sizes
        entries = sum(d * d for d in sizes)
        traces = torch.zeros(len(sizes), entries, dtype=torch.float64)
        parts = torch.arange(entries).split([d * d for d in sizes])
        for i, (d, part) in enumerate(zip(sizes, parts, strict=True)):
            traces[i, part[:: d + 1]] = 1.0
        symmetric, lawless, lawful = (traces[some].sum(0) for some in (self._symmetric, self._lawless, self._lawful))
        crude = sum((c**2 * traces[i] for c, i in zip(orbit.excursions, self._lawful, strict=True)), 0 * lawful)
        norms = torch.stack([symmetric, lawless, lawful, crude]).to(device, self.work)
        lawful_entries = torch.cat([torch.zeros(0, dtype=torch.long), *(parts[i] for i in self._lawful)])
        self._lawful_entries = lawful_entries.to(device)
        moves = error_forms(orbit) if self._lawful and math.isfinite(orbit.factor) else None
        if moves is None:
            return norms, None
        errors = torch.zeros(len(moves), entries, dtype=torch.float64)
        errors[:, lawful_entries] = orbit.factor * moves
        return norms, errors.to(device, self.work)

    def soft(self, coefficients: Sequence[Tensor]) -> list[Tensor]:
        """Those of a whole weight's coefficients that lie outside the equivariant level, block by block."""
        return [c[:, n:] for c, n in zip(coefficients, self._strict, strict=True)]

    def of_coefficients(self, budget: Budget, coefficients: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`of_blocks`, from all coefficients outside the equivariant level, (dim,)."""
        if not self._whole:
            return self.of_blocks(budget, self._here.pieces(coefficients), own)
        stacks, vector, found = self._stacks, self._entries, _Found()

        def forth(coefficients: Tensor, own: Tensor) -> Tensor:
            found.scale = scale = scale_of(largest(coefficients).to(self.work), own)
            entries = vector(stacks.pieces(coefficients.to(self.work) * scale))
            symmetric, lawless, norm, crude = (self._traces @ entries).unbind()
            sup, found.row = self._supremum(entries, crude)
            symmetric = symmetric + (own * scale).to(self.work).square()
            found.eta, found.resolved = budget.limit(symmetric, self._scaled(scale))
            found.allowed, found.given = budget.terms(found.eta, symmetric, (sup, norm), lawless)
            return allowed_share(found.allowed, found.given)

        def back(gradient: Tensor, coefficients: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            # t^2 = allowed / given, where it is less than 1
            allowed, given, eta = found.allowed, found.given, found.eta.square()
            slope = torch.where(given > allowed, gradient / 2 * allowed_share(allowed, given), 0.0)
            tiny = torch.finfo(slope.dtype).tiny
            of_allowed, of_given = slope / allowed.clamp(min=tiny) * eta, slope / -given.clamp(min=tiny)
            row = torch.stack([of_allowed, of_given * (4 - eta), -of_given * eta]) @ self._traces[:3]
            pieces = stacks.pieces(coefficients.to(self.work) * found.scale)
            moved = stacks.coefficients(vector.adjoint(row + of_given * found.row, pieces))
            return (moved * found.scale).to(coefficients), 2 * of_allowed * own * found.scale.double().square()

        return one_step(forth, back, coefficients, own), found.resolved

    def _supremum(self, entries: Tensor, crude: Tensor) -> tuple[Tensor, Tensor]:
        """Bound of the largest squared error, from the entries of all matrices; and of which row it is the product."""
        if self._errors is not None:
            most, place = (self._errors @ entries).max(0)
            row = self._errors.index_select(0, place[None])[0]
        elif self._lawful and math.isfinite(self._orbit.factor):
            sizes = self._grams.sizes
            parts = entries.split([d * d for d in sizes])
            grams = [parts[i].view(sizes[i], sizes[i]) for i in self._lawful]
            most, place = (squared_errors(grams, self._orbit).flatten() * self._orbit.factor).max(0)
            form = self._orbit.factor * error_form(self._orbit, place)
            row = torch.zeros_like(entries).index_copy(0, self._lawful_entries, form)
        else:
            return crude, self._traces[3]
        worse = most < crude
        return torch.where(worse, most, crude).clamp(min=0.0), torch.where(worse, row, self._traces[3])

    def _scaled(self, scale: Tensor) -> Resolution:
        return replace(self._resolution, absolute=self._resolution.absolute * scale)

    def of_blocks(self, budget: Budget, coefficients: Sequence[Tensor], own: Tensor) -> tuple[Tensor, Tensor]:
        """The factor t of all that breaks the symmetry, differentiably.

        Args:
            budget: the bound.
            coefficients: of the directions outside the equivariant level, block by block, of any scale.
                # each: (pairs of copies, directions)
            own: norm of the other part of the weight.  # shape: ()

        Returns:
            t in [0, 1], and whether the dtype can tell a kernel within the budget.  # shapes: (), ()
        """
        scale = scale_of(largest(torch.cat([c.flatten() for c in coefficients])).to(self.work), own)
        scaled = [c.to(self.work) * scale for c in coefficients]
        grams = self._grams([
            c if embedding is None else c @ embedding for c, embedding in zip(scaled, self._embeddings, strict=True)
        ])  # fmt: skip
        nothing = own.new_zeros((), dtype=self.work)
        symmetric, lawless, norm = (
            sum((torch.trace(grams[i]) for i in some), nothing)
            for some in (self._symmetric, self._lawless, self._lawful)
        )
        sup = largest_squared_error([grams[i] for i in self._lawful], self._orbit) if self._lawful else nothing
        symmetric = symmetric + (own * scale).to(self.work).square()
        return budget.factor(symmetric, (sup, norm), lawless, self._scaled(scale))

    def of_products(self, budget: Budget, products: Tensor, free: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Likewise from sums of products of a single block's coefficients, in double precision.

        Args:
            budget: the bound.
            products: of all coefficients with each other, times the square of a scale.  # shape: (D, D)
            free: squared norm of what breaks nothing, times the same.  # shape: ()
            scale: the scale.  # shape: ()

        Returns:
            As :meth:`of_blocks`.
        """
        (first,) = self._strict
        entries = self._entries.of_products([products[first:, first:]])
        symmetric, lawless, norm, crude = (self._traces.double() @ entries).unbind()
        with torch.no_grad():
            _, row = self._supremum(entries.to(self.work), crude.to(self.work))
        sup = (row.double() @ entries).clamp(min=0.0)
        return budget.factor(symmetric + free, (sup, norm), lawless, self._scaled(scale))


class _Found:
    """What the way back needs of the way there."""

    scale: Tensor
    row: Tensor
    eta: Tensor
    resolved: Tensor
    allowed: Tensor
    given: Tensor
