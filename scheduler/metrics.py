"""/metrics: the snapshot and the ledger's counts in Prometheus' own format, by its client library."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from plaster_ops import __version__
from scheduler.status import PipelineStatus, Snapshot

Counts = dict[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gauge:
    """One number a pipeline; None where there is nothing to tell, and then no sample."""

    name: str
    meaning: str
    value: Callable[[PipelineStatus], float | None]


_OF_A_PIPELINE = (
    _Gauge(name="plaster_slots_waiting", meaning="Slots that wait.", value=lambda p: len(p.waiting)),
    _Gauge(name="plaster_running", meaning="1 while a retrain runs.", value=lambda p: float(p.running is not None)),
    _Gauge(name="plaster_late", meaning="1 while a slot is late to start.", value=lambda p: float("late" in p.words)),
    _Gauge(
        name="plaster_failing",
        meaning="1 while the last slot that was tried failed, timed out or was missed.",
        value=lambda p: float("failing" in p.words or "missed" in p.words),
    ),
    _Gauge(name="plaster_paused", meaning="1 while it is paused.", value=lambda p: float(p.pause is not None)),
    _Gauge(
        name="plaster_next_slot_timestamp_seconds",
        meaning="When the next slot is due.",
        value=lambda p: None if p.next is None else p.next.due_s,
    ),
    _Gauge(
        name="plaster_running_since_timestamp_seconds",
        meaning="When the retrain that runs was started.",
        value=lambda p: None if p.running is None else p.running.started_s,
    ),
    _Gauge(
        name="plaster_last_start_lateness_seconds",
        meaning="How long after it was due the newest started slot was started.",
        value=lambda p: next((s.started_s - s.due_s for s in reversed(p.strip) if s.started_s is not None), None),
    ),
    _Gauge(
        name="plaster_last_duration_seconds",
        meaning="How long the newest slot that ended took, from its first start.",
        value=lambda p: next(
            (s.ended_s - s.started_s for s in reversed(p.strip) if s.started_s is not None and s.ended_s is not None),
            None,
        ),
    ),
    _Gauge(
        name="plaster_last_ran_timestamp_seconds",
        meaning="When the last slot that was tried ended, where it ran; absent where it did not.",
        value=lambda p: p.tried.ended_s if p.tried is not None and p.tried.state == "ran" else None,
    ),
)


class StatusCollector:
    """Asks for a snapshot and for counts each time it is collected."""

    def __init__(self, look: Callable[[], Snapshot], count: Callable[[], Counts]) -> None:
        self._look, self._count = look, count

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not ask."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        told = self._look()
        yield InfoMetricFamily("plaster_build", "What serves this.", value={"version": __version__})
        yield GaugeMetricFamily("plaster_devices", "Retrains that may run at once.", value=told.devices)
        yield GaugeMetricFamily("plaster_devices_busy", "Retrains that run.", value=told.busy)
        yield GaugeMetricFamily("plaster_service_up", "1 while a service is heard of.", value=told.service.is_alive)
        slots = CounterMetricFamily("plaster_slots", "Slots that ended, by how.", labels=("pipeline", "state"))
        for labels, count in sorted(self._count().items()):
            slots.add_metric(labels, count)
        yield slots
        for gauge in _OF_A_PIPELINE:
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=("pipeline",))
            for pipeline in told.pipelines:
                value = gauge.value(pipeline)
                if value is not None:
                    family.add_metric((pipeline.name,), value)
            yield family


def registry_of(look: Callable[[], Snapshot], count: Callable[[], Counts]) -> CollectorRegistry:
    """A registry of its own, so that nothing else of the process is told."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(look, count))
    return registry


def metrics_text(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The answer and its content type, in the format that the `Accept` header asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
