"""L: how long one query takes, host to host."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import INFO, LOWER, axis

_declare = axis(Letter.LATENCY, "latency")

_LAT = "latency.singlestream.v2"
E2E_P50_MS = _declare(
    "e2e_p50_ms",
    "ms",
    LOWER,
    _LAT,
    "host to host, batch 1, single stream: input readable to output readable; median",
    headline=True,
    margin=0.05,
)
E2E_P90_MS = _declare("e2e_p90_ms", "ms", LOWER, _LAT, "90th percentile, nearest rank", margin=0.10)
E2E_P95_MS = _declare("e2e_p95_ms", "ms", LOWER, _LAT, "95th percentile, nearest rank")
E2E_P99_MS = _declare("e2e_p99_ms", "ms", LOWER, _LAT, "99th percentile; never from fewer than 368 queries")
E2E_P999_MS = _declare("e2e_p999_ms", "ms", LOWER, _LAT, "99.9th percentile; profile full, from 3,688 queries")
E2E_P99_ES_MS = _declare(
    "e2e_p99_es_ms",
    "ms",
    LOWER,
    "latency.early_stopping.v1",
    "99 %-confident upper estimate of p99 (MLPerf LoadGen's early stopping); never below 662 queries",
)
E2E_MEAN_MS = _declare("e2e_mean_ms", "ms", LOWER, _LAT, "arithmetic mean")
E2E_MAX_MS = _declare("e2e_max_ms", "ms", LOWER, _LAT, "largest of the samples")
_PARTS = "latency.cuda_events.v1"
GPU_COMPUTE_P50_MS = _declare("gpu_compute_p50_ms", "ms", LOWER, _PARTS, "the forward on the GPU, no copies; median")
GPU_COMPUTE_P99_MS = _declare("gpu_compute_p99_ms", "ms", LOWER, _PARTS, "the forward on the GPU; 99th percentile")
GPU_COMPUTE_CV_RATIO = _declare(
    "gpu_compute_cv_ratio", "ratio", LOWER, _PARTS, "standard deviation / mean of the forward's time on the GPU"
)
H2D_P50_MS = _declare("h2d_p50_ms", "ms", LOWER, _PARTS, "inputs copied to the GPU; median")
D2H_P50_MS = _declare("d2h_p50_ms", "ms", LOWER, _PARTS, "outputs copied to the host; median")
ENQUEUE_P50_MS = _declare("enqueue_p50_ms", "ms", LOWER, _PARTS, "host time until all of a call is enqueued; median")
FIRST_INFERENCE_MS = _declare("first_inference_ms", "ms", LOWER, _LAT, "first answer after loading")
ENGINE_LOAD_S = _declare("engine_load_s", "s", LOWER, _LAT, "engine files to a loaded engine")
SAMPLES_COUNT = _declare("samples_count", "count", INFO, _LAT, "timed queries, warm-up not counted")
WINDOW_S = _declare("window_s", "s", INFO, _LAT, "timed seconds")
AUTOCORR1_RATIO = _declare(
    "autocorr1_ratio",
    "ratio",
    INFO,
    "latency.autocorrelation.v2",
    "lag-1 autocorrelation; above 0.2 the interval is optimistic",
)
