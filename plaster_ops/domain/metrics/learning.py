"""R: from newly arrived data to an accepted engine."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import HIGHER, INFO, LOWER, axis

_declare = axis(Letter.LEARNING, "learning")

_TL = "learning.timeline.v1"
TRAIN_TO_ENGINE_S = _declare(
    "train_to_engine_s",
    "s",
    LOWER,
    _TL,
    "trigger to accepted engine, measuring excluded",
    headline=True,
    margin=0.10,
    from_history=True,
)
DATA_TO_DEPLOY_S = _declare(
    "data_to_deploy_s",
    "s",
    LOWER,
    _TL,
    "arrival of the newest datum used to the promoted engine's first answer",
)
CYCLE_S = _declare("cycle_s", "s", LOWER, _TL, "the whole command; the phases sum to it")
TRAIN_WALL_S = _declare("train_wall_s", "s", LOWER, _TL, "all ranks up to end of fit")
TRAIN_SAMPLES_PER_S = _declare(
    "train_samples_per_s",
    "per_s",
    HIGHER,
    "learning.samples.v1",
    "samples of all ranks, counted batch by batch / fit seconds",
)
NEW_SAMPLES_COUNT = _declare("new_samples_count", "count", INFO, _TL, "samples that no champion has learned")
EPOCHS_COUNT = _declare("epochs_count", "count", INFO, _TL, "epochs trained")
TIME_TO_TARGET_S = _declare("time_to_target_s", "s", LOWER, _TL, "first step of the fit to the target score")
_REFIT = "learning.refit.v1"
OPTIMIZE_S = _declare(
    "optimize_s", "s", LOWER, _TL, "export, builds, refit, parity and trials: trained weights to engine"
)
REFIT_USED_COUNT = _declare(
    "refit_used_count", "count", INFO, _REFIT, "1 if the engine was refitted, 0 if built or reused"
)
REFITS_SINCE_BUILD_COUNT = _declare(
    "refits_since_build_count", "count", INFO, _REFIT, "refits since the last full build"
)
REFIT_SAVED_S = _declare(
    "refit_saved_s", "s", HIGHER, _REFIT, "stage of the last full build - stage of this refit or reuse"
)
REFIT_PENALTY_RATIO = _declare(
    "refit_penalty_ratio",
    "ratio",
    LOWER,
    _REFIT,
    "p50 of the refitted engine / p50 of a full build of it, side by side",
)
RESTARTS_COUNT = _declare("restarts_count", "count", LOWER, _TL, "gang restarts after a rank died")
DDP_RANK_SKEW_RATIO = _declare(
    "ddp_rank_skew_ratio", "ratio", LOWER, "learning.samples.v1", "slowest / fastest rank's time in steps"
)
