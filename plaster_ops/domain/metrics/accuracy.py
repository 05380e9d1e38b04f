"""A: how right the reloaded engine is, and how near to eager FP32."""

from plaster_ops.domain.metric import Letter, Scale
from plaster_ops.domain.metrics.declare import DECLARED, HIGHER, INFO, LOWER, axis

_declare = axis(Letter.ACCURACY, "accuracy")

_ACC = "accuracy.reloaded_engine.v1"
ENGINE_SCORE = _declare(
    "engine_score",
    "score",
    DECLARED,
    _ACC,
    "task score of the reloaded engine on the frozen golden set (a floor, not the gate); on the rolling set where the"
    " pipeline has no golden set",
    headline=True,
    scale=Scale.DIFFERENCE,
    margin=0.005,
)
ROLLING_SCORE = _declare(
    "rolling_score",
    "score",
    DECLARED,
    _ACC,
    "task score of the reloaded engine on the newest labelled data, held out by time: this one gates",
    scale=Scale.DIFFERENCE,
    margin=0.005,
)
REFERENCE_SCORE = _declare("reference_score", "score", INFO, _ACC, "same weights, eager FP32, rolling set")
RETAINED_RATIO = _declare(
    "retained_ratio",
    "ratio",
    HIGHER,
    _ACC,
    "engine / reference (inverted for scores where lower is better)",
)
LOST_SCORE = _declare(
    "lost_score",
    "score",
    LOWER,
    _ACC,
    "reference - engine in the score's better direction; the gate where a score can be zero or negative",
)
AGREEMENT_RATIO = _declare("agreement_ratio", "ratio", HIGHER, _ACC, "same top-1 answer as the reference")
FLIPS_RATIO = _declare("flips_ratio", "ratio", LOWER, _ACC, "right with the reference and wrong now, or the reverse")
OUTPUT_KL_MEAN_NATS = _declare(
    "output_kl_mean_nats", "nats", LOWER, "accuracy.kl.v1", "divergence of the engine's class probabilities, mean"
)
CHURN_VS_LAST_RATIO = _declare(
    "churn_vs_last_ratio", "ratio", LOWER, _ACC, "top-1 answers that differ from the baseline engine's"
)
NEGATIVE_FLIPS_VS_LAST_RATIO = _declare(
    "negative_flips_vs_last_ratio", "ratio", LOWER, _ACC, "right with the baseline engine, wrong now"
)
DELTA_VS_LAST_SCORE = _declare(
    "delta_vs_last_score", "score", INFO, "accuracy.paired.v1", "score now - the baseline engine's, same samples"
)
MCNEMAR_PVALUE = _declare(
    "mcnemar_pvalue", "pvalue", INFO, "accuracy.mcnemar_midp.v1", "paired with the baseline, rolling set"
)
WORST_SLICE_SCORE = _declare(
    "worst_slice_score", "score", DECLARED, "accuracy.slices.v1", "score on the declared slice where it is worst"
)
OUTPUT_COSINE_MIN_RATIO = _declare(
    "output_cosine_min_ratio", "ratio", HIGHER, "accuracy.parity.v1", "smallest cosine over all outputs"
)
OUTPUT_ABS_ERR_MAX_SCORE = _declare(
    "output_abs_err_max_score",
    "score",
    LOWER,
    "accuracy.parity.v1",
    "largest |engine - eager|, all outputs",
)
EVAL_SAMPLES_COUNT = _declare("eval_samples_count", "count", INFO, _ACC, "samples of the rolling set")
GATE_PASSED_COUNT = _declare(
    "gate_passed_count", "count", HIGHER, "accuracy.gate.v1", "1 where the accuracy gate passed, 0 where it failed"
)
GOLDEN_SAMPLES_COUNT = _declare("golden_samples_count", "count", INFO, _ACC, "samples of the golden set")
