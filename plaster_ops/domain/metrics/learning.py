"""R: from newly arrived data to an accepted engine, and how often a pipeline gets there."""

from plaster_ops.domain.metric import Letter, Metric
from plaster_ops.domain.metrics.declare import HIGHER, INFO, LOWER, axis, declared

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

_AGES = "learning.ages.v1"
DATA_TO_DEPLOY_S = _declare(
    "data_to_deploy_s", "s", LOWER, "learning.timeline.v2", "arrival of the newest datum used to the promotion"
)
DATA_AGE_AT_DEPLOY_P50_S = _declare(
    "data_age_at_deploy_p50_s", "s", LOWER, _AGES, "age of the newly added samples at the promotion, median"
)
DATA_AGE_AT_DEPLOY_P95_S = _declare("data_age_at_deploy_p95_s", "s", LOWER, _AGES, "the same, 95th percentile")

_SPANS = "learning.spans.v1"
SCHEDULE_DELAY_S = _declare("schedule_delay_s", "s", LOWER, _SPANS, "instant the retrain was due to its trigger")
DATA_PREP_S = _declare("data_prep_s", "s", LOWER, _SPANS, "the data stage: counts, digests, samples put aside")
TRAIN_WALL_S = _declare("train_wall_s", "s", LOWER, _TL, "all ranks up to end of fit")
EXPORT_S = _declare("export_s", "s", LOWER, _SPANS, "trained weights to an exported graph; a part of optimize_s")
OPTIMIZE_S = _declare(
    "optimize_s", "s", LOWER, _TL, "export, builds, refit, parity and trials: trained weights to engine"
)
EVAL_S = _declare("eval_s", "s", LOWER, _SPANS, "trials and scores; a part of optimize_s")
DEPLOY_S = _declare("deploy_s", "s", LOWER, _SPANS, "the gates' decision to the promotion")
CYCLE_S = _declare("cycle_s", "s", LOWER, "learning.timeline.v2", "the whole command; the phases sum to it")

_TARGET = "learning.target.v2"
TIME_TO_TARGET_S = _declare(
    "time_to_target_s", "s", LOWER, _TARGET, "first step of the fit to weights of the target score"
)
EPOCHS_TO_TARGET_COUNT = _declare("epochs_to_target_count", "count", LOWER, _TARGET, "epochs up to those weights")
SAMPLES_TO_TARGET_COUNT = _declare(
    "samples_to_target_count", "count", LOWER, _TARGET, "samples learned up to those weights"
)
EPOCHS_COUNT = _declare("epochs_count", "count", INFO, _TL, "epochs trained")

_RATE = "learning.samples.v2"
TRAIN_SAMPLES_PER_S = _declare(
    "train_samples_per_s",
    "per_s",
    HIGHER,
    _RATE,
    "samples that all ranks worked on / fit seconds, first tenth of the first epoch left out",
)
TRAIN_DEVICE_SAMPLES_PER_S = _declare("train_device_samples_per_s", "per_s", HIGHER, _RATE, "the same / ranks")
SAMPLES_LEARNED_COUNT = _declare(
    "samples_learned_count", "count", INFO, "learning.learned.v1", "each sample of an epoch once, over all epochs"
)
NEW_SAMPLES_COUNT = _declare("new_samples_count", "count", INFO, _TL, "samples that no champion has learned")

_PACE = "learning.pace.v1"
LEARNED_SAMPLES_PER_DAY = _declare(
    "learned_samples_per_day", "per_day", HIGHER, _PACE, "samples that champions of the last 24 h learned first"
)
RETRAINS_POSSIBLE_PER_DAY = _declare(
    "retrains_possible_per_day", "per_day", HIGHER, _PACE, "86,400 / p95 of the last 20 cycles"
)
RETRAINS_DONE_PER_DAY = _declare(
    "retrains_done_per_day", "per_day", HIGHER, _PACE, "new engines promoted in the last 24 h"
)
RETRAINS_DONE_WEEKLY_PER_DAY = _declare(
    "retrains_done_weekly_per_day", "per_day", HIGHER, _PACE, "new engines promoted in the last 7 days / 7"
)
CADENCE_ADHERENCE_RATIO = _declare(
    "cadence_adherence_ratio", "ratio", HIGHER, _PACE, "slots of 7 days whose run was decided before the next / all"
)
MISSED_SLOTS_COUNT = _declare("missed_slots_count", "count", LOWER, _PACE, "slots of 7 days without a decided run")
STALENESS_P95_S = _declare(
    "staleness_p95_s", "s", LOWER, _PACE, "age of the champion's newest training datum over the last 7 days, p95"
)
DATA_STALENESS_S = _declare(
    "data_staleness_s",
    "s",
    LOWER,
    "learning.data_clock.v1",
    "newest datum there now - newest one that the champion before this retrain was trained on",
)
PROMOTION_RATIO = _declare("promotion_ratio", "ratio", INFO, _PACE, "runs that became champion / finished runs")

_REFIT = "learning.refit.v1"
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
RESUMES_COUNT = _declare("resumes_count", "count", LOWER, _TL, "times the run was continued after it was cut off")

_RANKS = "learning.ranks.v1"
DDP_EFFICIENCY_RATIO = _declare("ddp_efficiency_ratio", "ratio", HIGHER, _RANKS, "rate of N ranks / (N x rate of one)")
DDP_RANK_SKEW_RATIO = _declare(
    "ddp_rank_skew_ratio", "ratio", LOWER, _RANKS, "slowest / fastest rank's time for its data and forward passes"
)
MFU_RATIO = _declare("mfu_ratio", "ratio", HIGHER, _RANKS, "FLOPs of the model in training / peak of the devices")

RACE_S = _declare("race_s", "s", LOWER, "learning.race.v1", "the second fit of a race of starts, and scoring both")
NEEDLESS_COUNT = _declare(
    "needless_count", "count", LOWER, "learning.need.v1", "1 if the champion could have stayed, 0 if not"
)

_CURVE = "learning.curve.v1"
DELTA_AT_EQUAL_SAMPLES_SCORE = _declare(
    "delta_at_equal_samples_score", "score", INFO, _CURVE, "score now - the baseline's, from as many samples learned"
)
SAMPLES_TO_COMMON_RATIO = _declare(
    "samples_to_common_ratio", "ratio", LOWER, _CURVE, "samples up to the best score that both fits had, now / then"
)
SECONDS_TO_COMMON_RATIO = _declare(
    "seconds_to_common_ratio", "ratio", LOWER, _CURVE, "seconds of training up to it, now / then"
)

LEARNING: tuple[Metric, ...] = tuple(metric for metric in declared.values() if metric.letter is Letter.LEARNING)
"""Every metric of this letter: each is on every card, measured or with the reason why not."""
