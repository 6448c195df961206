"""Claim: a certificate costs less than one train step, and 100 times less than sampling the error to 1 %.

The certificate is everything but the operator norms: norm, rms, sup, the error at an element, the bias. Sampling means
what one would do without it: draw a group element and a batch of white noise, run the layer on both sides and average
||f(g x) - g f(x)||^2. Its cost is that of a sample times the number of samples for a standard error of 1 % of the rms,
both measured here. The operator norm, which samples do not give, is timed by itself, as a whole and for one
kernel: by all singular values, by factorisations, and by unfoldings.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
from _harness import arguments, print_ratios, print_setting, side_by_side
from escnn import gspaces
from escnn.gspaces import GSpace2D
from escnn.nn import GeometricTensor
from torch import Tensor

from escnn_soft import Budget, SoftR2Conv
from escnn_soft.functions import act, pixel_elements
from escnn_soft.linalg import convolution_norm, oversampling_factor, spectral_norm, unfolding_norm
from escnn_soft.linalg.norms import COARSE_OVERSAMPLING, MANY_CHANNELS, OVERSAMPLING

CASES: list[tuple[str, Callable[[], GSpace2D], int, int]] = [
    ("C4", lambda: gspaces.rot2dOnR2(4), 16, 3),
    ("D4", lambda: gspaces.flipRot2dOnR2(4), 8, 5),
    ("C8", lambda: gspaces.rot2dOnR2(8), 24, 5),
    ("C16", lambda: gspaces.rot2dOnR2(16), 24, 7),
]  # name, gspace, regular fields, kernel size


def layer_of(space: GSpace2D, fields: int, kernel_size: int, softness: float | Budget) -> SoftR2Conv:
    field = space.type(*[space.regular_repr] * fields)
    layer = SoftR2Conv(field, field, kernel_size, padding=kernel_size // 2, softness=softness, initialize=False)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return layer


def certify(layer: SoftR2Conv) -> Callable[[], None]:
    def run() -> None:
        certificate = layer.certificate()
        certificate.rms, certificate.sup, certificate.relative.sup  # noqa: B018
        certificate.at(certificate.symmetry.curve[-1])

    return run


def train_step(layer: SoftR2Conv, x: GeometricTensor) -> Callable[[], None]:
    def run() -> None:
        for parameter in layer.parameters():
            parameter.grad = None
        layer(x).tensor.square().sum().backward()

    return run


def samples_needed(layer: SoftR2Conv, samples: int) -> tuple[float, float]:
    """Seconds of a sample, and how many samples bring the standard error of the rms to 1 %."""
    elements, squares = pixel_elements(layer.space), []
    layer.eval()
    start = time.perf_counter()
    with torch.no_grad():
        for _ in range(samples):
            element = elements[int(torch.randint(len(elements), ()))]
            x = layer.in_type(torch.randn(8, layer.in_type.size, 32, 32))
            error = layer(act(element, x)).tensor - act(element, layer(x)).tensor
            squares.append(float(error.square().mean()))
    seconds = (time.perf_counter() - start) / samples
    layer.train()
    spread = statistics.stdev(squares) / statistics.mean(squares)  # of e^2; that of e is half of it
    return seconds, (spread / 2 / 0.01) ** 2


def all_singular_values(kernel: Tensor) -> float:
    """What `convolution_norm` would compute without factorisations, at as many frequencies."""
    degree = (kernel.shape[-1] - 1) / 2
    oversampling = OVERSAMPLING if kernel.shape[0] <= MANY_CHANNELS else COARSE_OVERSAMPLING
    points = max(1, math.ceil(oversampling * degree))
    symbol = torch.fft.rfftn(kernel, s=(points, points), dim=(2, 3)).flatten(2).permute(2, 0, 1)
    return oversampling_factor(degree, points) ** 2 * float(spectral_norm(symbol).max())


def measure(space: GSpace2D, fields: int, kernel_size: int, repeats: int) -> None:
    layer, kept = (layer_of(space, fields, kernel_size, softness) for softness in (0.5, Budget(0.1)))
    x = layer.in_type(torch.randn(8, layer.in_type.size, 32, 32))
    runs = {
        "forward and backward": train_step(layer, x),
        "forward and backward under Budget(0.1)": train_step(kept, x),
        "certificate": certify(layer),
    }
    seconds = side_by_side(runs, repeats)
    print_ratios(seconds, "forward and backward")
    each, count = samples_needed(layer, 40)
    ratio = each * count / statistics.median(seconds["certificate"])
    print(f"  sampling to 1 %: {count:.0f} samples of {1e3 * each:.1f} ms, {ratio:.0f} x the certificate")
    start = time.perf_counter()
    exact = layer.certificate().operator
    middle = time.perf_counter()
    loose = layer.certificate().operator_by_unfoldings
    times = middle - start, time.perf_counter() - middle
    print(f"  operator norm {exact:.4g} in {times[0]:.2f} s, by unfoldings {loose:.4g} in {times[1]:.2f} s")
    kernel = layer.expand_parameters()[0].detach().double()
    ways = {
        "all singular values": lambda: all_singular_values(kernel),
        "convolution_norm": lambda: convolution_norm(kernel),
        "unfolding_norm": lambda: unfolding_norm(kernel),
    }
    print_ratios(side_by_side(ways, min(repeats, 5)), "convolution_norm")
    print()


def main() -> None:
    options = arguments(__doc__ or "")
    print_setting("Cost of certificates, batch 8, 32 x 32, float32", options.threads)
    for name, space, fields, kernel_size in CASES:
        gspace = space()
        channels = fields * gspace.regular_repr.size
        print(f"{fields} {name}-regular fields ({channels} channels), k = {kernel_size}")
        measure(gspace, fields, kernel_size, options.repeats)


if __name__ == "__main__":
    main()
