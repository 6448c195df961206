"""What a model does on data and on transformed data: errors, agreement and scores, measured."""

from escnn_soft.metrics.distance import agreement, divergence, normalized_error, relative_error, top_overlap
from escnn_soft.metrics.equivariance import (
    ElementError,
    EquivarianceError,
    equivariance_error,
    gaussian_blur,
    interpolation_floor,
    invariance_error,
)
from escnn_soft.metrics.predictions import ElementChange, PredictionChange, prediction_change
from escnn_soft.metrics.resampling import resample
from escnn_soft.metrics.score import ElementScore, Score, accuracy, confusion, mean_iou, segmentation_score
from escnn_soft.metrics.trajectories import (
    Displacement,
    TrajectoryScore,
    displacements,
    point_rotations,
    trajectory_score,
)
from escnn_soft.metrics.transformation import IGNORED, Interpolation, Transformation, transformations

__all__ = [
    "IGNORED",
    "Displacement",
    "ElementChange",
    "ElementError",
    "ElementScore",
    "EquivarianceError",
    "Interpolation",
    "PredictionChange",
    "Score",
    "TrajectoryScore",
    "Transformation",
    "accuracy",
    "agreement",
    "confusion",
    "displacements",
    "divergence",
    "equivariance_error",
    "gaussian_blur",
    "interpolation_floor",
    "invariance_error",
    "mean_iou",
    "normalized_error",
    "point_rotations",
    "prediction_change",
    "relative_error",
    "resample",
    "segmentation_score",
    "top_overlap",
    "trajectory_score",
    "transformations",
]
