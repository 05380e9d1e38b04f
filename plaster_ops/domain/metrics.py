"""The catalogue: every metric that is logged, declared once.

A key means the same in every run: batch, precision and backend are params, never part of a key. Unit and scope stand
in the name. Ratios are 0..1, energy is joules, size is bytes. No room writes a key as text: it uses these constants.
"""

from collections.abc import Callable
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


def _axis(letter: Letter, axis: str) -> Callable[..., Metric]:
    """`_declare` for the metrics of one axis, whose keys begin with it."""

    def declare(name: str, unit: str, better: Better, method: str, meaning: str, **judged: Any) -> Metric:
        return _declare(letter, f"{axis}/{name}", unit, better, method, meaning, **judged)

    return declare


_PROG, _LADDER = "programmability.export_coverage.v1", "programmability.ladder.v1"
_BUILD, _USER = "programmability.build.v1", "programmability.user_code.v1"
_p = _axis(P, "programmability")
ENGINE_FLOPS_RATIO = _p(
    "engine_flops_ratio",
    "ratio",
    HIGHER,
    _PROG,
    "FLOPs executed inside optimised engines / all counted FLOPs",
    headline=True,
    scale=Scale.EXACT,
    margin=0.0,
)
_counted: dict[str, Any] = {"scale": Scale.EXACT}
_judged: dict[str, Any] = {"scale": Scale.EXACT, "margin": 0.0}
ENGINE_OPS_RATIO = _p(
    "engine_ops_ratio", "ratio", HIGHER, _PROG, "operators inside engines / operators of the exported graph", **_judged
)
SUPPORTED_OPS_RATIO = _p(
    "supported_ops_ratio", "ratio", HIGHER, _PROG, "operators the backend knows, taken or not / all", **_counted
)
ENGINE_TIME_RATIO = _p(
    "engine_time_ratio", "ratio", HIGHER, "programmability.profile.v1", "time inside engines / time of a forward"
)
ENGINES_COUNT = _p("engines_count", "count", LOWER, _PROG, "pieces the optimiser cut the model into", **_judged)
FALLBACK_SEGMENTS_COUNT = _p(
    "fallback_segments_count",
    "count",
    LOWER,
    _PROG,
    "runs of operators that stay outside, between the pieces",
    **_judged,
)
BOUNDARY_BYTES = _p(
    "boundary_bytes", "bytes", LOWER, _PROG, "what crosses between engines and outside for one sample", **_counted
)
GRAPH_BREAKS_COUNT = _p(
    "graph_breaks_count", "count", LOWER, _PROG, "places where the export left the graph", **_judged
)
EXPORT_OK_COUNT = _p(
    "export_ok_count", "count", HIGHER, _PROG, "1 if torch.export took the model without changes by the user", **_judged
)
UNSUPPORTED_OP_KINDS_COUNT = _p(
    "unsupported_op_kinds_count", "count", LOWER, _PROG, "distinct operators the backend does not take", **_judged
)
PRECISION_FLOPS_RATIO = _p(
    "precision_flops_ratio", "ratio", HIGHER, _PROG, "products that run in the engine's precision / all", **_counted
)
USER_CODE_LINES = _p(
    "user_code_lines", "lines", LOWER, _USER, "lines of engine.adapters that are code, and options set", **_counted
)
CUSTOM_CONVERTERS_COUNT = _p("custom_converters_count", "count", LOWER, _USER, "converters the user wrote", **_counted)
PLUGINS_COUNT = _p("plugins_count", "count", LOWER, _USER, "operators the user registered with torch", **_counted)
TORCH_EXECUTED_OPS_COUNT = _p(
    "torch_executed_ops_count", "count", LOWER, _USER, "operators the user kept out of the engine", **_counted
)
PRECISIONS_TRIED_COUNT = _p(
    "precisions_tried_count", "count", HIGHER, _LADDER, "backend x precision candidates of the last ladder", **_counted
)
PRECISIONS_BUILT_COUNT = _p("precisions_built_count", "count", HIGHER, _LADDER, "those of them that built", **_counted)
PRECISIONS_PASSED_COUNT = _p(
    "precisions_passed_count", "count", HIGHER, _LADDER, "those that passed parity and kept the score", **_counted
)
BACKENDS_PASSED_COUNT = _p(
    "backends_passed_count", "count", HIGHER, _LADDER, "backends with at least one of those", **_counted
)
BUILD_COLD_S = _p("build_cold_s", "s", LOWER, _BUILD, "exported graph to engine files, in its own process")
BUILD_CACHED_S = _p("build_cached_s", "s", LOWER, _BUILD, "the same where a cache of the backend's held a part of it")
REFIT_S = _p("refit_s", "s", LOWER, "programmability.refit.v1", "the call that puts new weights into the engine")
SPEEDUP_VS_EAGER_RATIO = _p(
    "speedup_vs_eager_ratio",
    "ratio",
    HIGHER,
    "latency.singlestream.v1",
    "p50 of eager FP32 / p50 of the engine, in the same processes",
)
HUMAN_INTERVENTIONS_COUNT = _p(
    "human_interventions_count", "count", LOWER, _USER, "times the run was resumed by hand before it ended", **_counted
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

_SIZE, _FILES = "size.exported_graph.v1", "size.files.v1"
_s = _axis(S, "size")
ENGINE_BYTES = _s(
    "engine_bytes",
    "bytes",
    LOWER,
    _FILES,
    "sum of the engine's own files, manifest excluded",
    headline=True,
    scale=Scale.EXACT,
    margin=0.01,
)
PACKAGE_BYTES = _s("package_bytes", "bytes", LOWER, _FILES, "the whole engine folder, manifest included", **_counted)
PARAMS_COUNT = _s("params_count", "count", LOWER, _SIZE, "parameters, tied ones once", **_judged)
PARAMS_TRAINABLE_COUNT = _s("params_trainable_count", "count", INFO, _SIZE, "parameters with gradients")
WEIGHTS_BYTES = _s("weights_bytes", "bytes", LOWER, _FILES, "parameters and buffers as stored")
LAYERS_COUNT = _s("layers_count", "count", LOWER, _SIZE, "leaf modules that compute", **_counted)
ENGINE_LAYERS_COUNT = _s(
    "engine_layers_count",
    "count",
    LOWER,
    "size.engine_layers.v1",
    "layers of the built engine, after fusion",
    **_counted,
)
DEPTH_COUNT = _s("depth_count", "count", LOWER, _SIZE, "longest path through the exported graph", **_counted)
NODES_COUNT = _s("nodes_count", "count", LOWER, _SIZE, "output units of all layers, one sample", **_counted)
SAMPLE_MACS = _s("sample_macs", "macs", LOWER, _SIZE, "multiply-accumulates for one sample", **_counted)
FLOPS_UNCOUNTED_OPS_COUNT = _s(
    "flops_uncounted_ops_count", "count", INFO, _SIZE, "operators for which no FLOP formula is known"
)
CONNECTIONS_EFFECTIVE_COUNT = _s(
    "connections_effective_count", "count", LOWER, _SIZE, "non-zero weights of layers with weights", **_counted
)
COMPRESSION_RATIO = _s("compression_ratio", "ratio", HIGHER, _FILES, "FP32 weight bytes / engine")
ENGINE_MEMORY_BYTES = _s(
    "engine_memory_bytes",
    "bytes",
    LOWER,
    "size.anonymous.v1",
    "memory that loading and a first answer took, libraries not",
)
PEAK_HOST_BYTES = _s(
    "peak_host_bytes", "bytes", LOWER, "size.maxrss.v1", "peak resident memory of the measuring process"
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
_r = _axis(R, "learning")
_REFIT = "learning.refit.v1"
OPTIMIZE_S = _r("optimize_s", "s", LOWER, _TL, "export, builds, refit, parity and trials: trained weights to engine")
REFIT_USED_COUNT = _r("refit_used_count", "count", INFO, _REFIT, "1 if the engine was refitted, 0 if built or reused")
REFITS_SINCE_BUILD_COUNT = _r("refits_since_build_count", "count", INFO, _REFIT, "refits since the last full build")
REFIT_SAVED_S = _r("refit_saved_s", "s", HIGHER, _REFIT, "stage of the last full build - stage of this refit or reuse")
REFIT_PENALTY_RATIO = _r(
    "refit_penalty_ratio",
    "ratio",
    LOWER,
    _REFIT,
    "p50 of the refitted engine / p50 of a full build of it, side by side",
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
