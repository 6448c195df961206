"""Training and testing one network of the demo."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from escnn_soft.cli.digits import Digits, Split
from escnn_soft.cli.settings import Settings

__all__ = [
    "CONFUSABLE",
    "MakeOptimizer",
    "Outcome",
    "adam",
    "equivariance_error",
    "measure",
    "right_answers",
    "train",
]

MakeOptimizer = Callable[[nn.Module, float], torch.optim.Optimizer]
"""An optimiser for a model at a learning rate."""

CONFUSABLE = (6, 9)
"""The digits that are half turns of each other."""


@dataclass(frozen=True)
class Outcome:
    """What one trained network does on its test images.

    Attributes:
        accuracy: share of right answers.
        confusable: the same for sixes and nines.
        others: the same for the other digits.
        error: mean relative change of the logits under quarter turns.
        loss: mean training loss of the last epoch.
        seconds: time that training took.
    """

    accuracy: float
    confusable: float
    others: float
    error: float
    loss: float
    seconds: float


def adam(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Ordinary Adam."""
    return torch.optim.Adam(model.parameters(), lr=rate)


def train(model: nn.Module, digits: Digits, settings: Settings, seed: int, optimizer: MakeOptimizer = adam) -> float:
    """Train with cross-entropy and one learning-rate cycle, nothing else; the mean loss of the last epoch."""
    generator = torch.Generator().manual_seed(seed)
    training = optimizer(model, settings.rate)
    batches = max(len(digits) // settings.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(training, settings.rate, total_steps=settings.epochs * batches)
    model.train()
    losses: list[float] = []
    for _ in range(settings.epochs):
        losses.clear()
        # equal chunks: no last batch of a few images to upset the batch statistics
        for index in torch.randperm(len(digits), generator=generator).tensor_split(batches):
            batch = digits[index]
            loss = nn.functional.cross_entropy(model(batch.images), batch.labels)
            training.zero_grad()
            torch.autograd.backward(loss)
            training.step()
            schedule.step()
            losses.append(loss.item())
    model.eval()
    return sum(losses) / len(losses)


def equivariance_error(model: nn.Module, images: Tensor) -> float:
    """Mean over images x and quarter turns g != 1, which only permute pixels here, of |f(g x) - f(x)| / |f(x)|."""
    still = _logits(model, images)
    changes = [(_logits(model, images.rot90(turns, (2, 3))) - still).norm(dim=1) for turns in (1, 2, 3)]
    return float((torch.stack(changes) / still.norm(dim=1)).mean())


def right_answers(model: nn.Module, digits: Digits) -> Tensor:
    """Whether the class with the largest logit is the digit's, one a digit."""
    return _logits(model, digits.images).argmax(dim=1) == digits.labels


def measure(model: nn.Module, split: Split, settings: Settings, seed: int) -> Outcome:
    """Train a network on a split and test it; the seed fixes the order of the training images."""
    start = time.perf_counter()
    loss = train(model, split.train, settings, seed)
    seconds = time.perf_counter() - start
    right = right_answers(model, split.test).double()
    hard = torch.isin(split.test.labels, torch.tensor(CONFUSABLE))
    error = equivariance_error(model, split.test.images[: settings.probes])
    shares = (right.mean().item(), right[hard].mean().item(), right[~hard].mean().item())
    return Outcome(*shares, error=error, loss=loss, seconds=seconds)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(chunk) for chunk in torch.split(images, 250)])
