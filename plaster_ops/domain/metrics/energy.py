"""E: joules from hardware counters, CPU time, and guesses that are asked for by name."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import HIGHER, INFO, LOWER, axis

_declare = axis(Letter.ENERGY, "energy")
_COUNTER, _NVML, _RAPL = "energy.counter.v1", "energy.nvml_counter.v1", "energy.rapl.v1"

INFERENCES_PER_J = _declare(
    "inferences_per_j",
    "per_j",
    HIGHER,
    _COUNTER,
    "inferences / joules at the latency-bounded point, gross; the scope (gpu, cpu package) is in the reason",
    headline=True,
    margin=0.05,
)
GPU_ENERGY_PER_INFERENCE_J = _declare("gpu_energy_per_inference_j", "j", LOWER, _NVML, "NVML counter, gross")
CPU_ENERGY_PER_INFERENCE_J = _declare("cpu_energy_per_inference_j", "j", LOWER, _RAPL, "RAPL package domains, gross")
DRAM_ENERGY_PER_INFERENCE_J = _declare(
    "dram_energy_per_inference_j", "j", LOWER, _RAPL, "RAPL dram domains, gross; in no other key"
)
OFFLINE_INFERENCES_PER_J = _declare(
    "offline_inferences_per_j", "per_j", HIGHER, _COUNTER, "the same at the batch of the unbounded maximum"
)
SINGLESTREAM_ENERGY_PER_INFERENCE_J = _declare(
    "singlestream_energy_per_inference_j", "j", LOWER, _COUNTER, "joules of one query of batch 1, one at a time, gross"
)
GPU_POWER_MEAN_W = _declare("gpu_power_mean_w", "w", INFO, _NVML, "counter / time at the latency-bounded point")
GPU_POWER_IDLE_W = _declare(
    "gpu_power_idle_w", "w", INFO, _NVML, "counter / time with the engines loaded and nothing to do, before warm-up"
)
GPU_NET_ENERGY_PER_INFERENCE_J = _declare(
    "gpu_net_energy_per_inference_j", "j", LOWER, _NVML, "(joules - idle power x time) / inferences; never the headline"
)
CPU_TIME_PER_INFERENCE_S = _declare(
    "cpu_time_per_inference_s",
    "s",
    LOWER,
    "energy.cpu_time.v2",
    "user + system CPU seconds per sample at the latency-bounded point; measured everywhere",
    margin=0.05,
)
ENERGY_WINDOW_S = _declare("window_s", "s", INFO, _COUNTER, "seconds under load between both edges")
COUNTER_UPDATES_COUNT = _declare("counter_updates_count", "count", INFO, _COUNTER, "steps of the counter in them")
_SENSOR = "energy.nvml_sensor.v1"
POWER_INTEGRAL_RATIO = _declare(
    "power_integral_ratio", "ratio", INFO, _SENSOR, "integral of the power sensor / counter over the same windows"
)
GPU_TEMP_START_C = _declare("gpu_temp_start_c", "c", INFO, _SENSOR, "GPU temperature as the first window began")
GPU_TEMP_END_C = _declare("gpu_temp_end_c", "c", INFO, _SENSOR, "GPU temperature as the last window ended")
SM_CLOCK_MEAN_MHZ = _declare("sm_clock_mean_mhz", "mhz", INFO, _SENSOR, "mean SM clock in the windows")
THROTTLED_RATIO = _declare(
    "throttled_ratio", "ratio", INFO, _SENSOR, "samples whose clocks were held down by heat, power limit or a brake"
)
_PHASE_GPU, _PHASE_CPU = "energy.phase_nvml.v1", "energy.phase_rapl.v1"
TRAIN_GPU_ENERGY_J = _declare(
    "train_gpu_energy_j", "j", LOWER, _PHASE_GPU, "launch and fit: its GPUs, each once, gross"
)
BUILD_GPU_ENERGY_J = _declare("build_gpu_energy_j", "j", LOWER, _PHASE_GPU, "export, builds and race, the same GPUs")
EVAL_GPU_ENERGY_J = _declare("eval_gpu_energy_j", "j", LOWER, _PHASE_GPU, "parity, trials and scoring, the same GPUs")
RETRAIN_GPU_ENERGY_J = _declare("retrain_gpu_energy_j", "j", LOWER, _PHASE_GPU, "the sum of these three")
TRAIN_CPU_ENERGY_J = _declare("train_cpu_energy_j", "j", LOWER, _PHASE_CPU, "launch and fit: all CPU packages, gross")
BUILD_CPU_ENERGY_J = _declare("build_cpu_energy_j", "j", LOWER, _PHASE_CPU, "export, builds and race: all packages")
EVAL_CPU_ENERGY_J = _declare("eval_cpu_energy_j", "j", LOWER, _PHASE_CPU, "parity, trials and scoring: all packages")
RETRAIN_CPU_ENERGY_J = _declare("retrain_cpu_energy_j", "j", LOWER, _PHASE_CPU, "the sum of these three")
TRAIN_ENERGY_PER_SAMPLE_J = _declare(
    "train_energy_per_sample_j",
    "j",
    LOWER,
    "energy.phase.v1",
    "energy of launch and fit (GPUs; CPU packages where it trained on the CPU) / samples of all ranks and epochs",
)
ENERGY_TO_TARGET_J = _declare(
    "energy_to_target_j",
    "j",
    LOWER,
    "energy.phase.v1",
    "energy of a launch and fit that ended at the target score",
)
_BAND = "energy.tdp_band.v1"
EST_CPU_LO_W = _declare("est_cpu_lo_w", "w", INFO, _BAND, "a guess: the share of the TDP of these CPUs at rest")
EST_CPU_HI_W = _declare("est_cpu_hi_w", "w", INFO, _BAND, "a guess: TDP x CPUs of this process / hardware threads")
EST_INFERENCES_PER_J = _declare(
    "est_inferences_per_j", "per_j", INFO, _BAND, "a guess: rate at the latency-bounded point / that power, a band"
)
PHASE_ENERGY = (
    TRAIN_GPU_ENERGY_J,
    BUILD_GPU_ENERGY_J,
    EVAL_GPU_ENERGY_J,
    RETRAIN_GPU_ENERGY_J,
    TRAIN_CPU_ENERGY_J,
    BUILD_CPU_ENERGY_J,
    EVAL_CPU_ENERGY_J,
    RETRAIN_CPU_ENERGY_J,
    TRAIN_ENERGY_PER_SAMPLE_J,
    ENERGY_TO_TARGET_J,
)
"""What one retrain spent; an earlier run's values stay as they are when its engine is measured again."""
ESTIMATED_ENERGY = (EST_CPU_LO_W, EST_CPU_HI_W, EST_INFERENCES_PER_J)
