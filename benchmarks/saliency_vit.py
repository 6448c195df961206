"""A real pretrained vision transformer on real photographs: ViT-S/14 with a saliency decoder, softened under D_4.

The sweep turns the dial and trains nothing: how much of the original's map survives, how well does the map turn with
the image? Then a short fine-tune at a few stops wins the task back, by distillation: on upright crops the soft network
is to say what the original says. Photographs are scikit-image's; those for the fine-tune are not tested on.

The patch embedding, the 37 x 37 table of positions (interpolated to 16 x 16 tokens by the model itself) and the
decoder's transposed convolutions go through filters, attention and MLPs need none. A crop of 224 pixels has 16 x 16
patches, so that quarter turns and flips interpolate nothing. ONNX Runtime's output is the reference for the loader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean

import onnxruntime
import torch
from _experiments import Table, breaking_share, options, train
from _photographs import crops
from _saliency import SIDE, model_file, pretrained
from escnn import gspaces
from torch import Tensor, nn

from escnn_soft import (
    Exponential,
    Policy,
    Position,
    calibrate,
    dials,
    metrics,
    register_positions,
    set_softness,
    soft_status,
    soften,
)
from escnn_soft.grading import TokenTable

SPACE = gspaces.flipRot2dOnR2(4)
TESTED = ("astronaut", "chelsea", "coffee", "rocket")
TRAINED = ("brick", "camera", "coins", "hubble_deep_field", "immunohistochemistry", "moon", "retina")
"""What scikit-image carries; its other photographs would be fetched."""
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
SPREAD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@register_positions(nn.ConvTranspose2d)
def transposed_kernel(layer: nn.ConvTranspose2d) -> Iterator[Position]:
    """Between scalar fields a transposed convolution turns with its input where its kernel is a symmetric table."""
    table = TokenTable(tuple(layer.weight.shape), axis=2, sides=tuple(layer.kernel_size))
    yield Position(layer, "weight", "transposed kernel", table)


def inputs(names: tuple[str, ...], number: int, seed: int) -> Tensor:
    """Crops, normalised as the network was trained."""
    return (crops(names, number, SIDE, seed) - MEAN) / SPREAD


def softened(softness: float | Policy) -> nn.Module:
    return soften(pretrained(), softness, gspace=SPACE, on_unsupported="ignore")


def maps(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(8)])


def from_onnx_runtime(images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(model_file()), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input_image": images.numpy()})[0])


def correlation(a: Tensor, b: Tensor) -> float:
    """Mean over the images of Pearson's coefficient of two maps."""
    a, b = ((x.flatten(1) - x.flatten(1).mean(1, keepdim=True)) for x in (a, b))
    return float(nn.functional.cosine_similarity(a, b).mean())


def overlap(a: Tensor, b: Tensor) -> float:
    """Mean over the images of intersection over union of their most salient tenths."""
    first, second = (x.flatten(1) >= x.flatten(1).quantile(0.9, dim=1, keepdim=True) for x in (a, b))
    return float(((first & second).sum(1) / (first | second).sum(1)).mean())


def distilled(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the maps, pixel by pixel; batch statistics stay the original's."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return nn.functional.binary_cross_entropy(model(images), target)


class Comparison:
    """A table of soft networks against the original, on the same crops."""

    def __init__(self, images: Tensor, original: nn.Module) -> None:
        self._images, self._target = images, maps(original, images)
        self._turns = metrics.transformations(SPACE, SPACE)
        self.table = Table(
            correlation=".3f", IoU_top_tenth=".1f", difference=".4f", equivariance_error=".2g",
            correlation_turned=".3f", breaking=".3f",
        )  # fmt: skip

    def add(self, name: str, model: nn.Module) -> None:
        """Agreement with the original on upright crops, and with its turned maps on turned ones."""
        still = maps(model, self._images)
        turned = [(move, maps(model, move.on_input(self._images))) for move in self._turns]
        errors = [metrics.relative_error(found, move.on_output(still)).mean() for move, found in turned]
        correlations = [correlation(found, move.on_output(self._target)) for move, found in turned]
        self.table.add(
            name,
            correlation=correlation(still, self._target),
            IoU_top_tenth=100 * overlap(still, self._target),
            difference=float((still - self._target).abs().mean()),
            equivariance_error=float(torch.stack(errors).mean()),
            correlation_turned=fmean(correlations),
            breaking=breaking_share(model) if dials(model) else math.nan,
        )


def main() -> None:
    chosen = options("ViT-S/14 saliency on photographs", __doc__ or "", seeds=1)
    number, steps = (1, 6) if chosen.quick else (2, 30)
    stops = [1.0, 0.9, 0.0] if chosen.quick else [1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.0]
    tuned = [0.7] if chosen.quick else [0.9, 0.7]
    floats, tolerances = ([0.9], [0.02]) if chosen.quick else ([0.95, 0.9, 0.8, 0.5, 0.2], [0.01, 0.03, 0.06])
    original = pretrained()
    tested = inputs(TESTED, number, seed=0)
    off = float((maps(original, tested) - from_onnx_runtime(tested)).abs().max())
    print(f"{number} crops of each of {', '.join(TESTED)}; turns: three quarter turns and four mirrors")
    print(f"largest difference between torch and ONNX Runtime: {off:.1e}; IoU in per cent")
    print("correlation turned: of maps of turned crops with the original's maps of upright ones, turned")
    print("breaking: norm of what breaks the symmetry in a tensor, relative to the tensor's; mean over the tensors")
    print("calibrated: mean difference of the maps on a crop of each of the other photographs")
    print(f"tuned: {steps} steps of 4 crops of other photographs\n")
    model = softened(1.0)
    print(soft_status(model), "\n")
    comparison = Comparison(tested, original)
    comparison.add("original", original)
    for softness in stops:
        set_softness(model, Exponential(softness))
        comparison.add(f"Exponential({softness:g})", model)
    for softness in floats:
        set_softness(model, softness)
        comparison.add(f"softness {softness:g}", model)
    others = inputs(TRAINED, 1, seed=3)
    for tolerance in tolerances:
        model = softened(1.0)
        calibrate(model, others, tolerance, distance=lambda a, b: float((a - b).abs().mean()))
        comparison.add(f"calibrated, {tolerance:g}", model)
    torch.manual_seed(0)
    images = inputs(TRAINED, -(-4 * steps // len(TRAINED)), seed=1)[torch.randperm(4 * steps)]
    target = maps(original, images)
    for softness in tuned:
        model = softened(Exponential(softness))
        train(model, images, target, distilled, epochs=1, batch=4, rate=5e-6, seed=0)
        comparison.add(f"Exponential({softness:g}), tuned", model)
    comparison.table.print()


if __name__ == "__main__":
    main()
