"""Segmentation of objects and their mirror images in water: a rotation symmetry that the data break.

Every object has a copy just below it, a little darker; objects are class 1, copies class 2, the rest is class 0. Seen
upright, "the lower of the two" tells them apart at once. Turned by a quarter (mask and all) only their grey values do.
A strictly C4-equivariant network never learns "lower"; an unconstrained one relies on it and is wrong on turned images.

The network is a small U-Net between C4-regular fields whose convolutions are ``SoftR2Conv``. All sizes are odd, so that
quarter turns move pixels to pixels and nothing is interpolated; eighth turns are measured too, with their floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from _experiments import OPTIMIZERS, Contender, Table, batched, cross_entropy, field_of, options, train, tuned
from escnn import gspaces
from escnn.nn import FieldType, InnerBatchNorm, PointwiseAvgPool, ReLU, SequentialModule, tensor_directsum
from torch import Tensor, nn

from escnn_soft import Budget, Policy, SoftR2Conv, metrics

SIDE, CLASSES = 33, 3
NOISE, FADE = 0.25, 0.2  # of the pixels; how much darker a copy is
RATES = (0.003, 0.01, 0.03)
SPACE, EIGHTHS = gspaces.rot2dOnR2(4), gspaces.rot2dOnR2(8)


def scenes(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grey images and their masks: two ellipses of random place, size, angle and brightness, each above its copy."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    image = NOISE * torch.randn(images, SIDE, SIDE, generator=draw)
    mask = torch.zeros(images, SIDE, SIDE, dtype=torch.long)
    for left in (0, SIDE // 2):
        unit = torch.rand(6, images, 1, 1, generator=draw)
        long, short = 3 + 2 * unit[0], 2 + unit[1]
        middle, centre = 7 + 12 * unit[2], left + 5 + 6 * unit[3]
        angle, grey = torch.pi * unit[4], 0.7 + 0.3 * unit[5]
        for label, top, sign in ((1, middle, 1), (2, middle + 8, -1)):
            x, y = columns - centre, sign * (rows - top)
            u, v = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
            inside = (u / long) ** 2 + (v / short) ** 2 < 1
            image = torch.where(inside, image + grey - (FADE if label == 2 else 0), image)
            mask[inside] = label
    return image[:, None], mask


class UNet(nn.Module):
    """Two poolings down and two enlargements up, with a shortcut at each size: 33, 17, 9, 17, 33 pixels."""

    def __init__(self, softness: Policy, fields: int) -> None:
        super().__init__()
        image, logits = (FieldType(SPACE, [SPACE.trivial_repr] * size) for size in (1, CLASSES))
        small, large = (FieldType(SPACE, [SPACE.regular_repr] * size) for size in (fields, 2 * fields))

        def block(source: FieldType, target: FieldType) -> SequentialModule:
            conv = SoftR2Conv(source, target, 3, padding=1, bias=False, softness=softness)
            return SequentialModule(conv, InnerBatchNorm(target), ReLU(target))

        self.in_type = image
        self.down = nn.ModuleList([block(image, small), block(small, large), block(large, large)])
        self.pool = nn.ModuleList([PointwiseAvgPool(kind, 3, stride=2, padding=1) for kind in (small, large)])
        self.up = nn.ModuleList([block(large + large, large), block(large + small, small)])
        self.head = SoftR2Conv(small, logits, 1, softness=softness)

    def forward(self, images: Tensor) -> Tensor:
        first = self.down[0](self.in_type(images))
        second = self.down[1](self.pool[0](first))
        third = self.down[2](self.pool[1](second))
        second = self.up[0](tensor_directsum([_enlarged(third), second]))
        return self.head(self.up[1](tensor_directsum([_enlarged(second), first]))).tensor


def _enlarged(x):
    """n pixels to 2 n - 1, corners onto corners, which quarter turns respect."""
    size = [2 * side - 1 for side in x.shape[-2:]]
    return x.type(nn.functional.interpolate(x.tensor, size=size, mode="bilinear", align_corners=True))


def experiment(
    contenders: Sequence[Contender],
    seeds: int,
    *,
    rates: Sequence[float],
    images: int,
    tests: int,
    epochs: int,
    fields: int,
    wide: int,
) -> Table:
    table = Table(
        mIoU=".1f", rotated_mIoU=".1f", combined=".1f", error=".2g", eighths_error=".3f", floor=".3f", rate=".3f"
    )
    turns = metrics.transformations(SPACE, SPACE)
    eighths = metrics.transformations(
        EIGHTHS, EIGHTHS, [EIGHTHS.fibergroup.element(k) for k in (1, 3, 5, 7)], interpolation="bicubic"
    )
    validation = batched(*scenes(tests, 3000))

    def fit(contender: Contender, rate: float, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = UNet(contender.softness, wide if contender.wide else fields)
        optimizer = OPTIMIZERS[contender.optimizer]
        data = scenes(images, 1000 + seed)
        train(model, *data, cross_entropy, epochs=epochs, batch=16, rate=rate, seed=seed, optimizer=optimizer)
        return model

    def plain(model: nn.Module) -> float:
        return metrics.segmentation_score(model, validation, turns[:1], CLASSES).plain

    for contender in contenders:
        for seed, rate, model in tuned(contender, seeds, rates, fit, plain):
            test = scenes(tests, 2000 + seed)
            score = metrics.segmentation_score(model, batched(*test), turns, CLASSES)
            between = metrics.equivariance_error(model, test[0][:50], eighths)
            table.add(
                contender.name,
                mIoU=100 * score.plain,
                rotated_mIoU=100 * score.transformed,
                combined=100 * score.combined,
                error=metrics.equivariance_error(model, test[0][:100], turns).relative,
                eighths_error=between.relative,
                floor=between.floor,
                rate=rate,
            )
    return table


def main() -> None:
    chosen = options("Segmentation of objects above their mirror images", __doc__ or "", seeds=3)
    quick = field_of(Budget(0.1), 1.0, ours=(0.1,))
    full = field_of(Budget(0.02), 0.02, 0.1, 0.5, 1.0, ours=(0.02, 0.1, 0.5))
    size = {"images": 60, "tests": 100, "epochs": 8} if chosen.quick else {"images": 100, "tests": 300, "epochs": 30}
    rates = (0.01,) if chosen.quick else RATES
    print(f"C4 U-Net of 4 and 8 regular fields, {size['images']} training images of {SIDE} x {SIDE}; mIoU in per cent;")
    print("wide: 10 and 20 fields, as many parameters as an unconstrained one;")
    print(
        "rotated: mean over the exact quarter turns; error: relative, of the logits under them; eighths: interpolated\n"
    )
    experiment(quick if chosen.quick else full, chosen.seeds, rates=rates, fields=4, wide=10, **size).print()


if __name__ == "__main__":
    main()
