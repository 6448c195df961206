"""Claim: a network of softness 1 ends with exactly the symmetry that its data have, if the optimiser lets it.

Three kinds of data, whose networks start equivariant under a group and may then become anything:

* images, D4: of a small square, a network makes a large square (which D4 keeps), a rectangle (its subgroup D2), noise
  (nothing);
* volumes, the octahedral group: of a small cube, a large one, a box of three different sides, noise;
* vectors, O(3): points that the 48 symmetries of the cube permute go to f(|x|) x, to the same stretched along the
  axes, to noise. (The points have no more symmetry, so no more elements of O(3) are tried.)

After training, the relative error ||f(g x) - g f(x)|| / ||f(x)|| on noise is taken for every element g, apart for those
that the data keep and those that they do not.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from _harness import print_setting
from escnn import gspaces, nn
from escnn.group import o3_group
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import Module
from torch.optim import SGD, Adam, Optimizer

from escnn_soft import SoftLinear, SoftR2Conv, SoftR3Conv
from escnn_soft.cli.table import aligned
from escnn_soft.functions import act
from escnn_soft.plots import to_png
from escnn_soft.testing.samples import exact_elements
from escnn_soft.training import DampedMuon, LayerwiseAdam

Map = Callable[[Tensor], Tensor]

RATE = 3e-3
OPTIMIZERS: dict[str, Callable[[Module], Optimizer]] = {
    "SGD": lambda model: SGD(model.parameters(), lr=0.05),
    "Adam": lambda model: Adam(model.parameters(), lr=RATE),
    "LayerwiseAdam": lambda model: LayerwiseAdam(model, lr=RATE),
    "DampedMuon": lambda model: DampedMuon(model, lr=RATE),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs that a group permutes, and what is to be made of them.

    Attributes:
        name: of the kind of data.
        network: an equivariant network of softness 1, as a function of plain tensors.
        x: inputs.  # shape: (n, ...)
        targets: for each input one output, by name; the first kept by the whole group, the last by nothing.
        probe: inputs on which errors are taken.
        actions: of each element, on inputs and outputs alike, which have one type.
    """

    name: str
    network: Callable[[], Module]
    x: Tensor
    targets: Mapping[str, Tensor]
    probe: Tensor
    actions: Sequence[Map]

    def keeps(self, action: Map, y: Tensor) -> bool:
        """Whether an element turns the pairs of inputs and outputs into each other."""
        moved = action(self.x)
        image = torch.cdist(moved.flatten(1), self.x.flatten(1)).argmin(dim=1)
        return torch.allclose(moved, self.x[image], atol=1e-6) and torch.allclose(action(y), y[image], atol=1e-6)

    def errors(self, model: Module) -> list[float]:
        """||f(g x) - g f(x)|| / ||f(x)|| on the probe, for each element."""
        with torch.no_grad():
            y = model(self.probe.to(next(model.parameters())))
            moved = ((model(action(self.probe).to(y)), action(y)) for action in self.actions)
            return [float((a - b).norm() / y.norm()) for a, b in moved]


@dataclass(frozen=True)
class Outcome:
    """Largest and smallest relative errors at the end of training.

    Attributes:
        loss: of the last step, relative to that of predicting 0.
        kept: of the elements that the data keep, except the identity; None if there is no other.
        broken: of the others; None if there are none.
    """

    loss: float
    kept: tuple[float, float] | None
    broken: tuple[float, float] | None


class Plain(Module):
    """A network of fields as a function of tensors."""

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        self.body = nn.SequentialModule(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.body.in_type(x)).tensor


class Squash(nn.EquivariantModule):
    """v / sqrt(1 + |v|^2) of every vector: smooth, also at 0."""

    def __init__(self, field: nn.FieldType) -> None:
        super().__init__()
        self.in_type = self.out_type = field

    def forward(self, x: nn.GeometricTensor) -> nn.GeometricTensor:
        vectors = x.tensor.unflatten(1, (-1, 3))
        squashed = vectors / (1 + vectors.square().sum(2, keepdim=True)).sqrt()
        return nn.GeometricTensor(squashed.flatten(1), self.out_type)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape


def images() -> Problem:
    """A square under D4."""
    space = gspaces.flipRot2dOnR2(4)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)

    def network() -> Module:
        first, last = (SoftR2Conv(*t, 5, padding=2, softness=1.0) for t in ((image, hidden), (hidden, image)))
        return Plain(first, nn.PointwiseNonLinearity(hidden, "p_elu"), last)

    targets = {"square": _box(9, 3, 3), "rectangle": _box(9, 2, 4), "noise": _noise(1, 1, 9, 9)}
    actions = [_on_fields(g, image) for g in exact_elements(space)]
    return Problem("images, D4", network, _box(9, 1, 1), targets, _noise(1, 1, 9, 9, seed=1), actions)


def volumes() -> Problem:
    """A cube under the octahedral group."""
    space = gspaces.octaOnR3()
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)

    def network() -> Module:
        first, last = (SoftR3Conv(*t, 3, padding=1, softness=1.0) for t in ((image, hidden), (hidden, image)))
        return Plain(first, nn.PointwiseNonLinearity(hidden, "p_elu"), last)

    targets = {"cube": _box(7, 2, 2, 2), "box": _box(7, 3, 2, 1), "noise": _noise(1, 1, 7, 7, 7)}
    actions = [_on_fields(g, image) for g in exact_elements(space)]
    return Problem("volumes, octahedral", network, _box(7, 1, 1, 1), targets, _noise(1, 1, 7, 7, 7, seed=1), actions)


def vectors() -> Problem:
    """Vectors under O(3), at points that the symmetries of the cube permute."""
    group = o3_group(2)
    space = gspaces.no_base_space(group)
    field = space.type(group.irrep(1, 1))
    hidden = space.type(*[group.irrep(1, 1)] * 8)

    def network() -> Module:
        types = itertools.pairwise([field, hidden, hidden, field])
        first, second, last = (SoftLinear(*t, softness=1.0) for t in types)
        return Plain(first, Squash(hidden), second, Squash(hidden), last)

    elements = list(_cube_symmetries())
    points = _noise(5, 3)
    x = torch.cat([points @ g.T for g in elements])
    round_ = x * (3 * x.norm(dim=1, keepdim=True)).cos()
    targets = {"f(|x|) x": round_, "stretched": round_ * torch.tensor([2.0, 1.0, -1.0]), "noise": _noise(*x.shape)}
    return Problem("vectors, O(3)", network, x, targets, _noise(50, 3, seed=1), [_on_vectors(g) for g in elements])


PROBLEMS: dict[str, Callable[[], Problem]] = {"images": images, "volumes": volumes, "vectors": vectors}


