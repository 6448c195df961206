"""Metrics: 0 where it is 0, the known number where it is known, and the interpolation told apart from the model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from escnn import group, gspaces, nn
from escnn.nn import GeometricTensor

from escnn_soft import SoftLinear, SoftR2Conv, metrics
from escnn_soft.errors import GridActionError
from escnn_soft.metrics.resampling import disc
from escnn_soft.testing import randomize

C4, C8, D4 = gspaces.rot2dOnR2(4), gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(4)
POINT = gspaces.no_base_space(group.dihedral_group(3))


def images(n: int = 3, channels: int = 1, side: int = 13) -> torch.Tensor:
    return torch.randn(n, channels, side, side, dtype=torch.float64)


def classifier(softness: float, space=C4) -> torch.nn.Module:
    image, hidden, logits = (
        space.type(*r) for r in ([space.trivial_repr], [space.regular_repr] * 2, [space.trivial_repr] * 3)
    )
    body = nn.SequentialModule(
        SoftR2Conv(image, hidden, 5, softness=softness),
        nn.ReLU(hidden),
        SoftR2Conv(hidden, logits, 3, softness=softness),
    )
    randomize(body)
    return Scores(body).double()


class Scores(torch.nn.Module):
    """A plain model: tensors in, class scores out."""

    def __init__(self, body: nn.SequentialModule) -> None:
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(self.body.in_type(x)).tensor.mean((2, 3))


# ---------------------------------------------------------------------- distances


def test_distances_by_definition() -> None:
    a, b = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    for i, (x, y) in enumerate(zip(a.double().numpy(), b.double().numpy(), strict=True)):
        gap = math.sqrt(sum((u - v) ** 2 for u, v in zip(x.flat, y.flat, strict=True)))
        size_x, size_y = (math.sqrt(sum(u**2 for u in z.flat)) for z in (x, y))
        assert float(metrics.relative_error(a, b)[i]) == pytest.approx(gap / size_y, rel=1e-12)
        assert float(metrics.normalized_error(a, b)[i]) == pytest.approx(gap / (size_x + size_y), rel=1e-12)
        same = [x[:, p].argmax() == y[:, p].argmax() for p in range(5)]
        assert float(metrics.agreement(a, b)[i]) == pytest.approx(np.mean(same))
        p, q = np.exp(y) / np.exp(y).sum(0), np.exp(x) / np.exp(x).sum(0)
        assert float(metrics.divergence(a, b)[i]) == pytest.approx((p * np.log(p / q)).sum(0).mean(), rel=1e-10)


def test_distances_of_zeros() -> None:
    zero, one = torch.zeros(1, 2), torch.ones(1, 2)
    assert metrics.relative_error(zero, zero).tolist() == [0.0]
    assert metrics.relative_error(one, zero).tolist() == [math.inf]
    assert metrics.normalized_error(zero, zero).tolist() == [0.0]
    assert metrics.normalized_error(one, zero).tolist() == [1.0]


def test_a_nan_is_not_hidden() -> None:
    broken = torch.tensor([[math.nan, 1.0]])
    assert math.isnan(metrics.relative_error(broken, torch.ones(1, 2)))
    assert math.isnan(
        metrics.invariance_error(lambda _: broken, broken, [metrics.Transformation("id", lambda x: x)]).relative
    )


def test_top_overlap_by_sets() -> None:
    a, b = torch.randn(6, 9), torch.randn(6, 9)
    expected = [
        len(set(x.topk(4).indices.tolist()) & set(y.topk(4).indices.tolist())) / 4 for x, y in zip(a, b, strict=True)
    ]
    assert metrics.top_overlap(a, b, 4).tolist() == expected


# ---------------------------------------------------------------------- exact elements


@pytest.mark.parametrize("space", [C4, D4])
def test_an_equivariant_classifier_has_no_error(space) -> None:
    error = metrics.invariance_error(classifier(0.0, space), images(), metrics.transformations(space))
    assert len(error.elements) == space.fibergroup.order() - 1
    assert error.worst.relative < 1e-12
    assert error.floor == 0


def test_a_soft_classifier_has_an_error() -> None:
    model = classifier(0.5)
    error = metrics.equivariance_error(model, images(), metrics.transformations(C4))
    assert error.relative > 1e-3
    x = images()
    expected = [
        ((model(x.rot90(k, (2, 3))) - model(x)).norm(dim=1) / model(x).norm(dim=1)).mean().item() for k in (1, 2, 3)
    ]
    found = metrics.equivariance_error(model, x, metrics.transformations(C4))
    assert [element.relative for element in found.elements] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("softness", [0.0, 0.7])
def test_fields_of_escnn_by_definition(softness) -> None:
    field = D4.type(D4.irrep(1, 1), D4.regular_repr)
    layer = SoftR2Conv(field, field, 3, padding=1, softness=softness)
    randomize(layer)
    layer = layer.double()
    x = GeometricTensor(images(2, field.size), field)
    error = metrics.equivariance_error(layer, [x, x], metrics.transformations(field, field))
    assert error.samples == 4
    assert error.relative < 1e-12 if softness == 0 else error.relative > 1e-2
    assert error.relative == pytest.approx(2 * error.normalized, rel=0.2)


def test_fields_without_base_space() -> None:
    field = POINT.type(POINT.regular_repr)
    layer = SoftLinear(field, field, softness=0.0)
    randomize(layer)
    x = field(torch.randn(5, 6, dtype=torch.float64))
    moves = metrics.transformations(field, field)
    assert metrics.equivariance_error(layer.double(), x, moves).worst.relative < 1e-12
    # plain tensors move by the types that were given
    flipped = metrics.equivariance_error(torch.nn.Identity(), x.tensor, moves)
    assert flipped.relative == 0


def test_the_known_error_of_a_broken_map() -> None:
    """x -> x_1 under the exchange of x_1 = 3 and x_2 = 4: |4 - 3| / 3 and |4 - 3| / (4 + 3)."""
    swap = metrics.Transformation("swap", lambda x: x.flip(1))
    error = metrics.equivariance_error(lambda x: x[:, :1], torch.tensor([[3.0, 4.0]]), [swap])
    assert error.relative == pytest.approx(1 / 3, abs=1e-12)
    assert error.normalized == pytest.approx(1 / 7, abs=1e-12)


def test_an_odd_convolution_is_wrong_by_two_under_half_turns() -> None:
    """A kernel that changes its sign under half a turn: f(g x) = -g f(x), so relative error 2 and eErr 1."""
    conv = torch.nn.Conv2d(1, 1, 3, bias=False).double()
    conv.weight.data = (conv.weight.data - conv.weight.data.rot90(2, (2, 3))).detach()
    half = metrics.transformations(C4, C4, [C4.fibergroup.element(2)])
    error = metrics.equivariance_error(conv, images(), half)
    assert (error.relative, error.normalized) == pytest.approx((2, 1), abs=1e-12)


def test_a_model_that_writes_in_place_and_one_that_trains_are_left_alone() -> None:
    x = images()
    before = x.clone()
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.ReLU(inplace=True))
    assert metrics.equivariance_error(model, x, metrics.transformations(C4, C4)).relative == 0
    assert torch.equal(x, before)
    assert model[0].training


def test_batches_are_weighted_by_their_size() -> None:
    x, model, moves = images(5), classifier(0.5), metrics.transformations(C4)
    whole = metrics.equivariance_error(model, x, moves).relative
    assert metrics.equivariance_error(model, iter([x[:4], x[4:]]), moves).relative == pytest.approx(whole, rel=1e-12)


# ---------------------------------------------------------------------- interpolated elements


def wave(points: torch.Tensor) -> torch.Tensor:
    """A band-limited image, known between the pixels."""
    x, y = points.unbind(-1)
    return torch.cos(0.35 * x + 0.2 * y) + torch.sin(0.3 * y - 0.1 * x)


@pytest.mark.parametrize(("mode", "tolerance"), [("bilinear", 2e-2), ("bicubic", 3e-3)])
@pytest.mark.parametrize("size", [(33, 33), (30, 41)])
def test_resampling_finds_a_known_image_rotated(mode, tolerance, size) -> None:
    """x(A^-1 p) of an image given by a formula, away from the border."""
    height, width = size
    ys, xs = (height - 1) / 2 - torch.arange(height), torch.arange(width) - (width - 1) / 2
    points = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1).double()
    for element in C8.fibergroup.elements:
        matrix = C8.basespace_action(element)
        truth = wave(points @ torch.from_numpy(np.linalg.inv(matrix)).T)
        found = metrics.resample(wave(points)[None, None], matrix, mode)[0, 0]
        inner = points.norm(dim=-1) < min(size) / 2 - 3
        assert (found - truth)[inner].norm() < tolerance * truth[inner].norm()


def test_resampling_by_a_quarter_turn_moves_pixels() -> None:
    x = images(2, 2)
    for element in D4.fibergroup.elements:
        exact = metrics.transformations(D4, D4, [element])[0].on_input(x)
        for mode in ("bilinear", "bicubic"):
            assert metrics.resample(x, D4.basespace_action(element), mode) == pytest.approx(exact, abs=1e-10)


def test_elements_off_the_grid_need_an_interpolation() -> None:
    assert len(metrics.transformations(C8)) == 3
    with pytest.raises(GridActionError, match="interpolation='bicubic'"):
        metrics.transformations(C8, elements=[C8.fibergroup.element(1)])
    moves = metrics.transformations(C8, interpolation="bicubic")
    assert [move.exact for move in moves] == [k % 2 == 0 for k in range(1, 8)]


def test_what_interpolation_does_lies_below_the_floor() -> None:
    """A blur commutes with rotations: its error is interpolation, and the floor covers it; a shift's is not."""
    x = metrics.gaussian_blur(images(4, side=41))
    moves = metrics.transformations(C8, C8, [C8.fibergroup.element(k) for k in (1, 3)], interpolation="bicubic")
    blur = metrics.equivariance_error(metrics.gaussian_blur, x, moves)
    assert 0 < blur.relative < blur.floor < 0.2
    assert blur == metrics.interpolation_floor(x, C8, [C8.fibergroup.element(k) for k in (1, 3)])
    shift = metrics.equivariance_error(lambda y: y.roll(2, -1), x, moves)
    assert shift.relative > 5 * shift.floor


