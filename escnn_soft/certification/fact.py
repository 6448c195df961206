"""What is known about one tensor of a network: how the group acts on it, and how far off it can be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from escnn_soft.certification.tensor_action import Action

__all__ = ["Fact", "Linear", "Probe", "sample_distances", "sample_norms"]


@dataclass(frozen=True, eq=False)
class Linear:
    """The convolution or matrix that made a tensor, kept so that a scaling after it can be folded in.

    Attributes:
        source: what is known about its input.
        kernel: in double precision.  # shape: (out, in, *sizes)
        stride: per axis.
        fresh: numbers of the terms that it added itself.
    """

    source: Fact
    kernel: Tensor
    stride: tuple[int, ...]
    fresh: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Probe:
    """A known point p between the computed activations for g x and T h: where a layer's own error ends.

    The layer was run on T h, and the layers after it on what came out. The distance from p to the next probe's, or to
    T h after the last one, is that layer's term.

    Attributes:
        layer: number of the term.
        images: p for each row; None for a row that has none.
    """

    layer: int
    images: tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class Fact:
    """Claim: ||h(g x) - g h(x)|| <= sum of the terms, for the tensor h as it is computed.

    Attributes:
        action: the action on the tensor.
        terms: bounds by the number of the layer that causes them, in double precision.
            # shape of each: (rows, samples)
        lipschitz: ||h(y) - h(x)|| <= lipschitz ||y - x|| for every y, rounding aside.  # shape: (samples,)
        gaps: layers that are not covered, with the reason; if there are any, the claim is void.
        linear: the linear map that made the tensor.
        probes: known points whose distances are the last terms, oldest first.
    """

    action: Action
    terms: dict[int, Tensor]
    lipschitz: Tensor
    gaps: tuple[tuple[str, str], ...] = ()
    linear: Linear | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def error(self) -> Tensor:
        """The bound."""
        zero = torch.zeros(len(self.action.elements), len(self.lipschitz), dtype=torch.float64)
        return sum(self.terms.values(), zero)

    @property
    def reach(self) -> Tensor:
        """The bound, and a last row of infinities: what a constant that is valid everywhere has to reckon with."""
        return torch.cat([self.error, torch.full((1, len(self.lipschitz)), torch.inf, dtype=torch.float64)])


def sample_norms(x: Tensor) -> Tensor:
    """The norm of each sample, in double precision."""
    x = x.detach().double()
    return (x.flatten(1) if x.ndim > 1 else x[:, None]).norm(dim=1).cpu()


def sample_distances(first: Tensor, second: Tensor) -> Tensor:
    """The norm of the difference of each sample, in single precision up to a relative 6e-8, less than ``SLACK``."""
    single = first.dtype == second.dtype == torch.float32  # each entry of the difference is rounded once
    return sample_norms(first - second if single else first.double() - second.double())