def outcome(
    problem: Problem, target: str, optimizer: str, steps: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Outcome:
    """Train one network and take its errors."""
    torch.manual_seed(seed)
    model = problem.network().to(dtype)
    x, y = problem.x.to(dtype), problem.targets[target].to(dtype)
    training = OPTIMIZERS[optimizer](model)
    for _ in range(steps):
        training.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        training.step()
    kept, broken = [], []
    for action, error in list(zip(problem.actions, problem.errors(model), strict=True))[1:]:
        (kept if problem.keeps(action, problem.targets[target]) else broken).append(error)
    return Outcome(float(loss.detach() / y.square().mean()), _range(kept), _range(broken))


def _range(errors: list[float]) -> tuple[float, float] | None:
    return (min(errors), max(errors)) if errors else None


def _box(side: int, *halves: int) -> Tensor:
    """A picture of a centred box, given by half its sides, (1, 1, side, ...)."""
    picture = torch.ones([side] * len(halves))
    for axis, half in enumerate(halves):
        inside = ((torch.arange(side) - side // 2).abs() <= half).float()
        picture = picture * inside.view([-1 if i == axis else 1 for i in range(len(halves))])
    return picture[None, None]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _on_fields(element: object, field: nn.FieldType) -> Map:
    return lambda x: act(element, field(x)).tensor


def _on_vectors(matrix: Tensor) -> Map:
    return lambda x: x @ matrix.T.to(x)


def _cube_symmetries() -> Iterator[Tensor]:
    """The 48 signed permutations of the axes, the identity first."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            yield torch.diag(torch.tensor(signs))[list(order)]


# ---------------------------------------------------------------------- what is shown


def print_table(outcomes: Mapping[tuple[str, str, str], Outcome]) -> None:
    """A row for each network."""
    lines = [["data", "target", "optimiser", "loss", "kept: largest error", "not kept: smallest error"]]
    for key, found in outcomes.items():
        kept = "-" if found.kept is None else f"{found.kept[1]:.0e}"
        broken = "-" if found.broken is None else f"{found.broken[0]:.1f}"
        lines.append([*key, f"{found.loss:.0e}", kept, broken])
    print(aligned(lines))


def picture(outcomes: Mapping[tuple[str, str, str], Outcome], shown: Mapping[str, Tensor]) -> bytes:
    """The images; below them, for each kind of data and target, the errors of kept elements and of all others."""
    kinds = list(dict.fromkeys(key[0] for key in outcomes))
    figure = Figure(figsize=(3.6 * len(kinds) + 1, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 4])
    for axes, (name, image) in zip(above.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(image[0, 0], cmap="gray")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    for axes, kind in zip(
        below.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0], kinds, strict=True
    ):
        _draw_errors(axes, {key[1:]: found for key, found in outcomes.items() if key[0] == kind})
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel("relative error on noise", fontsize=9)
    handles, labels = axes.get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return to_png(figure)


def _draw_errors(axes: Axes, outcomes: Mapping[tuple[str, str], Outcome]) -> None:
    """A bar from the smallest to the largest error, for each target and optimiser."""
    ticks: list[tuple[float, str]] = []
    for target, some in itertools.groupby(outcomes.items(), key=lambda item: item[0][0]):
        top = ticks[-1][0] - 2 if ticks else 0.0
        axes.text(1.5e-9, top + 0.8, f"to {target}", fontsize=8, va="center", weight="bold")
        for row, ((_, optimizer), found) in enumerate(some):
            ticks.append((top - row, optimizer))
            for span, color in ((found.kept, "tab:blue"), (found.broken, "tab:orange")):
                if span is not None:
                    ends = [max(value, 1e-9) for value in span]
                    axes.plot(ends, [top - row] * 2, color=color, linewidth=5, solid_capstyle="round")
    for label, color in (("elements that the data keep", "tab:blue"), ("all other elements", "tab:orange")):
        axes.plot([], [], color=color, linewidth=5, label=label)
    axes.set_xscale("log")
    axes.set_xlim(1e-9, 10)
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.set_ylim(ticks[-1][0] - 0.6, 1.4)
    axes.grid(axis="x", alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=PROBLEMS, help="one kind of data")
    parser.add_argument("--picture", type=Path, help="where to write the picture, as PNG")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_setting(f"The symmetry of the data, {options.steps} steps", options.threads)
    start, outcomes = time.perf_counter(), {}
    for name in [options.only] if options.only else PROBLEMS:
        problem = PROBLEMS[name]()
        for target, optimizer in itertools.product(problem.targets, OPTIMIZERS):
            outcomes[problem.name, target, optimizer] = outcome(problem, target, optimizer, options.steps)
            assert math.isfinite(outcomes[problem.name, target, optimizer].loss)
    print_table(outcomes)
    print(f"\n{time.perf_counter() - start:.0f} s")
    if options.picture is not None:
        pictures = PROBLEMS["images"]()
        options.picture.write_bytes(
            picture(outcomes, {"from": pictures.x} | {f"to {k}": v for k, v in pictures.targets.items()})
        )


if __name__ == "__main__":
    main()
