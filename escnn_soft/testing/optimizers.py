"""Assertions about optimisers: their step commutes with the group, and keeps a symmetry that the data have."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from escnn.group import cyclic_group
from escnn.gspaces import flipRot2dOnR2, no_base_space
from escnn.nn import PointwiseNonLinearity, SequentialModule
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from escnn_soft.functions import act
from escnn_soft.layers import SoftLinear, SoftR2Conv, dials
from escnn_soft.testing.layer_strategies import randomize
from escnn_soft.testing.moved_layers import MovedLayer, distance, moved_layer, norm
from escnn_soft.testing.samples import exact_elements, random_features

__all__ = ["KEPT", "assert_covariant_step", "assert_keeps_symmetry"]

KEPT = 1e-5
"""Largest relative equivariance error, in single precision, that is put down to rounding in training."""

_SAMPLES = 6
_SIDE = 9


def assert_covariant_step(
    optimizer: Callable[[Module], Optimizer],
    layer: Module | None = None,
    *,
    steps: int = 4,
    tolerance: float = 1e-10,
) -> float:
    r"""Assert that training commutes with the group: from a moved start on moved data, the moved weights.

        W_t[g . W_0, g . data] = g . W_t[W_0, data]                for every element g and step t

    A layer is fitted to random data, (<W, X_i> - y_i)^2 with X_i shaped like its kernel and bias, which is what a
    linear layer's own data come to; its kernel, its bias and the X_i are moved by their definition,
    rho_out(g) W rho_in(g)^-1. Adam fails where an irrep is no signed permutation: for C8, SO(3) and O(3), not for C4.

    Args:
        optimizer: makes an optimiser for a model, such as ``LayerwiseAdam``.
        layer: with softness 1, used as a model only; by default a ``SoftLinear`` of C8. On a grid only elements that
            move pixels to pixels are tried.
        steps: number of steps.
        tolerance: largest distance from the moved weights, relative to how far training went; all is done in float64.

    Returns:
        The largest such distance.

    Raises:
        AssertionError: if the step does not commute.
        ArgumentError: if the layer has no softness.

    Example:
        >>> from escnn_soft.training import LayerwiseAdam
        >>> assert_covariant_step(LayerwiseAdam) < 1e-10
        True
        >>> assert_covariant_step(lambda m: torch.optim.Adam(m.parameters()))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        AssertionError: Adam does not commute with ...
    """
    start = moved_layer(_opened(_eighth_turns() if layer is None else layer).double())
    randomize(start.layer)
    before = [part.detach() for part in start.parts()]
    data, targets = _regression(before)
    here, name = _fitted(optimizer, start, before, data, targets, steps)
    travelled = distance(here, before)
    if not travelled > tolerance * norm(before):
        raise AssertionError(f"{name} does not move the layer: nothing was tried. Remedy: raise lr.")
    worst = 0.0
    for element in start.elements:
        moved_data = [start.moved(element, x) for x in data]
        there, _ = _fitted(optimizer, start, start.moved(element, before), moved_data, targets, steps)
        error = distance(there, start.moved(element, here)) / travelled
        if not error <= tolerance:
            raise AssertionError(
                f"{name} does not commute with {element}: after {steps} steps from a moved start on moved data the "
                f"weights are {error:.3g} of the distance travelled away from the moved weights.\n"
                "Remedy: divide the coordinates of a layer by one number, as escnn_soft.training.LayerwiseAdam does."
            )
        worst = max(worst, error)
    return worst


def assert_keeps_symmetry(
    optimizer: Callable[[Module], Optimizer],
    layer: Module | None = None,
    *,
    steps: int = 100,
    tolerance: float = KEPT,
) -> float:
    r"""Assert that what is symmetric, trained on symmetric data, stays symmetric up to rounding.

        sup_g ||f(g x) - g f(x)|| / ||f(x)|| <= tolerance                at the end of training

    Gradients in directions that break the symmetry are then zero up to rounding, which no optimiser may blow up. By
    default a network of softness 1 with the symmetry of the square, D4, learns to make a large square of a small one.
    A layer that is given is fitted to (<W, X_i> - y_i)^2 with X_i random, but equivariant; the error is then that of
    its weights. All is done in single precision. Adam fails wherever breaking directions have coordinates of their own:
    it divides rounding by rounding. (A dense weight under a group that permutes its entries has none.)

    Args:
        optimizer: makes an optimiser for a model, such as ``LayerwiseAdam``.
        layer: with softness 1, used as a model only.
        steps: number of steps.
        tolerance: largest relative error.

    Returns:
        The largest relative error over the elements.

    Raises:
        AssertionError: if the symmetry is lost, or nothing is learned.
        ArgumentError: if the layer has no softness.

    Example:
        >>> from escnn_soft.training import LayerwiseAdam
        >>> assert_keeps_symmetry(LayerwiseAdam) < 1e-5
        True
        >>> assert_keeps_symmetry(lambda m: torch.optim.Adam(m.parameters()))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        AssertionError: Adam loses the symmetry ...
    """
    name, error, learned = _squares(optimizer, steps) if layer is None else _weights(optimizer, layer, steps)
    if not learned:
        raise AssertionError(f"{name} does not lower the loss in {steps} steps: nothing was tried. Remedy: change lr.")
    if not error <= tolerance:
        raise AssertionError(
            f"{name} loses the symmetry that start and data have: the relative error is {error:.3g} > {tolerance:g} "
            f"after {steps} steps.\nRemedy: give directions that break the symmetry no scale of their own, as "
            "escnn_soft.training.LayerwiseAdam does; or lower lr, if others that do so are unstable."
        )
    return error


# ---------------------------------------------------------------------- the first: moved starts on moved data


def _eighth_turns() -> SoftLinear:
    space = no_base_space(cyclic_group(8))
    field = space.type(space.trivial_repr, space.irrep(1), space.irrep(2))
    return SoftLinear(field, field, softness=1.0)


def _opened(layer: Module, softness: float = 1.0) -> Module:
    """A copy at another softness, on the CPU."""
    layer = copy.deepcopy(layer).cpu()
    for dial in dials(layer).values():
        dial.softness = softness
    return layer.train()


def _regression(like: list[Tensor]) -> tuple[list[list[Tensor]], Tensor]:
    """Data X_i, lists of tensors shaped like a layer's parts, and targets."""
    generator = torch.Generator().manual_seed(1)
    data = [[torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in like] for _ in range(_SAMPLES)]
    return data, torch.randn(_SAMPLES, generator=generator, dtype=like[0].dtype)


