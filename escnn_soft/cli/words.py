"""What the demo's page says about its own question."""

from __future__ import annotations

from escnn_soft.cli.settings import Settings

__all__ = ["FILTERS", "LEGEND", "TITLE", "fairness", "introduction"]

TITLE = "How much symmetry should a network have when the data have some?"

LEGEND = (
    "Accuracy: mean ± standard deviation over the seeds (other split, other first weights), in per cent. "
    "Vs strict: mean of the differences to the strict network at the same seed. Equivariance error: mean relative "
    "change of the logits under exact quarter turns of the test images; of a strict network it is rounding. "
    "Open directions: weights of the convolutions that the network can reach."
)

FILTERS = (
    "The first layer's strongest field at seed 0: its four filters, each turned back by its quarter turns, and each "
    "column on its own scale. In a strict layer all four are the same filter. Down a column one sees what the network "
    "made of its freedom."
)


def introduction(settings: Settings) -> tuple[str, ...]:
    """What is asked, and how.

    Args:
        settings: the run.

    Returns:
        Paragraphs.
    """
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
    """What was held equal, and what a critic should know.

    Args:
        settings: the run.

    Returns:
        List items.
    """
    return (
        "Equal at every stop: architecture and channels, optimiser (Adam, one learning-rate cycle with peak "
        f"{settings.rate:g}, {settings.epochs} epochs in batches of {settings.batch}, no weight decay, no "
        "augmentation), and, seed by seed, split, turned images, order of batches and first weights. The soft part "
        "starts at zero, so at one seed all stops start as the same network. Differences are therefore paired.",
        "Every stop above 0 can reach all weights; the strict network reaches fewer at the same number of channels. A "
        "strict network with more channels would cost more time and might do better.",
        "Without weight decay, softness acts through the steps: behind a gain of 0.1 Adam's step is a tenth as "
        "long. Much longer training would weaken that preference for symmetry.",
        "One learning rate serves all. It was set in small trials in which the strict network preferred a larger rate "
        "and the plain one about half of it; neither came near the best soft stop.",
        "In the unconstrained network, batch norm still treats the four channels of a field alike, and its first "
        "weights are those of the strict one. The row of plain torch is a check on that: the same shape, but torch's "
        "own layers and first weights.",
        "The task was chosen to have a broken symmetry; the range of angles decides who wins. With ±90 degrees the "
        "strict network does better, with upright digits no constraint does: try --angle.",
        "The best stop is picked by looking at test accuracy, which flatters it a little: look at the curve, not "
        "at its highest point. Test images of different seeds overlap, for the data set has 5,000 images, so the "
        "spread over seeds understates what new digits would do.",
    )
