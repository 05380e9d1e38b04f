"""What a measurement shows of the machine's noise, and what `calibrate` leaves for later verdicts."""

from typing import Any

import numpy as np
import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, E2E_P90_MS
from plaster_ops.errors import UsageError
from plaster_ops.flow.calibrate import calibrate
from plaster_ops.flow.comparison import compare_runs
from plaster_ops.flow.noise import noise_of, own_noise
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.noise_floors import NoiseFloor
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk
from tests.plaster.doubles import block, evidence

P50, P90 = E2E_P50_MS.key, E2E_P90_MS.key


def measured(jitter: float, *, turns: int = 60, seed: int = 3) -> Evidence:
    """Two equal engines whose turns are each slowed by chance: `jitter` is the standard deviation of the logs."""
    generator = np.random.default_rng(seed)
    blocks = [
        block(label, index, [round(1e6 * float(np.exp(generator.normal(0.0, jitter))))] * 10, process=process)
        for process in range(3)
        for label in ("now", "then")
        for index in range(turns)
    ]
    return evidence(blocks)


def test_a_quiet_measurement_stays_below_the_margin_and_a_loud_one_does_not() -> None:
    quiet, loud = (own_noise(measured(jitter), ("now", "then"), {}) for jitter in (0.02, 0.6))
    assert quiet[P50] < 0.05 < loud[P50]
    assert quiet[P90] < 0.10 < loud[P90]


def test_too_few_turns_tell_nothing() -> None:
    assert own_noise(measured(0.6, turns=18), ("now", "then"), {}) == {}


def test_the_larger_of_what_was_calibrated_and_what_is_seen_counts() -> None:
    seen = own_noise(measured(0.02), ("now", "then"), {})
    both = noise_of(measured(0.02), ("now", "then"), {}, {P50: 0.2, P90: 0.0})
    assert both[P50] == 0.2
    assert both[P90] == seen[P90]


# ---- calibrate -----------------------------------------------------------------------------------------------------
@pytest.fixture
def a_run(retrain: Retrain, walk: Walk) -> Walk:
    retrain()
    walk.calls.clear()
    return walk


def calibrated(settings: Settings, clock: SteppedClock, **asked: Any) -> Any:
    wanted: dict[str, Any] = {"run": "champion", "profile": "smoke", "comparisons": 2} | asked
    return calibrate(settings, None, tell=lambda _event: None, start_s=clock.monotonic_s(), **wanted)


def test_an_engine_is_measured_against_itself_and_the_floor_is_remembered(
    a_run: Walk, settings: Settings, clock: SteppedClock
) -> None:
    found = calibrated(settings, clock)
    assert a_run.calls == {"prepare": 1, "measure": 4}
    first, second = a_run.specs["measure"]["engines"]
    assert (first["label"], second["label"]) == ("a", "b")
    assert first["folder"] == second["folder"]
    floors = {floor.key: floor for floor in found.floors}
    assert floors[P50].comparisons == 2
    assert floors[P50].margin == 0.05
    with Journal.open(settings.memory) as journal:
        kept = journal.noise_floors("digits", found.fingerprint, "smoke")
        assert {key: floor.half_width for key, floor in kept.items()} == {
            key: floor.half_width for key, floor in floors.items()
        }
        assert journal.noise_floors("digits", found.fingerprint, "standard") == {}
    assert found.to_json()["floors"][0]["verdict"] == "quiet"


def test_the_floor_is_this_machines_and_not_that_of_the_machine_the_run_was_made_on(
    a_run: Walk, settings: Settings, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del a_run
    here = calibrated(settings, clock)
    monkeypatch.setattr("plaster_ops.plaster.machine.cpu_model", lambda *_: "another CPU")
    there = calibrated(settings, clock)
    assert there.device == "another CPU"
    assert there.fingerprint != here.fingerprint
    with Journal.open(settings.memory) as journal:
        record = journal.record(journal.last_finished("digits").uid)  # type: ignore[union-attr]
        assert record is not None
        assert record.fingerprint["digest"] == here.fingerprint
        assert journal.noise_floors("digits", there.fingerprint, "smoke")


def test_an_engine_with_another_thread_count_calibrates_nothing(
    a_run: Walk, settings: Settings, clock: SteppedClock
) -> None:
    del a_run
    pipeline = settings.pipelines["digits"]
    more = pipeline.model_copy(update={"engine": pipeline.engine.model_copy(update={"threads": 3})})
    other = settings.model_copy(update={"pipelines": {"digits": more}})
    with pytest.raises(UsageError, match="has 1 threads, the settings say 3") as caught:
        calibrated(other, clock)
    assert "engine.threads = 1" in caught.value.next_step


def test_later_verdicts_know_the_floor(retrain: Retrain, walk: Walk, settings: Settings, clock: SteppedClock) -> None:
    retrain()
    walk.arrived, walk.slower = 14, 0.3
    retrain()
    with Journal.open(settings.memory) as journal:
        record = journal.record(journal.last_finished("digits").uid)  # type: ignore[union-attr]
        assert record is not None
        digest = record.fingerprint["digest"]
        journal.remember_noise("digits", digest, "smoke", [NoiseFloor(key=P50, half_width=0.4, comparisons=3)])
    told = compare_runs(
        settings, None, ("2", "1"), profile="smoke", stored=False, tell=lambda _: None, start_s=clock.monotonic_s()
    )
    row = next(row for row in told["comparison"] if row["key"] == P50)
    assert row["verdict"] == "inconclusive"
    assert row["reason"] == "too_noisy: two copies of one engine differ by up to 40.0% here, more than the margin 5.0%"
    assert row["change_ratio"] == pytest.approx(0.3, abs=0.01)


def test_a_pipeline_without_an_engine_says_how_to_get_one(settings: Settings, clock: SteppedClock, walk: Walk) -> None:
    del walk
    with pytest.raises(UsageError, match="no champion run to calibrate with") as caught:
        calibrated(settings, clock)
    assert "plaster-ops retrain digits" in caught.value.next_step
