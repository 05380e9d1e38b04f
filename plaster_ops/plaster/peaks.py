"""What a GPU can do at most, by name and by what a fit computes in; dense products, from the makers' data sheets.

A device that is not named here has no peak: a share of a guessed peak would be a guess. CPUs are not named, because
theirs follows from clocks and instructions that nobody states; fp32 is not, because torch runs a part of it as TF32.
"""

_HOPPER = {"bf16": 989.4e12, "fp16": 989.4e12}
_AMPERE = {"bf16": 312e12, "fp16": 312e12}
_PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H100 80GB HBM3": _HOPPER,
    "NVIDIA H200": _HOPPER,
    "NVIDIA A100-SXM4-80GB": _AMPERE,
    "NVIDIA A100-SXM4-40GB": _AMPERE,
}
_PRECISIONS = {"bf16": "bf16", "16": "fp16"}
BACKWARD_AND_FORWARD = 3
"""A training step counts three times the forward's FLOPs: the backward pass has two products for each of its own."""


def peak_flops_per_s(device: str, precision: str) -> float | None:
    """FLOPs a second of one device, `precision` as in Lightning's Trainer (`bf16-mixed`, `32-true`, ...)."""
    return _PEAKS.get(device, {}).get(_PRECISIONS.get(precision.partition("-")[0], ""))


def mfu_ratio(*, forward_flops: float, samples_per_s: float, devices: int, peak_per_s: float) -> float:
    """Share of the peak that the model's own FLOPs take; 0..1. `samples_per_s` of all devices together."""
    return BACKWARD_AND_FORWARD * forward_flops * samples_per_s / (devices * peak_per_s)
