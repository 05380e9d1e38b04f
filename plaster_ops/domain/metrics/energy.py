"""E: joules from hardware counters, and CPU time."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import HIGHER, INFO, LOWER, axis

_declare = axis(Letter.ENERGY, "energy")

INFERENCES_PER_J = _declare(
    "inferences_per_j",
    "per_j",
    HIGHER,
    "energy.counter.v1",
    "inferences / joules at the latency-bounded point, gross; the scope (gpu, cpu package) is in the reason",
    headline=True,
    margin=0.05,
)
GPU_ENERGY_PER_INFERENCE_J = _declare(
    "gpu_energy_per_inference_j", "j", LOWER, "energy.nvml_counter.v1", "NVML counter, gross"
)
CPU_ENERGY_PER_INFERENCE_J = _declare(
    "cpu_energy_per_inference_j", "j", LOWER, "energy.rapl.v1", "RAPL package domains, gross"
)
CPU_TIME_PER_INFERENCE_S = _declare(
    "cpu_time_per_inference_s",
    "s",
    LOWER,
    "energy.cpu_time.v1",
    "user + system CPU seconds per sample at the latency-bounded point; measured everywhere",
    margin=0.05,
)
ENERGY_WINDOW_S = _declare("window_s", "s", INFO, "energy.counter.v1", "seconds under load between both edges")
