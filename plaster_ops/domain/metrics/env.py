"""The machine's own noise, beside the letters that it blurs."""

from plaster_ops.domain.metric import Letter
from plaster_ops.domain.metrics.declare import LOWER, axis

_latency, _energy = axis(Letter.LATENCY, "env"), axis(Letter.ENERGY, "env")
_AA = "env.aa.v1"

AA_LATENCY_RATIO = _latency(
    "aa_latency_ratio", "ratio", LOWER, _AA, "two copies of one engine differ by up to that in p50, 95 %"
)
AA_ENERGY_RATIO = _energy(
    "aa_energy_ratio", "ratio", LOWER, _AA, "the same in inferences per joule, or CPU time where no counter is"
)
BUILD_NOISE_P50_RATIO = _latency(
    "build_noise_p50_ratio", "ratio", LOWER, "env.build_noise.v1", "p50 of two builds of one model, side by side"
)

MACHINE = (AA_LATENCY_RATIO, AA_ENERGY_RATIO, BUILD_NOISE_P50_RATIO)
"""What is said of the machine, whichever letter it belongs to."""
