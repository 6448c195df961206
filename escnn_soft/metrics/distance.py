"""How far two batches of outputs are apart, sample by sample; means are taken elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.errors import ShapeError

__all__ = ["agreement", "divergence", "normalized_error", "relative_error", "top_overlap"]


def relative_error(a: Tensor, b: Tensor) -> Tensor:
    """||a - b|| / ||b||, Euclidean over all but the first axis, in double precision.

    Args:
        a: outputs.  # shape: (n, ...)
        b: what they should be.  # shape: (n, ...)

    Returns:
        0 where both are 0, infinite where b alone is.  # shape: (n,)

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> relative_error(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]))
        tensor([1.3333], dtype=torch.float64)
    """
    difference, _, size = _norms(a, b)
    return torch.where(difference == 0, 0.0, difference / size)


def normalized_error(a: Tensor, b: Tensor) -> Tensor:
    """eErr = ||a - b|| / (||a|| + ||b||), in [0, 1]: half the relative error where that is small.

    Args:
        a: outputs.  # shape: (n, ...)
        b: what they should be.  # shape: (n, ...)

    Returns:
        0 where both are 0.  # shape: (n,)

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> normalized_error(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [-1.0]]))
        tensor([0., 1.], dtype=torch.float64)
    """
    difference, first, second = _norms(a, b)
    return torch.where(difference == 0, 0.0, difference / (first + second))


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Whether two batches of scores have the same largest class; the share of pixels, for dense scores.

    Args:
        a: scores.  # shape: (n, classes, ...)
        b: other scores.  # shape: (n, classes, ...)

    Returns:
        In [0, 1].  # shape: (n,)

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> agreement(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 9.0]]))
        tensor([1.], dtype=torch.float64)
    """
    _check(a, b)
    return (a.argmax(1) == b.argmax(1)).double().reshape(len(a), -1).mean(1)


def top_overlap(a: Tensor, b: Tensor, k: int = 5) -> Tensor:
    """Share of the k largest classes that two batches of scores have in common.

    Args:
        a: scores.  # shape: (n, classes)
        b: other scores.  # shape: (n, classes)
        k: classes to compare.

    Returns:
        In [0, 1].  # shape: (n,)

    Raises:
        ShapeError: if the shapes differ, or there are fewer than k classes.

    Example:
        >>> top_overlap(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]]), k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    _check(a, b)
    if a.dim() != 2 or not 1 <= k <= a.shape[1]:
        raise ShapeError(
            "a.shape", tuple(a.shape), f"scores of at least k = {k} classes", "Pass (n, classes), or another k."
        )
    common = a.topk(k, dim=1).indices[:, :, None] == b.topk(k, dim=1).indices[:, None, :]
    return common.sum((1, 2)).double() / k


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax(b) || softmax(a)) in nats: what coding by a costs where b is right; its mean over pixels, if any.

    Args:
        a: logits.  # shape: (n, classes, ...)
        b: logits of what they should be.  # shape: (n, classes, ...)

    Returns:
        At least 0.  # shape: (n,)

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, -9.0]]))
        tensor([0.6931], dtype=torch.float64)
    """
    _check(a, b)
    log_a, log_b = a.double().log_softmax(1), b.double().log_softmax(1)
    pointwise = (log_b.exp() * (log_b - log_a)).sum(1)
    return pointwise.reshape(len(a), -1).mean(1).clamp_min(0)  # rounding may make it negative


def _norms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check(a, b)
    first, second = (x.double().reshape(len(x), -1) for x in (a, b))
    return (first - second).norm(dim=1), first.norm(dim=1), second.norm(dim=1)


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.dim() < 2:
        remedy = "f(g x) and g f(x) differ in shape if the model or its transformations depend on height and width."
        raise ShapeError("a.shape", tuple(a.shape), f"two batches of one shape, here {tuple(b.shape)}", remedy)