def test_the_floor_of_invariant_scores() -> None:
    x = metrics.gaussian_blur(images(4, side=41))
    energy = metrics.invariance_error(
        lambda y: y.square().sum((2, 3)), x, metrics.transformations(C8, interpolation="bicubic")
    )
    off_grid = [e for e, k in zip(energy.elements, range(1, 8), strict=True) if k % 2]
    assert all(0 < e.relative < e.floor < 0.2 for e in off_grid)
    assert all(
        e.relative < 1e-12 and e.floor == 0 for e, k in zip(energy.elements, range(1, 8), strict=True) if k % 2 == 0
    )


def test_vectors_are_turned_when_their_image_is() -> None:
    """The gradient of a blurred image is a vector field: equivariant only if its fibres are turned as well."""
    vectors = C8.type(C8.irrep(1))
    x = metrics.gaussian_blur(metrics.gaussian_blur(images(2, side=41)))

    def gradient(y):
        y = metrics.gaussian_blur(y)
        dx = (y.roll(-1, 3) - y.roll(1, 3)) / 2
        dy = (y.roll(1, 2) - y.roll(-1, 2)) / 2  # upwards
        return torch.cat([dx, dy], dim=1)

    element = [C8.fibergroup.element(1)]
    right = metrics.equivariance_error(
        gradient, x, metrics.transformations(C8, vectors, element, interpolation="bicubic")
    )
    wrong = metrics.equivariance_error(gradient, x, metrics.transformations(C8, C8, element, interpolation="bicubic"))
    assert right.relative < 0.1 < 0.5 < wrong.relative


