"""Claim: what softness costs where the data have the symmetry, and what it wins where they do not quite.

The demo's network (three C4 convolutions 5 x 5, one 1 x 1) on real digits, each turned once: by any angle (the data
have the symmetry), by up to 60 degrees (slightly broken), not at all (strongly broken). 50 training images a digit.
Every network is trained at each rate of the same grid and keeps the one that is best on 250 validation images a digit,
at the first seed; a strict network three times as wide, with about as many parameters as a soft one, is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from _experiments import OPTIMIZERS, Contender, Table, field_of, options, tuned
from torch import nn

from escnn_soft.cli.classifier import SoftClassifier
from escnn_soft.cli.digits import Digits, Split, load_digits, split
from escnn_soft.cli.settings import CLASSES, Settings
from escnn_soft.cli.training import equivariance_error, right_answers, train

ANGLES = {180.0: "turned by any angle", 60.0: "tilted by up to 60 degrees", 0.0: "upright"}
RATES = (0.007, 0.02, 0.06)
WIDE = 3
VALIDATION = 250
"""Images of each digit."""


def parts(digits: Digits, settings: Settings, seed: int) -> tuple[Split, Digits]:
    """Training and test images, and those that rates are chosen on."""
    both = split(digits, settings.images, settings.tests + VALIDATION, seed)
    is_test = torch.zeros(len(both.test), dtype=torch.bool)
    for digit in range(CLASSES):
        is_test[(both.test.labels == digit).nonzero()[: settings.tests, 0]] = True
    return Split(both.train, both.test[is_test]), both.test[~is_test]


def accuracy(model: nn.Module, digits: Digits) -> float:
    return right_answers(model, digits).double().mean().item()


def experiment(contenders: Sequence[Contender], seeds: int, settings: Settings, *, rates: Sequence[float]) -> Table:
    table, digits = Table(accuracy=".1f", error=".3f", rate=".3f"), load_digits(settings.angle)
    data = [parts(digits, settings, seed) for seed in range(seeds)]

    def fit(contender: Contender, rate: float, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        first, second, third = ((WIDE if contender.wide else 1) * size for size in settings.fields)
        model = SoftClassifier(contender.softness, (first, second, third))
        chosen = replace(settings, rate=rate)
        train(model, data[seed][0].train, chosen, seed, OPTIMIZERS[contender.optimizer])
        return model

    for contender in contenders:
        for seed, rate, model in tuned(contender, seeds, rates, fit, lambda m: accuracy(m, data[0][1])):
            test = data[seed][0].test
            error = equivariance_error(model, test.images[: settings.probes])
            table.add(contender.name, accuracy=100 * accuracy(model, test), error=error, rate=rate)
    return table


def main() -> None:
    chosen = options("Digits with more or less of a symmetry", __doc__ or "", seeds=5)
    full = field_of(0.02, 0.05, 0.1, 0.25, 1.0, ours=(0.0, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 1.0))
    contenders = field_of(1.0, ours=(0.1,)) if chosen.quick else full
    for angle, name in ANGLES.items():
        print(f"{name}: accuracy in per cent, error of the logits under quarter turns\n")
        settings = replace(Settings(), angle=angle, epochs=3 if chosen.quick else Settings.epochs)
        experiment(contenders, chosen.seeds, settings, rates=(0.02,) if chosen.quick else RATES).print()


if __name__ == "__main__":
    main()
