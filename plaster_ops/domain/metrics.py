"""The catalogue: every metric that is logged, declared once.

A key means the same in every run: batch, precision and backend are params, never part of a key. Unit and scope stand
in the name. Ratios are 0..1, energy is joules, size is bytes. No room writes a key as text: it uses these constants.
"""

from typing import Any

from plaster_ops.domain.metric import Better as Better
from plaster_ops.domain.metric import Letter as Letter
from plaster_ops.domain.metric import Metric as Metric
from plaster_ops.domain.metric import Scale as Scale

P, L, A, S = Letter.PROGRAMMABILITY, Letter.LATENCY, Letter.ACCURACY, Letter.SIZE
T, E, R = Letter.THROUGHPUT, Letter.ENERGY, Letter.LEARNING
HIGHER, LOWER, DECLARED, INFO = Better.HIGHER, Better.LOWER, Better.DECLARED, Better.NEITHER

_declared: dict[str, Metric] = {}


def _declare(letter: Letter, key: str, unit: str, better: Better, method: str, meaning: str, **judged: Any) -> Metric:
    """Adds one metric; `judged` are the fields of `Metric` that say whether and how it is compared."""
    if key in _declared:
        raise ValueError(f"metric {key} is declared twice")
    metric = Metric(letter=letter, key=key, unit=unit, better=better, method=method, meaning=meaning, **judged)
    _declared[key] = metric
    return metric


_PROG = "programmability.export_coverage.v1"
ENGINE_FLOPS_RATIO = _declare(
    P,
    "programmability/engine_flops_ratio",
    "ratio",
    HIGHER,
    _PROG,
    "FLOPs executed inside optimised engines / all counted FLOPs",
    headline=True,
    scale=Scale.EXACT,
    margin=0.0,
)
ENGINE_OPS_RATIO = _declare(
    P,
    "programmability/engine_ops_ratio",
    "ratio",
    HIGHER,
    _PROG,
    "graph operators inside engines / all operators of the exported graph",
    scale=Scale.EXACT,
    margin=0.0,
)
ENGINES_COUNT = _declare(
    P,
    "programmability/engines_count",
    "count",
    LOWER,
    _PROG,
    "pieces the optimiser cut the model into",
    scale=Scale.EXACT,
    margin=0.0,
)
GRAPH_BREAKS_COUNT = _declare(
    P,
    "programmability/graph_breaks_count",
    "count",
    LOWER,
    _PROG,
    "places where the graph left the engine",
    scale=Scale.EXACT,
    margin=0.0,
)
EXPORT_OK_COUNT = _declare(
    P,
    "programmability/export_ok_count",
    "count",
    HIGHER,
    _PROG,
    "1 if torch.export took the model without changes by the user",
    scale=Scale.EXACT,
    margin=0.0,
)
UNSUPPORTED_OP_KINDS_COUNT = _declare(
    P,
    "programmability/unsupported_op_kinds_count",
    "count",
    LOWER,
    _PROG,
    "distinct operators the backend does not take",
    scale=Scale.EXACT,
    margin=0.0,
)
PRECISIONS_TRIED_COUNT = _declare(
    P,
    "programmability/precisions_tried_count",
    "count",
    HIGHER,
    _PROG,
    "backend x precision candidates tried",
    scale=Scale.EXACT,
)
PRECISIONS_PASSED_COUNT = _declare(
    P,
    "programmability/precisions_passed_count",
    "count",
    HIGHER,
    _PROG,
    "candidates that built and passed parity",
    scale=Scale.EXACT,
)
BUILD_COLD_S = _declare(
    P,
    "programmability/build_cold_s",
    "s",
    LOWER,
    "programmability.build.v1",
    "exported graph to engine files, in its own process",
)
SPEEDUP_VS_EAGER_RATIO = _declare(
    P,
    "programmability/speedup_vs_eager_ratio",
    "ratio",
    HIGHER,
    "latency.singlestream.v1",
    "p50 of eager FP32 / p50 of the engine, in the same processes",
)

