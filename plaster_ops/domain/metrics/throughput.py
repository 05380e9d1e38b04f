"""T: samples per second, inside the latency limit and without one."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import HIGHER, INFO, axis

_declare = axis(Letter.THROUGHPUT, "throughput")

_THR = "throughput.static_batch.v2"
SLO_SAMPLES_PER_S = _declare(
    "slo_samples_per_s",
    "per_s",
    HIGHER,
    _THR,
    "largest sustained samples/s of a static batch whose p99 is certified within slo_ms (99 % confidence)",
    headline=True,
    margin=0.05,
)
SLO_LIMIT_MS = _declare("slo_limit_ms", "ms", INFO, _THR, "the latency limit")
SLO_P99_AT_MAX_MS = _declare("slo_p99_at_max_ms", "ms", INFO, _THR, "p99 reached at that rate")
SLO_BATCH_COUNT = _declare("slo_batch_count", "count", INFO, _THR, "the batch that won")
CLIENT_CPU_RATIO = _declare(
    "client_cpu_ratio", "ratio", INFO, _THR, "share of that time the client spent outside the engine's calls"
)
_OFFLINE = "throughput.offline.v2"
OFFLINE_SAMPLES_PER_S = _declare("offline_samples_per_s", "per_s", HIGHER, _OFFLINE, "unbounded maximum over batches")
OFFLINE_BATCH_COUNT = _declare("offline_batch_count", "count", INFO, _OFFLINE, "the batch of the unbounded maximum")
SLO_COST_RATIO = _declare("slo_cost_ratio", "ratio", HIGHER, _OFFLINE, "bounded / unbounded rate")
GOODPUT_RATIO = _declare("goodput_ratio", "ratio", HIGHER, _THR, "queries inside the limit at that rate")
BATCH1_SAMPLES_PER_S = _declare(
    "batch1_samples_per_s", "per_s", HIGHER, "latency.singlestream.v2", "single stream rate"
)

_POISSON = "throughput.poisson.v1"
POISSON_SAMPLES_PER_S = _declare(
    "poisson_samples_per_s",
    "per_s",
    HIGHER,
    _POISSON,
    "largest rate of Poisson arrivals whose p99, counted from the scheduled arrival, is certified within slo_ms",
)
POISSON_P99_MS = _declare("poisson_p99_ms", "ms", INFO, _POISSON, "p99 reached at that rate")
POISSON_GOODPUT_RATIO = _declare(
    "poisson_goodput_ratio", "ratio", HIGHER, _POISSON, "queries inside the limit at that rate"
)
POISSON_BATCH_MEAN_COUNT = _declare(
    "poisson_batch_mean_count", "count", INFO, _POISSON, "samples in a batch at that rate, in the mean"
)
POISSON_BUSY_RATIO = _declare("poisson_busy_ratio", "ratio", INFO, _POISSON, "share of the time spent on answers")
