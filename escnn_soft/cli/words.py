"""What the demo's page says about its own question."""

from __future__ import annotations

from escnn_soft.cli.settings import Settings

__all__ = ["FILTERS", "GUARANTEES", "LEGEND", "TITLE", "TRIALS", "fairness", "introduction"]

TITLE = "How much symmetry should a network have when the data have some?"

LEGEND = (
    "Accuracy: mean ± standard deviation over the seeds (other split, other first weights), in per cent. "
    "Vs strict: mean of the differences to the strict network at the same seed. Equivariance error: mean relative "
    "change of the logits under exact quarter turns of the test images; of a strict network it is rounding. "
    "Open directions: weights of the convolutions that the network can reach."
)

TRIALS = (
    "Trials of the full run with one setting changed and two seeds, as strict / softness 0.05 / unconstrained in per "
    "cent. Peak learning rate 0.005: 88.7 / 91.4 / 90.5, 0.01: 90.7 / 92.5 / 91.1, 0.05: 92.0 / 93.5 / 91.0. "
    "45 epochs: 92.3 / 93.6 / 91.5. 200 training images of each digit: 95.2 / 96.0 / 95.1. Angles up to 0 degrees: "
    "94.1 / 96.4 / 96.8, 30: 91.2 / 94.4 / 94.5, 90: 90.8 / 91.1 / 87.5, 180: 91.0 / 89.8 / 80.8. All networks three "
    "times as wide: 93.8 / 94.2 / 90.8. So upright digits need no constraint, and fully turned ones need all of it."
)
"""Measured with escnn 1.0.11 and torch 2.13 when the demo was written."""

GUARANTEES = (
    "The change of the logits under quarter turns of test images, at seed 0, and the bound that certify(model, x) "
    "gives for it: medians over images and turns, in double precision. No error may exceed its bound."
)

FILTERS = (
    "The first layer's strongest field at seed 0: its four filters, each turned back by its quarter turns, and each "
    "column on its own scale. In a strict layer all four are the same filter. Down a column one sees what the network "
    "made of its freedom."
)


def introduction(settings: Settings) -> tuple[str, ...]:
    """What is asked, and how."""
    angle, images = f"{settings.angle:g}", settings.images
    return (
        f"Handwritten digits, turned by random angles of up to ±{angle} degrees. Turning is a symmetry of the task, "
        "but a broken one: half a turn makes a 6 a 9. A strictly equivariant network cannot tell an image from its "
        "quarter turns. An unconstrained network can, but it has to learn from few images what turning does. In "
        "between lies the dial of escnn_soft: softness 0 is escnn's steerable network, softness 1 reaches every "
        "convolution.",
        f"The same small C4 classifier is trained at each stop of the dial on {10 * images} real MNIST images "
        f"({images} of each digit) and tested on {10 * settings.tests} others, for {settings.seeds} seeds.",
    )


def fairness(settings: Settings) -> tuple[str, ...]:
    """What was held equal, and what a critic should know, as list items."""
    wide = (
        f"That is why there is a second strict network, with {settings.wide} times the fields: it has about as many "
        "weights as the unconstrained one, and takes about twice as long to train."
        if settings.wide > 1
        else "The full run also trains a strict network with three times the fields: when this was written, it "
        "was half a point better than softness 0.05 (93.9 and 93.4 %), in twice the time."
    )
    return (
        "Equal at every stop: architecture and channels, optimiser (Adam, one learning-rate cycle with peak "
        f"{settings.rate:g}, {settings.epochs} epochs in batches of {settings.batch}, no weight decay, no "
        "augmentation), and, seed by seed, split, turned images, order of batches and first weights. The soft part "
        "starts at zero, so at one seed all stops start as the same function. Differences are therefore paired.",
        "Every stop above 0 can move in all directions, as far as its softness allows; the strict network with the "
        "same channels moves in a ninth of them. " + wide,
        "Softness bounds the relative error of each layer before training; how the errors of the layers add up is "
        "up to the network.",
        "In the unconstrained network, batch norm still treats the four channels of a field alike, and its first "
        "weights are those of the strict one. The row of plain torch is a check on that: the same shape, but torch's "
        "own layers and first weights.",
        "The task was chosen because its symmetry is partly broken, and the settings decide who wins. " + TRIALS,
        "The best stop is picked by looking at test accuracy, which flatters it a little: look at the curve, not "
        "at its highest point. Test images of different seeds overlap, for the data set has 5,000 images, so the "
        "spread over seeds understates what new digits would do.",
    )
