"""Scores and divergences against those of torchmetrics."""

from __future__ import annotations

import pytest
import torch
from escnn import gspaces

from escnn_soft import metrics

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
from torchmetrics.functional import kl_divergence  # noqa: E402
from torchmetrics.functional.classification import (  # noqa: E402
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

C4 = gspaces.rot2dOnR2(4)
CLASSES = 4
SIDE = 9


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels in two batches of different size."""
    x, labels = torch.randn(11, CLASSES, SIDE, SIDE), torch.randint(CLASSES, (11,))
    return [(x[:7], labels[:7]), (x[7:], labels[7:])]


def logits(x: torch.Tensor) -> torch.Tensor:
    """Of a classifier that is not invariant."""
    return x[:, :, : SIDE // 2].mean((2, 3))


def test_accuracy() -> None:
    data = batches()
    score = metrics.accuracy(logits, data, metrics.transformations(C4))
    x, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    found = [score.plain, *(element.score for element in score.elements)]
    turned = [x.rot90(k, (2, 3)) for k in range(4)]
    wanted = [float(multiclass_accuracy(logits(y), labels, CLASSES, average="micro")) for y in turned]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(set(wanted)) > 1


def test_mean_iou_of_a_segmentation() -> None:
    x = torch.randn(5, CLASSES, SIDE, SIDE)
    masks = torch.randint(CLASSES, (5, SIDE, SIDE))
    masks[:, :2] = metrics.IGNORED
    score = metrics.segmentation_score(lambda y: y.cumsum(2), [(x, masks)], metrics.transformations(C4), CLASSES)

    def iou(y: torch.Tensor, target: torch.Tensor) -> float:
        return float(multiclass_jaccard_index(y.cumsum(2), target, CLASSES, ignore_index=metrics.IGNORED))

    wanted = [iou(x.rot90(k, (2, 3)), masks.rot90(k, (1, 2))) for k in range(4)]
    assert [score.plain, *(element.score for element in score.elements)] == pytest.approx(wanted, abs=1e-6)
    assert len(set(wanted)) > 1


@pytest.mark.parametrize("present", [CLASSES, CLASSES - 1])
def test_confusion_and_mean_iou(present) -> None:
    """Also where a class is neither there nor predicted."""
    prediction, target = torch.randint(present, (2, 300))
    counts = metrics.confusion(prediction, target, CLASSES)
    assert torch.equal(counts, multiclass_confusion_matrix(prediction, target, CLASSES))
    assert metrics.mean_iou(counts) == pytest.approx(
        float(multiclass_jaccard_index(prediction, target, CLASSES)), abs=1e-6
    )


def test_divergence() -> None:
    a, b = 2 * torch.randn(2, 6, CLASSES)
    wanted = kl_divergence(b.softmax(1).double(), a.softmax(1).double(), reduction="none")
    assert (metrics.divergence(a, b) - wanted).abs().max() < 1e-6


def test_divergence_and_consistency_of_predictions() -> None:
    x = batches()[0][0]
    change = metrics.prediction_change(logits, x, metrics.transformations(C4))
    still = logits(x)
    for k, element in enumerate(change.elements, start=1):
        moved = logits(x.rot90(k, (2, 3)))
        assert element.divergence == pytest.approx(float(kl_divergence(still.softmax(1), moved.softmax(1))), rel=1e-4)
        same = multiclass_accuracy(moved, still.argmax(1), CLASSES, average="micro")
        assert element.consistency == pytest.approx(float(same), abs=1e-6)
