"""Trajectories of simulated pedestrians, who keep to the rotation symmetry of the plane but for an exit in the east.

Social forces: everybody walks at a preferred speed, steers clear of the others and, with some strength, turns towards
the east. That strength breaks the symmetry; at 0 the simulator commutes with rotations. From 8 observed positions (with
noise) 12 are predicted. The model is a small transformer with one token for each pedestrian, made of SO(2) vectors:
``SoftLinear`` maps, attention whose scores are inner products of vectors and therefore invariant, gates from invariant
channels. At softness 0 the model commutes with every rotation; with more it can learn where east is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from _experiments import OPTIMIZERS, Contender, Table, batched, field_of, options, train, tuned
from escnn import gspaces
from escnn.group import so2_group
from escnn.nn import FieldType
from torch import Tensor, nn

from escnn_soft import Budget, Policy, SoftLinear, metrics

PEOPLE, PAST, FUTURE = 5, 8, 12
STEP, INNER = 0.4, 4  # seconds between positions; steps of the simulator in between
NOISE = 0.05  # of observed positions, in metres
EAST = 0.1  # rad / s at which somebody walking north turns east
SPACE = gspaces.no_base_space(so2_group(2))
RATES = (0.0015, 0.005, 0.015)
ANGLES = [45, 90, 135, 180, 225, 270, 315]


def simulate(scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Observed positions with noise, and true future ones, seen from the last observed centre of the scene.

    Returns:
        Shapes (scenes, people, PAST, 2) and (scenes, people, FUTURE, 2).
    """
    draw = torch.Generator().manual_seed(seed)
    position = 3.0 * torch.randn(scenes, PEOPLE, 2, generator=draw)
    angle = 2 * torch.pi * torch.rand(scenes, PEOPLE, generator=draw)
    speed = 1.3 + 0.2 * torch.randn(scenes, PEOPLE, generator=draw)
    noise = NOISE * torch.randn(scenes, PEOPLE, PAST, 2, generator=draw)
    paths = walk(position, angle, speed, EAST)
    past = paths[:, :, :PAST] + noise
    centre = past[:, :, -1:].mean(dim=1, keepdim=True)
    return past - centre, paths[:, :, PAST:] - centre


def walk(position: Tensor, angle: Tensor, speed: Tensor, east: float) -> Tensor:
    """Velocities relax to the preferred ones, which turn: d angle / dt = -east sin(angle); others repel exponentially.

    Returns:
        Positions, shape (scenes, people, PAST + FUTURE, 2).
    """
    velocity, path, dt = preferred(angle, speed), [], STEP / INNER
    for _ in range(PAST + FUTURE):
        path.append(position)
        for _ in range(INNER):
            gap = position[:, :, None] - position[:, None]
            distance = gap.norm(dim=-1, keepdim=True).clamp_min(1e-3)
            repulsion = (2.0 * torch.exp(-distance / 0.8) * gap / distance).sum(dim=2)
            velocity = velocity + dt * ((preferred(angle, speed) - velocity) / 0.5 + repulsion)
            position = position + dt * velocity
            angle = angle - dt * east * angle.sin()
    return torch.stack(path, dim=2)


def preferred(angle: Tensor, speed: Tensor) -> Tensor:
    """The preferred velocity."""
    return speed[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)


def fields(*numbers: int) -> FieldType:
    """So many fields of frequency 0, 1, 2."""
    return SPACE.type(*(SPACE.irrep(k) for k, number in enumerate(numbers) for _ in range(number)))


class Gated(nn.Module):
    """Invariant channels through GELU, vectors scaled by further invariant channels; all with the norm of a token 1."""

    def __init__(self, scalars: int, *vectors: int) -> None:
        super().__init__()
        self.out_type, self.scalars, self.vectors = fields(scalars, *vectors), scalars, sum(vectors)
        self.in_type = fields(scalars + self.vectors, *vectors)

    def forward(self, x: Tensor) -> Tensor:
        scalars, gates, vectors = x.split([self.scalars, self.vectors, 2 * self.vectors], dim=-1)
        scaled = vectors.unflatten(-1, (self.vectors, 2)) * gates.sigmoid()[..., None]
        y = torch.cat([nn.functional.gelu(scalars), scaled.flatten(-2)], dim=-1)
        return y / (y.square().mean(dim=-1, keepdim=True) + 1e-3).sqrt()


class Linear(nn.Module):
    """``SoftLinear`` on tokens."""

    def __init__(self, in_type: FieldType, out_type: FieldType, softness: Policy) -> None:
        super().__init__()
        self.map = SoftLinear(in_type, out_type, softness=softness)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.map(self.map.in_type(tokens.flatten(0, -2))).tensor.unflatten(0, tokens.shape[:-1])


class Attention(nn.Module):
    """softmax(<q_i, k_j> / sqrt(n)) v_j, one head a copy of the hidden type: scores do not change under rotations."""

    def __init__(self, kind: FieldType, heads: int, softness: Policy) -> None:
        super().__init__()
        self.heads, self.size = heads, kind.size
        many = SPACE.type(*[rho for _ in range(heads) for rho in kind.representations])
        self.query, self.key, self.value = (Linear(kind, many, softness) for _ in range(3))
        self.out = Linear(many, kind, softness)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (
            f(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(-1, -2) / self.size**0.5).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(-2))