# ---------------------------------------------------------------------- predictions and scores


def test_prediction_change_by_definition() -> None:
    model, x = classifier(1.0), images(20)
    change = metrics.prediction_change(model, [x[:7], x[7:]], metrics.transformations(C4))
    for k, element in enumerate(change.elements, start=1):
        before, after = model(x), model(x.rot90(k, (2, 3)))
        assert element.consistency == pytest.approx(float((before.argmax(1) == after.argmax(1)).double().mean()))
        expected = torch.nn.functional.kl_div(after.log_softmax(1), before.softmax(1), reduction="batchmean")
        assert element.divergence == pytest.approx(expected.item(), rel=1e-9)
    assert change.there_and_back == 1
    strict = metrics.prediction_change(classifier(0.0), x, metrics.transformations(C4))
    assert (strict.consistency, strict.divergence < 1e-12) == (1, True)


def test_accuracy_and_its_combined_form() -> None:
    model, x = classifier(1.0), images(20)
    labels = torch.randint(3, (20,))
    score = metrics.accuracy(model, [(x[:11], labels[:11]), (x[11:], labels[11:])], metrics.transformations(C4))
    expected = [float((model(x.rot90(k, (2, 3))).argmax(1) == labels).double().mean()) for k in range(4)]
    assert [score.plain, *(e.score for e in score.elements)] == pytest.approx(expected)
    assert score.combined == pytest.approx(math.sqrt(expected[0] * sum(expected[1:]) / 3))
    assert score.there_and_back == pytest.approx(score.plain)