_LAT = "latency.singlestream.v1"
E2E_P50_MS = _declare(
    L,
    "latency/e2e_p50_ms",
    "ms",
    LOWER,
    _LAT,
    "host to host, batch 1, single stream: input readable to output readable; median",
    headline=True,
    margin=0.05,
)
E2E_P90_MS = _declare(L, "latency/e2e_p90_ms", "ms", LOWER, _LAT, "90th percentile, nearest rank", margin=0.10)
E2E_P95_MS = _declare(L, "latency/e2e_p95_ms", "ms", LOWER, _LAT, "95th percentile, nearest rank")
E2E_P99_MS = _declare(L, "latency/e2e_p99_ms", "ms", LOWER, _LAT, "99th percentile; never from fewer than 368 queries")
E2E_P99_ES_MS = _declare(
    L,
    "latency/e2e_p99_es_ms",
    "ms",
    LOWER,
    "latency.early_stopping.v1",
    "99 %-confident upper estimate of p99 (MLPerf LoadGen's early stopping); never below 662 queries",
)
E2E_MEAN_MS = _declare(L, "latency/e2e_mean_ms", "ms", LOWER, _LAT, "arithmetic mean")
E2E_MAX_MS = _declare(L, "latency/e2e_max_ms", "ms", LOWER, _LAT, "largest of the samples")
FIRST_INFERENCE_MS = _declare(L, "latency/first_inference_ms", "ms", LOWER, _LAT, "first answer after loading")
ENGINE_LOAD_S = _declare(L, "latency/engine_load_s", "s", LOWER, _LAT, "engine files to a loaded engine")
SAMPLES_COUNT = _declare(L, "latency/samples_count", "count", INFO, _LAT, "timed queries, warm-up not counted")
WINDOW_S = _declare(L, "latency/window_s", "s", INFO, _LAT, "timed seconds")
AUTOCORR1_RATIO = _declare(
    L, "latency/autocorr1_ratio", "ratio", INFO, _LAT, "lag-1 autocorrelation; above 0.2 the interval is optimistic"
)

_ACC = "accuracy.reloaded_engine.v1"
ENGINE_SCORE = _declare(
    A,
    "accuracy/engine_score",
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
    A,
    "accuracy/rolling_score",
    "score",
    DECLARED,
    _ACC,
    "task score of the reloaded engine on the newest labelled data, held out by time: this one gates",
    scale=Scale.DIFFERENCE,
    margin=0.005,
)
REFERENCE_SCORE = _declare(A, "accuracy/reference_score", "score", INFO, _ACC, "same weights, eager FP32, rolling set")
RETAINED_RATIO = _declare(
    A,
    "accuracy/retained_ratio",
    "ratio",
    HIGHER,
    _ACC,
    "engine / reference (inverted for scores where lower is better)",
)
LOST_SCORE = _declare(
    A,
    "accuracy/lost_score",
    "score",
    LOWER,
    _ACC,
    "reference - engine in the score's better direction; the gate where a score can be zero or negative",
)
AGREEMENT_RATIO = _declare(A, "accuracy/agreement_ratio", "ratio", HIGHER, _ACC, "same top-1 answer as the reference")
CHURN_VS_LAST_RATIO = _declare(
    A, "accuracy/churn_vs_last_ratio", "ratio", LOWER, _ACC, "top-1 answers that differ from the baseline engine's"
)
NEGATIVE_FLIPS_VS_LAST_RATIO = _declare(
    A, "accuracy/negative_flips_vs_last_ratio", "ratio", LOWER, _ACC, "right with the baseline engine, wrong now"
)
MCNEMAR_PVALUE = _declare(
    A, "accuracy/mcnemar_pvalue", "pvalue", INFO, "accuracy.mcnemar_midp.v1", "paired with the baseline, rolling set"
)
OUTPUT_COSINE_MIN_RATIO = _declare(
    A, "accuracy/output_cosine_min_ratio", "ratio", HIGHER, "accuracy.parity.v1", "smallest cosine over all outputs"
)
OUTPUT_ABS_ERR_MAX_SCORE = _declare(
    A,
    "accuracy/output_abs_err_max_score",
    "score",
    LOWER,
    "accuracy.parity.v1",
    "largest |engine - eager|, all outputs",
)
EVAL_SAMPLES_COUNT = _declare(A, "accuracy/eval_samples_count", "count", INFO, _ACC, "samples of the rolling set")
GOLDEN_SAMPLES_COUNT = _declare(A, "accuracy/golden_samples_count", "count", INFO, _ACC, "samples of the golden set")