class Forecaster(nn.Module):
    """Tokens of displacements and a position; blocks of attention and gates; future displacements, summed up."""

    def __init__(self, softness: Policy, width: int, depth: int) -> None:
        super().__init__()
        first = Gated(2 * width, width, width // 2)
        self.embed = nn.Sequential(Linear(fields(1, PAST), first.in_type, softness), first)
        self.attention, self.change = nn.ModuleList(), nn.ModuleList()
        for _ in range(depth):
            gate = Gated(2 * width, width, width // 2)
            self.attention.append(Attention(gate.out_type, 2, softness))
            self.change.append(
                nn.Sequential(
                    Linear(gate.out_type, gate.in_type, softness), gate, Linear(gate.out_type, gate.out_type, softness)
                )
            )
        self.head = Linear(first.out_type, fields(0, FUTURE), softness)

    def forward(self, past: Tensor) -> Tensor:
        moves, place = past.diff(dim=2), past[:, :, -1:]
        pace = moves.norm(dim=-1).mean(dim=2, keepdim=True)
        x = self.embed(torch.cat([pace, moves.flatten(2), place.flatten(2) / 3], dim=-1))
        for attention, change in zip(self.attention, self.change, strict=True):
            x = x + attention(x)
            x = x + change(x)
        steps = moves.mean(dim=2, keepdim=True) + 0.1 * self.head(x).unflatten(-1, (FUTURE, 2))
        return place + steps.cumsum(dim=2)


def distance(model: nn.Module, past: Tensor, future: Tensor) -> Tensor:
    """The average displacement error, which is what is trained for."""
    return metrics.displacements(model(past), future)[0].mean()


def straight_on(past: Tensor) -> Tensor:
    """Everybody goes on at the mean observed velocity."""
    step = (past[:, :, -1:] - past[:, :, :1]) / (PAST - 1)
    return past[:, :, -1:] + step * torch.arange(1, FUTURE + 1)[:, None]


def experiment(
    contenders: Sequence[Contender],
    seeds: int,
    *,
    rates: Sequence[float],
    scenes: int,
    tests: int,
    epochs: int,
    width: int,
    wide: int,
) -> Table:
    table = Table(
        ADE=".3f", FDE=".3f", rotated_ADE=".3f", rotated_FDE=".3f", combined_ADE=".3f", eErr=".2g", rate=".4f"
    )
    turns = metrics.point_rotations(ANGLES)
    validation = simulate(tests, 3000)

    def fit(contender: Contender, rate: float, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = Forecaster(contender.softness, wide if contender.wide else width, depth=2)
        data, optimizer = simulate(scenes, 1000 + seed), OPTIMIZERS[contender.optimizer]
        train(model, *data, distance, epochs=epochs, batch=25, rate=rate, seed=seed, optimizer=optimizer)
        return model

    def score(name: str, seed: int, rate: float, model: Callable[[Tensor], Tensor]) -> None:
        test = simulate(tests, 2000 + seed)
        found = metrics.trajectory_score(model, batched(*test), turns)
        table.add(
            name,
            ADE=found.plain.ade,
            FDE=found.plain.fde,
            rotated_ADE=found.transformed.ade,
            rotated_FDE=found.transformed.fde,
            combined_ADE=found.combined.ade,
            eErr=metrics.equivariance_error(model, test[0], turns).normalized,
            rate=rate,
        )

    for seed in range(seeds):
        score("straight on", seed, 0.0, straight_on)
    for contender in contenders:
        for seed, rate, model in tuned(contender, seeds, rates, fit, lambda m: -float(_distance(m, *validation))):
            score(contender.name, seed, rate, model)
    return table


@torch.no_grad()
def _distance(model: nn.Module, past: Tensor, future: Tensor) -> Tensor:
    return distance(model, past, future)


def main() -> None:
    chosen = options("Pedestrians with an exit in the east", __doc__ or "", seeds=3)
    quick = field_of(Budget(0.1), 1.0, ours=(0.1,))
    full = field_of(Budget(0.03), 0.02, 0.1, 0.5, 1.0, ours=(0.02, 0.1, 0.5))
    size = {"scenes": 100, "tests": 200, "epochs": 15} if chosen.quick else {"scenes": 100, "tests": 400, "epochs": 40}
    rates = (0.005,) if chosen.quick else RATES
    print(f"SO(2) transformer of 2 blocks, {size['scenes']} training scenes of {PEOPLE} people; metres;")
    print("wide: twice as many fields, as many parameters as an unconstrained one;")
    print("rotated: mean over 7 exact rotations of scene and future; eErr: of the predicted positions under them\n")
    experiment(quick if chosen.quick else full, chosen.seeds, rates=rates, width=8, wide=16, **size).print()


if __name__ == "__main__":
    main()