def test_accuracy_there_and_back_sees_interpolation_only() -> None:
    """Labels by a threshold of the energy in fine detail, of which interpolation destroys a part."""
    x = images(40, side=21)
    detail = lambda y: (y - metrics.gaussian_blur(y)).square().sum((1, 2, 3))  # noqa: E731
    threshold = float(detail(disc(x)).median())
    model = lambda y: torch.stack([threshold - detail(y), detail(y) - threshold], dim=1)  # noqa: E731
    labels = (detail(x) > threshold).long()
    score = metrics.accuracy(model, [(x, labels)], metrics.transformations(C8, interpolation="bilinear"))
    assert score.plain == 1
    assert score.there_and_back < 1


@pytest.mark.parametrize("space", [C4, C8])
def test_mean_iou_under_rotation(space) -> None:
    """A model that thresholds pixel by pixel is equivariant; one that shifts its mask is not."""
    x = metrics.gaussian_blur(metrics.gaussian_blur(images(6, side=31)))
    mask = (x[:, 0] > 0).long()
    moves = metrics.transformations(space, space, interpolation="bicubic")
    score = metrics.segmentation_score(lambda y: torch.cat([-y, y], 1), [(x, mask)], moves, classes=2)
    assert score.plain == 1
    assert score.transformed == 1 if space is C4 else 0.9 < score.transformed < 1
    assert score.transformed <= score.combined <= score.plain
    shifted = metrics.segmentation_score(lambda y: torch.cat([-y, y], 1).roll(3, 3), [(x, mask)], moves, classes=2)
    assert shifted.combined < 0.8


def test_mean_iou_by_sets() -> None:
    prediction, target = torch.randint(3, (4, 5, 6)), torch.randint(-1, 3, (4, 5, 6))
    known = target >= 0
    expected = [
        float(((prediction == c) & (target == c)).sum() / (((prediction == c) & known) | (target == c)).sum())
        for c in range(3)
    ]
    assert metrics.mean_iou(metrics.confusion(prediction, target, 3)) == pytest.approx(np.mean(expected))


def test_a_class_that_is_neither_there_nor_predicted_does_not_count() -> None:
    assert metrics.mean_iou(metrics.confusion(torch.zeros(4).long(), torch.zeros(4).long(), 3)) == 1


def test_displacements_by_definition() -> None:
    prediction, path = torch.randn(3, 2, 5, 2), torch.randn(3, 2, 5, 2)
    ade, fde = metrics.displacements(prediction, path)
    for i in range(3):
        for j in range(2):
            steps = [math.dist(p.tolist(), q.tolist()) for p, q in zip(prediction[i, j], path[i, j], strict=True)]
            assert float(ade[i, j]) == pytest.approx(sum(steps) / 5, rel=1e-5)
            assert float(fde[i, j]) == pytest.approx(steps[-1], rel=1e-5)


def test_trajectories_under_rotation() -> None:
    past = torch.randn(9, 4, 2, dtype=torch.float64)
    future = past[:, -1:] + torch.arange(1, 4)[:, None] * (past[:, -1:] - past[:, -2:-1])
    moves = metrics.point_rotations([30, 90, 211.5])

    def straight_on(x):
        return x[:, -1:] + torch.arange(1, 4)[:, None] * (x[:, -1:] - x[:, -2:-1])

    score = metrics.trajectory_score(straight_on, [(past[:5], future[:5]), (past[5:], future[5:])], moves)
    assert score.transformed.fde < 1e-12 > score.combined.ade
    assert metrics.equivariance_error(straight_on, past, moves).worst.relative < 1e-12
    # a wind of (1, 0) each step is off by |R w - w| = 2 sin(angle / 2) a step
    wind = torch.arange(1, 4)[:, None] * torch.tensor([1.0, 0.0], dtype=torch.float64)
    windy = metrics.trajectory_score(lambda x: straight_on(x) + wind, [(past, future + wind)], moves)
    assert windy.plain.ade < 1e-12
    for (_, error), angle in zip(windy.elements, (30, 90, 211.5), strict=True):
        assert error.fde == pytest.approx(3 * 2 * math.sin(math.radians(angle) / 2), rel=1e-9)
        assert error.ade == pytest.approx(2 * 2 * math.sin(math.radians(angle) / 2), rel=1e-9)
