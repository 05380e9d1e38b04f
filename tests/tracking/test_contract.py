"""What every tracker does, whatever it stores in: the same suite over MLflow and over memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import pytest

from plaster_ops.ports import Tracked, Tracker
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.names import RecordRefused
from tests.tracking import census
from tests.tracking.samples import make_record


def load_text(uri: str) -> str:
    """An artifact of an embedded store."""
    return Path(unquote(urlsplit(uri).path)).read_text(encoding="utf-8")


class Looking(Protocol):
    """A tracker with the eyes of a test."""

    tracker: Tracker

    def kinds(self) -> list[str]: ...

    def cadence(self) -> dict[str, list[tuple[int, float]]]: ...

    def parent_metrics(self, uid: str) -> dict[str, float]: ...

    def aliases(self) -> dict[str, int]: ...

    def ledger(self) -> list[dict[str, object]]: ...


class LookingAtMlflow:
    def __init__(self, tracker: MlflowTracker) -> None:
        self.tracker = tracker

    def kinds(self) -> list[str]:
        return sorted(run.data.tags["plaster.kind"] for run in census.runs_of(self.tracker))

    def cadence(self) -> dict[str, list[tuple[int, float]]]:
        return census.cadence_of(self.tracker)

    def parent_metrics(self, uid: str) -> dict[str, float]:
        return dict(census.run_of(self.tracker, uid).data.metrics)

    def aliases(self) -> dict[str, int]:
        found = census.client_of(self.tracker).search_registered_models()
        return {alias: int(version) for model in found for alias, version in model.aliases.items()}

    def ledger(self) -> list[dict[str, object]]:
        (run,) = [run for run in census.runs_of(self.tracker) if run.data.tags["plaster.kind"] == "cadence"]
        text = load_text(f"{run.info.artifact_uri}/promotions.jsonl")
        return [json.loads(line) for line in text.splitlines()]


class LookingAtMemory:
    def __init__(self, tracker: MemoryTracker) -> None:
        self.tracker = tracker

    def kinds(self) -> list[str]:
        plans = self.tracker.plans.values()
        kinds = [kind for plan in plans for kind in ("retrain", *(child.kind for child in plan.children))]
        return sorted(kinds + ["cadence"] * len(self.tracker.cadences))

    def cadence(self) -> dict[str, list[tuple[int, float]]]:
        return {
            name: [(p.step, p.value) for p in points if p.key == "latency/e2e_p50_ms"]
            for (_, name), points in self.tracker.cadences.items()
        }

    def parent_metrics(self, uid: str) -> dict[str, float]:
        return {point.key: point.value for point in self.tracker.plans[uid].parent.points}

    def aliases(self) -> dict[str, int]:
        return self.tracker.aliases.get("digits", {})

    def ledger(self) -> list[dict[str, object]]:
        return [dict(line) for line in self.tracker.ledgers["digits"]]


@pytest.fixture(params=["mlflow", "memory"])
def looking(request: pytest.FixtureRequest, location: Location) -> Iterator[Looking]:
    if request.param == "memory":
        yield LookingAtMemory(MemoryTracker())
        return
    with MlflowTracker(location) as tracker:
        yield LookingAtMlflow(tracker)


def test_one_record_is_a_parent_three_children_and_a_cadence_point(looking: Looking, tmp_path: Path) -> None:
    tracked = looking.tracker.record(make_record("a" * 32, folder=tmp_path / "run"))
    assert isinstance(tracked, Tracked)
    assert (tracked.experiment, tracked.model_version) == ("plaster/digits", 1)
    assert looking.kinds() == ["build", "cadence", "measure", "retrain", "train"]
    assert looking.cadence() == {"cadence · Test CPU 9000": [(1, 1.01)]}


def test_a_replay_changes_nothing_and_answers_the_same(looking: Looking, tmp_path: Path) -> None:
    record = make_record("a" * 32, folder=tmp_path / "run")
    first = looking.tracker.record(record)
    before = (looking.kinds(), looking.cadence(), looking.parent_metrics(record.uid))
    assert looking.tracker.record(record) == first
    assert (looking.kinds(), looking.cadence(), looking.parent_metrics(record.uid)) == before


def test_retrains_share_one_cadence_run_per_device_model(looking: Looking) -> None:
    for index in (1, 2):
        looking.tracker.record(make_record(str(index) * 32, index))
    looking.tracker.record(make_record("3" * 32, 3, fingerprint={"device": "Other CPU"}))
    assert looking.cadence() == {
        "cadence · Test CPU 9000": [(1, 1.01), (2, 1.02)],
        "cadence · Other CPU": [(3, 1.03)],
    }


def test_every_measured_row_is_on_the_parent_with_its_interval(looking: Looking) -> None:
    record = make_record("a" * 32)
    looking.tracker.record(record)
    metrics = looking.parent_metrics(record.uid)
    assert metrics["latency/e2e_p50_ms"] == pytest.approx(1.01)
    assert metrics["latency/e2e_p50_ci95lo_ms"] == pytest.approx(0.51)
    assert metrics["throughput/slo_samples_ci95hi_per_s"] == pytest.approx(1.51)
    assert metrics["phase/fit_s"] == 9.0
    assert not [key for key in metrics if key.startswith("energy/")]


def test_a_failed_run_is_recorded_without_model_and_marks_its_verdict_alone(looking: Looking, tmp_path: Path) -> None:
    tracked = looking.tracker.record(make_record("a" * 32, folder=tmp_path / "run", verdict="failed", exit_code=10))
    assert tracked.model_version is None
    assert looking.cadence() == {"cadence · Test CPU 9000": []}


def test_aliases_point_at_versions_by_uid_and_only_at_those_named(looking: Looking, tmp_path: Path) -> None:
    uids = [str(index) * 32 for index in (1, 2, 3)]
    for index, uid in enumerate(uids, start=1):
        looking.tracker.record(make_record(uid, index, folder=tmp_path / uid))
    looking.tracker.point("digits", {"champion": uids[1], "previous": uids[0], "challenger": uids[2]})
    assert looking.aliases() == {"champion": 2, "previous": 1, "challenger": 3}
    looking.tracker.point("digits", {"champion": uids[2], "previous": uids[1]})
    assert looking.aliases() == {"champion": 3, "previous": 2}


def test_an_alias_for_a_run_without_a_version_stays_unset(looking: Looking, tmp_path: Path) -> None:
    looking.tracker.point("digits", {"champion": "f" * 32})
    assert looking.aliases() == {}
    looking.tracker.record(make_record("a" * 32, folder=tmp_path / "run"))
    looking.tracker.point("digits", {"champion": "a" * 32, "previous": "f" * 32})
    assert looking.aliases() == {"champion": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_what_is_no_finite_number_is_refused_by_name(looking: Looking, value: float) -> None:
    row = dict(make_record("a" * 32).card[0]) | {"value": value}
    with pytest.raises(RecordRefused, match=row["key"]):
        looking.tracker.record(make_record("a" * 32, card=(row,)))
    assert looking.kinds() == []


def line(seq: int, uid: str, index: int, before: int | None = None, **more: object) -> dict[str, object]:
    gone = None if before is None else {"index": before, "uid": str(before) * 32}
    plain = {"seq": seq, "at": f"2026-11-2{seq}T02:00:00", "kind": "retrain", "index": index, "uid": uid, "from": gone}
    return plain | {"by": "ann", "reason": "no gate failed", "forced": False} | more


def test_the_ledger_is_told_and_telling_it_again_changes_nothing(looking: Looking, tmp_path: Path) -> None:
    uids = [str(index) * 32 for index in (1, 2)]
    for index, uid in enumerate(uids, start=1):
        looking.tracker.record(make_record(uid, index, folder=tmp_path / uid))
    lines = [line(1, uids[0], 1), line(2, uids[1], 2, 1, kind="promote", forced=True, reason="must")]
    for since in (0, 0, 1):
        looking.tracker.ledger("digits", lines, since)
        assert looking.ledger() == lines
    again = [*lines, line(3, uids[0], 1, 2, kind="rollback", reason="slow")]
    looking.tracker.ledger("digits", again, 2)
    assert looking.ledger() == again


def test_a_ledger_of_runs_that_the_tracker_does_not_have_is_no_error(looking: Looking) -> None:
    looking.tracker.ledger("digits", [line(1, "a" * 32, 1)], 0)


def test_a_version_tells_how_it_became_champion_last(location: Location, tmp_path: Path) -> None:
    uid = "1" * 32
    with MlflowTracker(location) as tracker:
        tracker.record(make_record(uid, 1, folder=tmp_path / "run"))
        forced = line(2, uid, 1, 1, kind="promote", forced=True, reason="new terms")
        tracker.ledger("digits", [line(1, uid, 1), forced], 0)
        tags = census.client_of(tracker).get_model_version("digits", "1").tags
    assert {name.removeprefix("plaster.promoted_"): tags[name] for name in tags if "promoted_" in name} == {
        "at": "2026-11-22T02:00:00",
        "by": "ann",
        "how": "promote",
        "from": "#1",
        "why": "new terms",
        "forced": "true",
    }


def test_the_registered_engine_comes_back_byte_by_byte(location: Location, tmp_path: Path) -> None:
    uid = "1" * 32
    with MlflowTracker(location) as tracker:
        tracker.record(make_record(uid, 1, folder=tmp_path / "run"))
        found = tracker.fetch_engine("digits", uid, tmp_path)
        assert found is not None
        for name in ("model.bin", "manifest.json"):
            assert (found / name).read_bytes() == (tmp_path / "run" / "engine" / name).read_bytes()
        assert tracker.fetch_engine("digits", "f" * 32, tmp_path) is None


def test_the_files_of_a_registered_engine_can_go_while_its_version_stays(location: Location, tmp_path: Path) -> None:
    uid, root = "1" * 32, str(tmp_path / "project" / "mlruns")
    with MlflowTracker(location) as tracker:
        tracker.record(make_record(uid, 1, folder=tmp_path / "run"))
        assert tracker.prune_engine("digits", uid, str(tmp_path / "elsewhere"), dry_run=False) == 0
        size = tracker.prune_engine("digits", uid, root, dry_run=True)
        assert size > 1000
        assert tracker.prune_engine("digits", uid, root, dry_run=False) == size
        assert tracker.prune_engine("digits", uid, root, dry_run=False) == 0
        assert census.client_of(tracker).get_model_version("digits", "1").tags["plaster.pruned"] == "true"
