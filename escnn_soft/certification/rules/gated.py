"""Gated non-linearities: fields multiplied by the sigmoid of an invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from escnn.nn import FieldType, GatedNonLinearity2, GatedNonLinearityUniform, InducedGatedNonLinearity1
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, parameters_norm

__all__ = ["Gated", "GatedPair", "GatedUniform", "field_norms", "largest", "sizes_of"]


def field_norms(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """The norms (n, fields, ...) of each field of x (n, channels, ...) at each point, in double precision."""
    parts = x.detach().double().cpu().split(list(sizes), dim=1)
    return torch.stack([part.norm(dim=1) for part in parts], dim=1)


def sizes_of(field_type: FieldType) -> list[int]:
    """Channels of each field."""
    return [rho.size for rho in field_type.representations]


def largest(x: Tensor) -> Tensor:
    """The largest entry of each sample."""
    return x.flatten(1).amax(dim=1)


class Gated(Rule):
    """x_i sigmoid(s_i - b_i): |change| <= |dx_i| + |x_i| |ds_i| / 4, with x_i the computed field.

    So the constant is sqrt(1 + M^2 / 16), M the largest norm of a field on this input, plus 1/16 under the root where
    the gates are kept.
    """

    ulps = 16.0
    local = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the largest norm of a gated field."""
        x = call.x.clone()
        gates = call.module.gates_indices
        # escnn keeps the two ends of a range of channels, or a list of channels
        contiguous = call.module._contiguous["gate"]
        x[:, slice(int(gates[0]), int(gates[1])) if contiguous else gates] = 0
        kept = 0 if call.module.drop_gates else 1
        return ((1 + (largest(field_norms(x, sizes_of(call.type))) ** 2 + kept) / 16).sqrt(),)

    def offset(self, call: Call) -> float:
        """The biases of the gates."""
        return parameters_norm(call.module, call, "bias")

    def own(self, call: Call, row: int) -> Deviation | None:
        """The gates of induced representations move with their fields: left to a measurement."""
        return None if isinstance(call.module, InducedGatedNonLinearity1) else super().own(call, row)


class GatedPair(Rule):
    """As :class:`Gated`, with the gates in a field of their own."""

    ulps = 16.0
    local = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """M / 4 for the gates, 1 for the fields."""
        assert isinstance(call.module, GatedNonLinearity2)
        fields = call.types[1]
        assert fields is not None
        return largest(field_norms(call.inputs[1], sizes_of(fields))) / 4, 1.0

    def offset(self, call: Call) -> float:
        """The biases of the gates."""
        return parameters_norm(call.module, call, "bias")


class GatedUniform(Rule):
    """As :class:`Gated`, with gates for each irrep inside a field."""

    ulps = 16.0
    local = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the largest norm of a field."""
        assert isinstance(call.module, GatedNonLinearityUniform)
        if call.module.gate_function is not torch.sigmoid:
            return (math.inf,)
        return ((1 + largest(field_norms(call.x, sizes_of(call.type))) ** 2 / 16).sqrt(),)

    def no_constant(self, call: Call) -> str:
        """Gates other than the sigmoid are not known."""
        return "its gate is not torch.sigmoid, so its slope is not known"

    def offset(self, call: Call) -> float:
        """The biases of the gates."""
        return parameters_norm(call.module, call, "bias")