_SIZE = "size.exported_graph.v1"
ENGINE_BYTES = _declare(
    S,
    "size/engine_bytes",
    "bytes",
    LOWER,
    "size.files.v1",
    "sum of the engine's own files, manifest excluded",
    headline=True,
    scale=Scale.EXACT,
    margin=0.01,
)
PARAMS_COUNT = _declare(
    S,
    "size/params_count",
    "count",
    LOWER,
    _SIZE,
    "parameters, tied ones once",
    scale=Scale.EXACT,
    margin=0.0,
)
PARAMS_TRAINABLE_COUNT = _declare(S, "size/params_trainable_count", "count", INFO, _SIZE, "parameters with gradients")
WEIGHTS_BYTES = _declare(S, "size/weights_bytes", "bytes", LOWER, "size.files.v1", "parameters and buffers as stored")
LAYERS_COUNT = _declare(S, "size/layers_count", "count", LOWER, _SIZE, "leaf modules that compute", scale=Scale.EXACT)
DEPTH_COUNT = _declare(
    S, "size/depth_count", "count", LOWER, _SIZE, "longest path through the exported graph", scale=Scale.EXACT
)
NODES_COUNT = _declare(
    S, "size/nodes_count", "count", LOWER, _SIZE, "output units of all layers, one sample", scale=Scale.EXACT
)
SAMPLE_MACS = _declare(
    S, "size/sample_macs", "macs", LOWER, _SIZE, "multiply-accumulates for one sample", scale=Scale.EXACT
)
FLOPS_UNCOUNTED_OPS_COUNT = _declare(
    S, "size/flops_uncounted_ops_count", "count", INFO, _SIZE, "operators for which no FLOP formula is known"
)
CONNECTIONS_EFFECTIVE_COUNT = _declare(
    S,
    "size/connections_effective_count",
    "count",
    LOWER,
    _SIZE,
    "non-zero weights of layers with weights",
    scale=Scale.EXACT,
)
COMPRESSION_RATIO = _declare(
    S, "size/compression_ratio", "ratio", HIGHER, "size.files.v1", "FP32 weight bytes / engine"
)
PEAK_HOST_BYTES = _declare(
    S, "size/peak_host_bytes", "bytes", LOWER, "size.maxrss.v1", "peak resident memory of the measuring process"
)

_THR = "throughput.static_batch.v1"
SLO_SAMPLES_PER_S = _declare(
    T,
    "throughput/slo_samples_per_s",
    "per_s",
    HIGHER,
    _THR,
    "largest sustained samples/s of a static batch whose p99 is certified within slo_ms (99 % confidence)",
    headline=True,
    margin=0.05,
)
SLO_LIMIT_MS = _declare(T, "throughput/slo_limit_ms", "ms", INFO, _THR, "the latency limit")
SLO_P99_AT_MAX_MS = _declare(T, "throughput/slo_p99_at_max_ms", "ms", INFO, _THR, "p99 reached at that rate")
SLO_BATCH_COUNT = _declare(T, "throughput/slo_batch_count", "count", INFO, _THR, "the batch that won")
OFFLINE_SAMPLES_PER_S = _declare(
    T, "throughput/offline_samples_per_s", "per_s", HIGHER, "throughput.offline.v1", "unbounded maximum over batches"
)
OFFLINE_BATCH_COUNT = _declare(
    T, "throughput/offline_batch_count", "count", INFO, "throughput.offline.v1", "the batch of the unbounded maximum"
)
SLO_COST_RATIO = _declare(T, "throughput/slo_cost_ratio", "ratio", HIGHER, _THR, "bounded / unbounded rate")
GOODPUT_RATIO = _declare(T, "throughput/goodput_ratio", "ratio", HIGHER, _THR, "queries inside the limit at that rate")
BATCH1_SAMPLES_PER_S = _declare(T, "throughput/batch1_samples_per_s", "per_s", HIGHER, _LAT, "single stream rate")