def _fitted(
    optimizer: Callable[[Module], Optimizer],
    start: MovedLayer,
    weights: list[Tensor],
    data: list[list[Tensor]],
    targets: Tensor,
    steps: int,
) -> tuple[list[Tensor], str]:
    """Kernel and bias after some steps, and the optimiser's name."""
    moved = moved_layer(copy.deepcopy(start.layer))
    moved.assign(weights)
    training = optimizer(moved.layer)
    for _ in range(steps):
        training.zero_grad()
        _misfit(moved.parts(), data, targets).backward()
        training.step()
    with torch.no_grad():
        return moved.parts(), type(training).__name__


def _misfit(parts: list[Tensor], data: list[list[Tensor]], targets: Tensor) -> Tensor:
    """Mean over the samples of (<W, X_i> - y_i)^2."""
    products = [sum((w * x).sum() for w, x in zip(parts, sample, strict=True)) for sample in data]
    return (torch.stack(products) - targets.to(parts[0])).square().mean()  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the second: symmetric starts on symmetric data


def _squares(optimizer: Callable[[Module], Optimizer], steps: int) -> tuple[str, float, bool]:
    """Squares to squares: the optimiser's name, the error, whether anything was learned."""
    space = flipRot2dOnR2(4)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = (SoftR2Conv(*t, 5, padding=2, softness=1.0) for t in ((image, hidden), (hidden, image)))
    # smooth: where a pixel is at a kink up to rounding, a derivative differs from its image's whatever the optimiser
    model = SequentialModule(first, PointwiseNonLinearity(hidden, "p_elu"), last)
    x, y = image(_square(1)), _square(3)

    def loss() -> Tensor:
        return (model(x).tensor - y).square().mean()

    training, learned = _trained(optimizer, model, loss, steps)
    with torch.no_grad():
        probe = image(random_features(image, (_SIDE, _SIDE), dtype=torch.float32))
        out, errors = model(probe), []
        for element in exact_elements(space):
            error = model(act(element, probe)).tensor - act(element, out).tensor
            errors.append(float(error.norm() / out.tensor.norm()))
    return training, max(errors), learned


def _square(radius: int) -> Tensor:
    """An image of a square, (1, 1, side, side)."""
    distance_ = (torch.arange(_SIDE) - _SIDE // 2).abs()
    return (torch.maximum(distance_[:, None], distance_) <= radius).float()[None, None]


def _weights(optimizer: Callable[[Module], Optimizer], layer: Module, steps: int) -> tuple[str, float, bool]:
    """Equivariant weights fitted to equivariant data: the name, the error, whether anything was learned."""
    trained = moved_layer(_opened(layer))
    start, *data = (_equivariant(trained.layer, seed) for seed in range(1 + _SAMPLES))
    trained.assign(start)
    targets = torch.randn(_SAMPLES, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        return _misfit(trained.parts(), data, targets)

    name, learned = _trained(optimizer, trained.layer, loss, steps)
    return name, trained.error(), learned


def _equivariant(layer: Module, seed: int) -> list[Tensor]:
    """Random weights that keep the symmetry."""
    strict = _opened(layer, 0.0)
    randomize(strict, seed)
    with torch.no_grad():
        return [part.clone() for part in moved_layer(strict).parts()]


def _trained(
    optimizer: Callable[[Module], Optimizer], model: Module, loss: Callable[[], Tensor], steps: int
) -> tuple[str, bool]:
    """Train, and tell the optimiser's name and whether the loss fell."""
    training, first = optimizer(model), float(loss().detach())
    for _ in range(steps):
        training.zero_grad()
        loss().backward()
        training.step()
    return type(training).__name__, float(loss().detach()) < first
