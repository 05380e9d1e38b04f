"""What a GPU's counter and sensor say beside the headline: power at work and at rest, net energy, the cross-check."""

from collections.abc import Callable, Sequence

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.sensing import Sensed

AGREES = (0.9, 1.1)
"""Integral of the power sensor / counter: outside of this one of them is wrong."""
METRICS = (
    m.GPU_POWER_MEAN_W,
    m.GPU_POWER_IDLE_W,
    m.GPU_NET_ENERGY_PER_INFERENCE_J,
    m.POWER_INTEGRAL_RATIO,
    m.GPU_TEMP_START_C,
    m.GPU_TEMP_END_C,
    m.SM_CLOCK_MEAN_MHZ,
    m.THROTTLED_RATIO,
)
_UNTOLD = "the board does not tell"


def read(evidence: Evidence, metered: Sequence[MeasuredBlock], status: Status, note: str) -> list[Row]:
    """A row for each of `METRICS`; `metered` are the blocks of the latency-bounded point that have joules."""
    if evidence.results[0]["energy"]["source"] != "nvml":
        return [Unmeasured(metric=metric, reason="the engine ran on the CPU") for metric in METRICS]
    windows = [block.energy for block in metered if block.energy]
    joules, seconds = sum(w.joules for w in windows), sum(w.window_s for w in windows)
    idle_w = _idle_w(evidence)
    lost = (str(result["energy"].get("sensor_lost", "")) for result in evidence.results)
    untold = next(filter(None, lost), _UNTOLD)
    return [
        Reading(metric=m.GPU_POWER_MEAN_W, value=joules / seconds, n=len(windows), status=status, reason=note),
        _given(m.GPU_POWER_IDLE_W, idle_w, "the counter did not move twice while nothing was asked of the GPU"),
        _net_row(windows, idle_w, status, note),
        _ratio_row(metered, windows, untold),
        _given(m.GPU_TEMP_START_C, windows[0].sensed.temp_start_c, untold),
        _given(m.GPU_TEMP_END_C, windows[-1].sensed.temp_end_c, untold),
        _given(m.SM_CLOCK_MEAN_MHZ, _mean(windows, lambda sensed: sensed.clock_mhz), untold),
        _given(m.THROTTLED_RATIO, _mean(windows, lambda sensed: sensed.slowed_ratio), untold),
    ]


def integral_ratio(blocks: Sequence[MeasuredBlock]) -> float | None:
    """Integral of power / joules counted, over the windows that have both; None without any."""
    both = [(b.energy.sensed.power_j, b.energy.joules) for b in blocks if b.energy and b.energy.joules > 0]
    known = [(power_j, joules) for power_j, joules in both if power_j is not None]
    return sum(power_j for power_j, _ in known) / sum(joules for _, joules in known) if known else None


def agrees(ratio: float) -> bool:
    """True where sensor and counter tell the same, within a tenth."""
    return AGREES[0] <= ratio <= AGREES[1]


def why_suspect(ratio: float) -> str:
    """The sentence of a suspect row."""
    low, high = AGREES
    return f"the power sensor's integral is {ratio:.2f} of the counter, outside {low:g} to {high:g}"


def _ratio_row(metered: Sequence[MeasuredBlock], windows: Sequence[EnergyWindow], untold: str) -> Row:
    ratio = integral_ratio(metered)
    if ratio is None:
        reason = untold if untold != _UNTOLD else f"{_UNTOLD} its power, or the windows were too short"
        return Unmeasured(metric=m.POWER_INTEGRAL_RATIO, reason=reason)
    instant = all(window.sensed.is_instant for window in windows)
    status = Status.MEASURED if agrees(ratio) else Status.SUSPECT
    parts = [] if instant else ["from power that the driver averages over a second"]
    parts += [] if agrees(ratio) else [why_suspect(ratio)]
    return Reading(
        metric=m.POWER_INTEGRAL_RATIO, value=ratio, n=len(windows), status=status, reason="; ".join(parts) or None
    )


def _net_row(windows: Sequence[EnergyWindow], idle_w: float | None, status: Status, note: str) -> Row:
    metric = m.GPU_NET_ENERGY_PER_INFERENCE_J
    if idle_w is None:
        return Unmeasured(metric=metric, reason="the power at rest is not known")
    net_j = sum(window.joules - idle_w * window.window_s for window in windows)
    n = round(sum(window.inferences for window in windows))
    if net_j <= 0:
        return Unmeasured(metric=metric, reason="no more was drawn at work than at rest")
    return Reading(metric=metric, value=net_j / n, n=n, status=status, reason=note)


def _idle_w(evidence: Evidence) -> float | None:
    idle = [result["energy"].get("idle") for result in evidence.results]
    known = [window for window in idle if window and window["window_s"] > 0]
    if not known:
        return None
    return float(sum(window["joules"] for window in known) / sum(window["window_s"] for window in known))


def _mean(windows: Sequence[EnergyWindow], of: Callable[[Sensed], float | None]) -> float | None:
    """Mean over the windows, each by its seconds."""
    known = [(value, window.window_s) for window in windows if (value := of(window.sensed)) is not None]
    seconds = sum(window_s for _, window_s in known)
    return sum(value * window_s for value, window_s in known) / seconds if seconds > 0 else None


def _given(metric: Metric, value: float | None, reason: str) -> Row:
    return Unmeasured(metric=metric, reason=reason) if value is None else Reading(metric=metric, value=value)
