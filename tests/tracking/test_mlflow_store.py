"""MLflow in SQLite: the layout a person sees, and exactly once whatever is cut off where."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.errors import TrackingUnavailable
from plaster_ops.tracking import liveness
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.names import RecordRefused
from tests.tracking import census
from tests.tracking.samples import PID_OF_NOBODY, make_record, make_small_record

WRITING = ("create_", "log_", "set_", "finalize_", "delete_")


class CutOff:
    """A client whose n-th writing call is done by the store but never answered; after it nothing works."""

    def __init__(self, client: Any, calls: int) -> None:
        self._client, self._left = client, calls
        self.reached = False

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        if not name.startswith(WRITING):
            return member
        return lambda *given, **named: self._call(member, *given, **named)

    def _call(self, member: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left > 0:
            return member(*given, **named)
        self.reached = True
        if self._left == 0:
            member(*given, **named)
        raise ConnectionResetError("connection reset by peer")


def test_a_record_that_is_cut_off_anywhere_is_completed_and_never_doubled(
    tracker: MlflowTracker, tmp_path: Path
) -> None:
    whole = make_small_record("0" * 32, 1, tmp_path / "whole")
    tracker.record(whole)
    expected = census.take(tracker, whole.uid, 1)
    client, reached, index = tracker._client, True, 1
    while reached:
        index += 1
        record = make_small_record(f"{index:032x}", index, tmp_path / str(index))
        tracker._client = cut = CutOff(client, index - 2)
        with contextlib.suppress(TrackingUnavailable):
            tracker.record(record)
        reached, tracker._client = cut.reached, client
        tracker.record(record)
        found = census.take(tracker, record.uid, index)
        assert found.pop("cadence") == [(index, pytest.approx(1.0 + index / 100))], index
        assert found == {key: value for key, value in expected.items() if key != "cadence"}, index
    assert index > 15
    assert len(census.cadence_of(tracker)) == 1


def test_doubles_of_a_server_that_committed_late_are_deleted(tracker: MlflowTracker, tmp_path: Path) -> None:
    record = make_record("a" * 32, folder=tmp_path / "run")
    tracker.record(record)
    expected = census.take(tracker, record.uid, 1)
    client, parent = tracker._client, census.run_of(tracker, record.uid)
    client.create_run(
        parent.info.experiment_id, start_time=1, tags={"plaster.uid": record.uid, "plaster.kind": "retrain"}
    )
    client.create_model_version("digits", source="file:///x", run_id="x", tags={"plaster.uid": record.uid})
    tracker.record(record)
    assert census.take(tracker, record.uid, 1) == expected
    assert census.run_of(tracker, record.uid).info.run_id == parent.info.run_id


def test_the_parent_says_what_happened_in_words_and_tags(tracker: MlflowTracker) -> None:
    record = make_record("a" * 32, 12, started_at="2026-11-23T02:00:00+00:00", ended_at="2026-11-23T02:01:30+00:00")
    tracker.record(record)
    run = census.run_of(tracker, record.uid)
    assert run.info.run_name == "#12 2026-11-23"
    assert (run.info.status, run.info.end_time - run.info.start_time) == ("FINISHED", 90_000)
    assert run.data.params == {"max_epochs": "20", "start": "warm"}
    tags = run.data.tags
    assert tags["git"] == "abc1234"
    assert (tags["plaster.index"], tags["plaster.verdict"], tags["plaster.baseline"]) == ("12", "promoted", "#11")
    assert (tags["plaster.latency.status"], tags["plaster.latency.method"]) == ("measured", "latency.singlestream.v2")
    assert (tags["plaster.energy.status"], tags["plaster.energy.reason"]) == ("not_measured", "no NVML, no RAPL")
    assert "energy/cpu_time_per_inference_s: no NVML" in tags["plaster.energy.missing"]
    note = tags["mlflow.note.content"]
    assert note.startswith("**Promoted")
    assert all(f"`{metric.key}`" in note for metric in HEADLINES)
    assert {m.step for m in census.client_of(tracker).get_metric_history(run.info.run_id, "latency/e2e_p50_ms")} == {12}


def test_children_hang_under_the_parent_and_hold_their_own(tracker: MlflowTracker) -> None:
    record = make_record("a" * 32)
    tracker.record(record)
    client, parent = census.client_of(tracker), census.run_of(tracker, record.uid)
    children = {kind: census.run_of(tracker, record.uid, kind) for kind in ("train", "build", "measure")}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    losses = client.get_metric_history(children["train"].info.run_id, "train/loss")
    assert [(m.step, m.value) for m in losses][:2] == [(1, 1.0), (2, 0.5)]
    passed = client.get_metric_history(children["build"].info.run_id, "build/passed_count")
    assert [(m.step, m.value) for m in passed] == [(1, 1.0), (2, 0.0)]
    assert (
        "| 2 | inductor | int8 | no |  |  |  |  |  |  | not taken \\| here |"
        in children["build"].data.tags["mlflow.note.content"]
    )
    assert children["measure"].data.metrics["latency/e2e_p50_n_count"] == 100


def test_datasets_are_inputs_with_short_digests(tracker: MlflowTracker) -> None:
    record = make_record("a" * 32)
    tracker.record(record)
    inputs = census.run_of(tracker, record.uid).inputs.dataset_inputs
    assert sorted(entry.tags[0].value for entry in inputs) == ["eval", "training"]
    assert all(len(entry.dataset.digest) <= 36 and entry.dataset.source_type == "replay" for entry in inputs)


def test_long_curves_go_in_batches_and_nothing_is_lost(tracker: MlflowTracker) -> None:
    curves = tuple({"key": "loss", "step": s, "value": float(s), "timestamp_ms": s} for s in range(1, 2302))
    record = make_record("a" * 32, curves=curves)
    tracker.record(record)
    train = census.run_of(tracker, record.uid, "train")
    assert len(census.client_of(tracker).get_metric_history(train.info.run_id, "loss")) == 2301


def test_the_engine_is_a_registered_version_of_plain_files(
    tracker: MlflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = make_record("a" * 32, pipeline="team/digits:v2", folder=tmp_path / "run")
    tracked = tracker.record(record)
    client = census.client_of(tracker)
    (model,) = client.search_registered_models()
    assert model.name.startswith("team-digits-v2-")
    assert model.tags["plaster.pipeline"] == "team/digits:v2"
    version = client.get_model_version(model.name, str(tracked.model_version))
    assert version.source.startswith("models:/m-")
    assert (version.run_id, version.tags["plaster.learned"]) == (tracked.run_id, "901")
    files = {f.path for f in client.list_logged_model_artifacts(version.source.removeprefix("models:/"))}
    assert files == {"model.bin", "manifest.json", "weights.safetensors"}
    linked = client.get_logged_model(version.source.removeprefix("models:/")).metrics
    assert {metric.key for metric in linked} == {m.key for m in HEADLINES} - {"energy/inferences_per_j"}
    assert {path.name for path in tmp_path.iterdir()} == {"project", "run"}
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_artifacts_lie_in_the_project(tracker: MlflowTracker, project: Path, tmp_path: Path) -> None:
    tracker.record(make_record("a" * 32, folder=tmp_path / "run"))
    assert {p.name for p in (project / "mlruns").rglob("*") if p.is_file()} >= {"compare.md", "model.bin"}


def test_nothing_is_printed(tracker: MlflowTracker, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker.record(make_record("a" * 32, folder=tmp_path / "run"))
    assert capfd.readouterr() == ("", "")


def test_the_store_gets_a_write_ahead_log_once(tracker: MlflowTracker, project: Path) -> None:
    tracker.record(make_record("a" * 32))
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_what_dead_processes_of_this_host_left_running_is_closed(tracker: MlflowTracker) -> None:
    tracker.record(make_record("a" * 32))
    client, here = tracker._client, liveness.this_host()
    experiment_id = census.run_of(tracker, "a" * 32).info.experiment_id

    def leave_running(uid: str, host: str, pid: int) -> str:
        tags = {"plaster.uid": uid, "plaster.kind": "retrain", "plaster.host": host, "plaster.pid": str(pid)}
        return str(client.create_run(experiment_id, tags=tags).info.run_id)

    dead = leave_running("dead", here, PID_OF_NOBODY)
    alive = leave_running("alive", here, os.getpid())
    owned = leave_running("owned", here, PID_OF_NOBODY)
    far = leave_running("far", "another-host", PID_OF_NOBODY)
    foreign = str(client.create_run(experiment_id).info.run_id)
    assert tracker.sweep_stale(here, owned={"owned"}) == [dead]
    assert client.get_run(dead).info.status == "KILLED"
    assert {client.get_run(r).info.status for r in (alive, owned, far, foreign)} == {"RUNNING"}


def test_a_deleted_experiment_is_not_quietly_recorded_elsewhere(tracker: MlflowTracker, location: Location) -> None:
    tracker.record(make_record("a" * 32))
    tracker._client.delete_experiment(census.run_of(tracker, "a" * 32).info.experiment_id)
    with MlflowTracker(location) as other, pytest.raises(TrackingUnavailable, match="deleted") as caught:
        other.record(make_record("b" * 32, 2))
    assert "mlflow experiments restore" in caught.value.next_step


def test_a_param_that_changed_is_refused_and_not_taken_for_an_outage(tracker: MlflowTracker) -> None:
    record = make_record("a" * 32)
    client = census.client_of(tracker)
    tracker.record(make_record("b" * 32, 2))
    experiment_id = census.run_of(tracker, "b" * 32).info.experiment_id
    half = client.create_run(experiment_id, tags={"plaster.uid": record.uid, "plaster.kind": "retrain"})
    client.log_param(half.info.run_id, "start", "scratch")
    with pytest.raises(RecordRefused, match="start"):
        tracker.record(record)


def test_a_damaged_store_is_unavailable_and_left_alone(project: Path, location: Location) -> None:
    database = project / "mlruns" / "mlflow.db"
    database.write_bytes(b"this is no database" * 100)
    with MlflowTracker(location) as tracker, pytest.raises(TrackingUnavailable, match="cannot be read"):
        tracker.record(make_record("a" * 32))
    assert database.read_bytes() == b"this is no database" * 100
