"""A, of the data itself: how the newest labelled samples differ from those before, before any engine answers them."""

from plaster_ops.domain.metric import Letter, Metric
from plaster_ops.domain.metrics.declare import LOWER, axis

_declare = axis(Letter.ACCURACY, "accuracy")

_DRIFT = "accuracy.input_drift.v1"
INPUT_DRIFT_RATIO = _declare(
    "input_drift_ratio", "ratio", LOWER, _DRIFT, "input features that drifted since the last retrain, rolling set"
)
INPUT_DISTANCE_MAX_RATIO = _declare(
    "input_distance_max_ratio", "ratio", LOWER, _DRIFT, "largest distance of a feature from the last retrain's"
)
TRAIN_GAP_RATIO = _declare(
    "train_gap_ratio", "ratio", LOWER, _DRIFT, "input features in which the rolling set differs from the training data"
)
LABEL_SHIFT_RATIO = _declare(
    "label_shift_ratio", "ratio", LOWER, _DRIFT, "distance of the labels from the last retrain's, rolling set"
)
UNSEEN_LABELS_COUNT = _declare(
    "unseen_labels_count",
    "count",
    LOWER,
    "accuracy.unseen_labels.v1",
    "labels of the rolling set that no training sample looked at has",
)
MISSING_VALUES_RATIO = _declare(
    "missing_values_ratio",
    "ratio",
    LOWER,
    "accuracy.missing_values.v1",
    "input values of the rolling set that are NaN or infinite",
)

INPUTS: tuple[Metric, ...] = (
    INPUT_DRIFT_RATIO,
    INPUT_DISTANCE_MAX_RATIO,
    TRAIN_GAP_RATIO,
    LABEL_SHIFT_RATIO,
    UNSEEN_LABELS_COUNT,
    MISSING_VALUES_RATIO,
)
"""All of them: they speak of data, not of an engine, so measuring an engine again does not give them anew."""
