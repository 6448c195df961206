"""What `certify` knows about a whole network on one input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from escnn.group import GroupElement

from escnn_soft._record import Record
from escnn_soft.errors import ArgumentError

__all__ = ["LayerTerm", "NetworkCertificate"]


@dataclass(frozen=True)
class LayerTerm(Record):
    """What one layer contributes to the bound, for the worst element and sample.

    Attributes:
        layer: its name in the model.
        kind: soft, exact, measured, registered or head; ``rounding`` for floating-point arithmetic in all layers.
        how: ``operator`` (from the weights), ``measured`` (on this input's activations), ``exact`` or ``rounding``.
        own: its own equivariance error on this input.
        factor: what the layers after it make of this error, at most.
        contribution: own times factor.
    """

    layer: str
    kind: str
    how: str
    own: float
    factor: float
    contribution: float


@dataclass(frozen=True)
class NetworkCertificate(Record):
    """Claim: ||f(g y) - g f(y)|| <= bound for every element g that is covered and ||y - x|| <= radius, as computed.

        ||f(T_0 x) - T_L f(x)|| <= sum over layers of (product of the Lipschitz constants after it) * own error

    For a single element it is no more than this error as it was measured, and what rounding did to both ends.
    Norms are Euclidean, over the channels and pixels of one sample; over a batch the bound is the maximum.

    Attributes:
        bound: the maximum over the elements and samples; infinite if anything asked for is not covered. If no elements
            were asked for, those that move pixels off the grid, those that a restriction to a subgroup leaves behind,
            and, where layers can only be measured, those of an infinite group beside a sample do not count: they are
            left out, and named in ``not_covered``.
        terms: what each layer contributes at the worst element and sample, at most.
        layerwise: what they add up to; the bound, or more where the error of the whole network was measured.
        lipschitz: ||f(y) - f(x)|| <= lipschitz ||y - x|| for this x and every y, rounding aside.
        covered: the elements that are covered, the only ones the claim is about; "every element" for an infinite group
            at once.
        not_covered: pairs (layer, reason), also of elements that were left out of a finite bound.
        worst: the element at which the bound is attained.
        samples: for each covered element the bound for each sample.
        norms: ||f(x)|| of each sample.
        radius: how far from x the inputs may lie; 0 for x alone.
        output: how the output transforms.
        assumptions: what the claim rests on.

    Example:
        >>> import torch
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv
        >>> from escnn_soft.certification import certify
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> model = nn.SequentialModule(SoftR2Conv(image, hidden, 3, softness=0.5), nn.ReLU(hidden)).eval()
        >>> cert = certify(model, image(torch.ones(1, 1, 7, 7)))
        >>> cert.certified, cert.bound < 1e-3
        (True, True)
    """

    recorded: ClassVar[tuple[str, ...]] = ("certified", "relative")

    bound: float
    terms: tuple[LayerTerm, ...]
    layerwise: float
    lipschitz: float
    covered: tuple[GroupElement | str, ...]
    not_covered: tuple[tuple[str, str], ...]
    worst: GroupElement | str | None
    samples: tuple[tuple[float, ...], ...]
    norms: tuple[float, ...]
    output: str
    assumptions: tuple[str, ...]
    radius: float = 0.0

    @property
    def certified(self) -> bool:
        """Whether the bound says anything: it is finite."""
        return math.isfinite(self.bound)

    @property
    def relative(self) -> float:
        """The largest ratio of a sample's bound to its ||f(x)||; infinite where the bound is."""
        if not self.certified:
            return math.inf
        pairs = (pair for values in self.samples for pair in zip(values, self.norms, strict=True))
        return max(bound / norm if norm > 0 else math.inf if bound > 0 else 0.0 for bound, norm in pairs)

    def at(self, element: GroupElement | str) -> float:
        """The bound for an element that was asked for, the maximum over the samples; infinite if it is not covered."""
        for name, values in zip(self.covered, self.samples, strict=True):
            if name in (element, EVERY):
                return max(values)
        return math.inf

    def __repr__(self) -> str:
        """The bound, a line per layer that contributes, and what is not covered."""
        what = f"{self.bound:.3g}" if self.certified else "none: not covered"
        lines = [f"NetworkCertificate: ||f(g x) - g f(x)|| <= {what}"]
        if self.certified:
            lines[0] += (
                f" (relative {self.relative:.2g}) at {name_of(self.worst)}; Lipschitz constant {self.lipschitz:.3g}"
            )
        if self.radius:
            lines[0] += f", for every y with ||y - x|| <= {self.radius:.3g} in the place of x"
        if self.layerwise > self.bound:
            lines[0] += f"; of single layers, added up: {self.layerwise:.3g}"
        if self.terms:
            width = max(len(term.layer) for term in self.terms)
            lines.append(f"  {'layer':{width}}  {'kind':10} {'from':8} {'own error':>10} {'factor':>9} {'share':>10}")
        lines += [
            f"  {t.layer:{width}}  {t.kind:10} {t.how:8} {t.own:10.3g} {t.factor:9.3g} {t.contribution:10.3g}"
            for t in self.terms
        ]
        lines.append(f"  covered: {_names(self.covered)}; output: {self.output}")
        lines += [f"  not covered: {layer}: {reason}" for layer, reason in self.not_covered]
        return "\n".join(lines + [f"  assumes: {text}" for text in self.assumptions])


EVERY = "every element"
"""Stands for all elements of an infinite group at once."""


def name_of(element: GroupElement | str | None) -> str:
    """The name of an element on one line; escnn writes rotations in space as matrices."""
    return " ".join(str(element).split())


def check_elements(elements: object) -> Sequence[GroupElement]:
    """The elements as a sequence, or an error."""
    if isinstance(elements, GroupElement):
        return (elements,)
    if isinstance(elements, Sequence) and elements and all(isinstance(g, GroupElement) for g in elements):
        return elements
    expected = "a sequence of group elements of the input's fibre group, or None"
    raise ArgumentError("elements", elements, expected, "Use x.type.fibergroup.elements, or leave it out.")


def _names(elements: Sequence[GroupElement | str]) -> str:
    names = [name_of(g) for g in elements]
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "") if names else "nothing"