INFERENCES_PER_J = _declare(
    E,
    "energy/inferences_per_j",
    "per_j",
    HIGHER,
    "energy.counter.v1",
    "inferences / joules at the latency-bounded point, gross; the scope (gpu, cpu package) is in the reason",
    headline=True,
    margin=0.05,
)
GPU_ENERGY_PER_INFERENCE_J = _declare(
    E, "energy/gpu_energy_per_inference_j", "j", LOWER, "energy.nvml_counter.v1", "NVML counter, gross"
)
CPU_ENERGY_PER_INFERENCE_J = _declare(
    E, "energy/cpu_energy_per_inference_j", "j", LOWER, "energy.rapl.v1", "RAPL package domains, gross"
)
CPU_TIME_PER_INFERENCE_S = _declare(
    E,
    "energy/cpu_time_per_inference_s",
    "s",
    LOWER,
    "energy.cpu_time.v1",
    "user + system CPU seconds per sample at the latency-bounded point; measured everywhere",
    margin=0.05,
)
ENERGY_WINDOW_S = _declare(
    E, "energy/window_s", "s", INFO, "energy.counter.v1", "seconds under load between both edges"
)

_TL = "learning.timeline.v1"
TRAIN_TO_ENGINE_S = _declare(
    R,
    "learning/train_to_engine_s",
    "s",
    LOWER,
    _TL,
    "trigger to accepted engine, measuring excluded",
    headline=True,
    margin=0.10,
    from_history=True,
)
DATA_TO_DEPLOY_S = _declare(
    R,
    "learning/data_to_deploy_s",
    "s",
    LOWER,
    _TL,
    "arrival of the newest datum used to the promoted engine's first answer",
)
CYCLE_S = _declare(R, "learning/cycle_s", "s", LOWER, _TL, "the whole command; the phases sum to it")
TRAIN_WALL_S = _declare(R, "learning/train_wall_s", "s", LOWER, _TL, "all ranks up to end of fit")
TRAIN_SAMPLES_PER_S = _declare(
    R,
    "learning/train_samples_per_s",
    "per_s",
    HIGHER,
    "learning.samples.v1",
    "samples of all ranks, counted batch by batch / fit seconds",
)
NEW_SAMPLES_COUNT = _declare(
    R, "learning/new_samples_count", "count", INFO, _TL, "samples that no champion has learned"
)
EPOCHS_COUNT = _declare(R, "learning/epochs_count", "count", INFO, _TL, "epochs trained")
TIME_TO_TARGET_S = _declare(
    R, "learning/time_to_target_s", "s", LOWER, _TL, "first step of the fit to the target score"
)
RESTARTS_COUNT = _declare(R, "learning/restarts_count", "count", LOWER, _TL, "gang restarts after a rank died")
DDP_RANK_SKEW_RATIO = _declare(
    R, "learning/ddp_rank_skew_ratio", "ratio", LOWER, "learning.samples.v1", "slowest / fastest rank's time in steps"
)

CATALOGUE: dict[str, Metric] = dict(_declared)
HEADLINES: tuple[Metric, ...] = tuple(
    m for letter in Letter for m in CATALOGUE.values() if m.headline and m.letter == letter
)


def find_metric(key: str) -> Metric:
    """The declared metric of that key; `KeyError` names the key where there is none."""
    return CATALOGUE[key]
