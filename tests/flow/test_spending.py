"""The ledger of a run: in the journal at both edges of a stage, and added up over attempts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Row, Unmeasured
from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import BuildFailed, Interrupted
from plaster_ops.flow import spending
from plaster_ops.flow.spending import STAGE, Ledger, open_ledger
from plaster_ops.plaster.phase_energy import Gauges, read
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock
from tests.flow.test_comparison import compare
from tests.flow.test_context import context
from tests.flow.walk import FIT_S, LAUNCH_S, Walk
from tests.tracking.samples import start


class Drawing:
    """Draws 10 W by the stepped clock."""

    scope, source, tick_s, keep_s, reason, notes = "gpu", "nvml", 0.1, 100.0, "", ()

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock

    def read_j(self) -> float:
        return 10.0 * self.clock.monotonic_s()

    def rebase(self) -> None:
        pass

    def close(self) -> None:
        pass


def ledger(journal: Journal, uid: str, clock: SteppedClock, *, resumed: bool = False) -> Ledger:
    gauges = Gauges({"gpu": [Drawing(clock)], "cpu": []}, {"cpu": "no RAPL"}, keep_s=3600.0)
    return Ledger(journal, uid, gauges, resumed=resumed)


def train_row(found: Ledger) -> Row:
    return read(found.spans, {"accelerator": "gpu"})[0]


def working(clock: SteppedClock, seconds: float, error: BaseException | None = None) -> Callable[[], dict[str, Any]]:
    def work() -> dict[str, Any]:
        clock.step(seconds)
        if error is not None:
            raise error
        return {}

    return work


def test_what_an_attempt_spent_is_added_to_what_the_one_before_did(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    first = ledger(journal, uid, clock)
    ctx = replace(context(journal, clock, uid), ledger=first)
    with pytest.raises(Interrupted):
        ctx.once("fit", Phase.LAUNCH, working(clock, 5.0, Interrupted(15)))
    first.close()
    clock.step(1000.0)
    second = ledger(journal, uid, clock, resumed=True)
    again = replace(context(journal, clock, uid), ledger=second)
    again.once("prepare", Phase.DATA, working(clock, 3.0))
    again.once("fit", Phase.LAUNCH, working(clock, 7.0))
    again.once("fit", Phase.LAUNCH, working(clock, 7.0))
    second.close()
    assert [(s["stage"], s["gpu_j"]) for s in journal.stages(uid)[STAGE]["spans"]] == [("fit", 50.0), ("fit", 70.0)]
    row = train_row(second)
    assert not isinstance(row, Unmeasured)
    assert row.value == 120.0


def test_an_attempt_that_was_killed_leaves_a_gap_that_is_seen(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    killed = ledger(journal, uid, clock)
    open_stage = killed.stage("fit", Phase.LAUNCH)
    open_stage.__enter__()
    second = ledger(journal, uid, clock, resumed=True)
    with second.stage("fit", Phase.LAUNCH):
        clock.step(7.0)
    row = train_row(second)
    assert isinstance(row, Unmeasured)
    assert row.reason == "fit: it was cut off before its end was read"
    open_stage.__exit__(None, None, None)
    killed.close()
    second.close()


def test_an_earlier_attempt_that_counted_nothing_is_a_gap_too(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    journal.stage_done(uid, "fit", {}, 1.0)
    resumed = ledger(journal, uid, clock, resumed=True)
    assert "an earlier attempt" in str(train_row(resumed).reason)
    resumed.close()
    fresh = start(journal, "other").uid
    untouched = ledger(journal, fresh, clock, resumed=True)
    assert untouched.spans == []
    untouched.close()


def test_a_rung_that_failed_has_spent_too(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    counted = ledger(journal, uid, clock)
    ctx = replace(context(journal, clock, uid), ledger=counted)
    with pytest.raises(BuildFailed):
        ctx.once("build a", Phase.BUILD, working(clock, 4.0, BuildFailed("no engine")))
    counted.close()
    assert [s["gpu_j"] for s in counted.spans] == [40.0]


def test_without_a_gpu_or_with_wrong_devices_no_gpu_is_counted(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(spending, "open_gauges", lambda gpus: asked.append(gpus) or Gauges({}, {"gpu": "none"}))
    monkeypatch.setattr("plaster_ops.training.devices._nvml_uuids", lambda: ("GPU-a", "GPU-b"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for devices in ("auto", 1, 3):
        pipeline = PipelineSettings.model_validate({"ref": "m:p", "train": {"devices": devices}})
        open_ledger(journal, start(journal).uid, pipeline, resumed=False).close()
    assert asked == [("GPU-a", "GPU-b"), ("GPU-a",), ()]


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, clock: SteppedClock) -> None:
    """Every retrain of this test counts a GPU that draws 10 W."""
    gauges = {"gpu": [Drawing(clock)], "cpu": []}
    monkeypatch.setattr(spending, "open_gauges", lambda _: Gauges(gauges, {"cpu": "no RAPL"}, keep_s=3600.0))


def rows_of(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in payload["card"]}


@pytest.mark.usefixtures("drawing")
def test_a_retrain_has_the_energy_of_its_phases_on_its_card(retrain: Callable[..., dict[str, Any]]) -> None:
    rows = rows_of(retrain())
    assert rows[m.TRAIN_GPU_ENERGY_J.key]["value"] == pytest.approx(10 * (FIT_S + LAUNCH_S))
    total = sum(rows[metric.key]["value"] for metric in m.PHASE_ENERGY[:3])
    assert rows[m.RETRAIN_GPU_ENERGY_J.key]["value"] == pytest.approx(total)
    assert rows[m.RETRAIN_CPU_ENERGY_J.key]["reason"] == "no RAPL"


@pytest.mark.usefixtures("drawing")
def test_a_retrain_that_is_resumed_has_spent_both_times(retrain: Callable[..., dict[str, Any]], walk: Walk) -> None:
    walk.errors["export"] = Interrupted(15)
    with pytest.raises(Interrupted):
        retrain()
    del walk.errors["export"]
    rows = rows_of(retrain(resume="last"))
    assert rows[m.TRAIN_GPU_ENERGY_J.key]["value"] == pytest.approx(10 * (FIT_S + LAUNCH_S))
    assert rows[m.BUILD_GPU_ENERGY_J.key]["value"] is not None


def test_every_energy_key_is_on_the_card_of_a_retrain_that_timed_nothing(
    retrain: Callable[..., dict[str, Any]],
) -> None:
    rows = rows_of(retrain())
    energy = {
        key: metric
        for key, metric in m.CATALOGUE.items()
        if metric.letter is m.Letter.ENERGY and metric not in m.MACHINE
    }
    assert energy.keys() <= rows.keys()
    assert all(rows[key]["reason"] for key in energy if rows[key]["value"] is None)
    assert rows[m.EST_CPU_HI_W.key]["status"] == "not_measured"


def test_guesses_are_made_on_request_and_are_called_that(
    settings: Settings, retrain: Callable[..., dict[str, Any]], walk: Walk
) -> None:
    plain = settings.pipelines["digits"].model_dump()
    plain["measure"] |= {"cpu_tdp_w": 150.0, "cpu_threads": 10_000}
    told = settings.model_copy(update={"pipelines": {"digits": PipelineSettings.model_validate(plain)}})
    assert rows_of(retrain(project=told))[m.EST_CPU_HI_W.key]["value"] is None
    walk.arrived += 10
    row = rows_of(retrain(project=told, estimate_energy=True, measure=True))[m.EST_CPU_HI_W.key]
    assert row["status"] == "estimated"
    assert 0 < row["value"] <= 150.0


@pytest.mark.usefixtures("drawing")
def test_what_a_run_spent_stays_when_its_engine_is_measured_again(
    settings: Settings, retrain: Callable[..., dict[str, Any]], walk: Walk, clock: SteppedClock
) -> None:
    retrain()
    walk.arrived = 14
    then = rows_of(retrain())
    told = compare(settings, clock, "2", "1")
    key = m.TRAIN_GPU_ENERGY_J.key
    assert rows_of(told)[key]["value"] == then[key]["value"]
    energy = {
        found for found, metric in m.CATALOGUE.items() if metric.letter is m.Letter.ENERGY and metric not in m.MACHINE
    }
    assert energy <= rows_of(told).keys()
