"""Adam with one second moment a layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch.nn import Module

from escnn_soft.errors import ArgumentError
from escnn_soft.training.elementwise import elementwise_step
from escnn_soft.training.layer_optimizer import LayerOptimizer
from escnn_soft.training.layer_parameters import LayerParameters

__all__ = ["LayerwiseAdam"]


class LayerwiseAdam(LayerOptimizer):
    r"""Adam whose step commutes with the group, and keeps a symmetry that the data have.

    Adam divides each coordinate by the size of its own gradient. In a layer with a softness that does harm twice: a
    direction that breaks the symmetry and whose gradient is zero up to rounding moves as fast as any other, and where
    an irrep turns coordinates into each other the step depends on the axes. Here one number divides all of a layer:

        v <- beta_2 v + (1 - beta_2) mean of g^2 over weights and soft_weights,     u likewise over bias and soft_bias
        w <- w - layer_rate lr m / (sqrt(v) + eps),     b <- b - layer_rate lr m / (sqrt(u + v) + eps)

    m is the running mean of the gradient, and all means are corrected for their start, as in Adam. A bias that has no
    equivariant part has a gradient of rounding alone on symmetric data; v gives it a scale. Parameters of no layer
    with a softness (heads, norms, ``level_logits``) get ordinary Adam, bit by bit. A softened plain weight is a layer
    with its bias. The state is half of Adam's for layers.

    Weight decay is decoupled, as in AdamW: every parameter shrinks by lr * weight_decay a step.

    Where escnn's weights are frozen and soft ones are not, only the latter set the scale: on symmetric data that is
    rounding, so freeze both. Sharded parameters (FSDP2) cost one all-reduce of a number each.

    Source: second moments a layer are NovoGrad's (Ginsburg et al., arXiv 1905.11286), those of a block Adam-mini's
    (Zhang et al., arXiv 2406.16793); VectorAdam (Ling et al., arXiv 2205.13599) keeps a step equivariant by one moment
    a vector, which symmetric data do not survive: rounding in a vector that breaks the symmetry is its own scale.

    Args:
        model: a model, or groups from :func:`layer_group` with options of their own.
        lr: that of Adam, for all other parameters.
        betas: shares of the past in the means of the gradient and of its square.
        eps: added to what is divided by.
        weight_decay: decoupled.
        layer_rate: layers move at layer_rate * lr. A mean of squares is larger than most of them, so at 1 layers are
            slower than under Adam; at 2, strict networks reach the same loss.
        strict: ``"layer"``, or ``"adam"`` for ordinary moments of escnn's own weights and biases at ``lr``: strict
            networks then train as under Adam, bit by bit. Soft parts are less stable: in 600 steps rounding grew 10 to
            10^5 times more, the more the larger lr; a ``layer_rate`` of 0.3 held it.

    Raises:
        ArgumentError: if an option is outside its domain, or the parameters come without their layers.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=1.0)
        >>> optimizer = LayerwiseAdam(layer, lr=1e-3)
        >>> layer(field(torch.ones(1, 4, 9, 9))).tensor.square().sum().backward()
        >>> optimizer.step()
        >>> layer.certificate().relative.sup < 1e-5  # constant images say nothing about breaking
        True
    """

    def __init__(
        self,
        model: Module | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        layer_rate: float = 2.0,
        strict: str = "layer",
    ) -> None:
        if strict not in ("layer", "adam"):
            remedy = "Use 'adam' to train strict networks as torch.optim.Adam does."
            raise ArgumentError("strict", strict, "'layer' or 'adam'", remedy)
        self._ordinary_strict = strict == "adam"
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "layer_rate": layer_rate}
        super().__init__(model, options)

    def _update(self, index: int, group: dict[str, Any], layers: Sequence[LayerParameters]) -> None:
        ordinary = {id(p) for layer in layers for p in layer.strict} if self._ordinary_strict else set()
        layerwise = {id(p) for layer in layers for p in layer.all} - ordinary
        if layerwise:
            self._layerwise(index, group, layers, lambda p: id(p) in layerwise)
        rest = [p for p in group["params"] if p.grad is not None and id(p) not in layerwise]
        elementwise_step(rest, self.state, group)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold."""
        return {**super().__getstate__(), "_ordinary_strict": self._ordinary_strict}
