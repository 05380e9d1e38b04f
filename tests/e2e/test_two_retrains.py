"""What two retrains on newly arriving data say of themselves: on stdout, in the journal, in MLflow. The architecture is
unchanged: one build, then new weights in the same compiled package."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import Ended, run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
Retrained = tuple[Path, Ended, Ended]


def test_the_first_retrain_is_the_baseline_and_the_second_is_compared_with_it(retrained: Retrained) -> None:
    _, first, second = retrained
    assert first.code == 0, first.err
    assert second.code == 0, second.err
    assert first.payload["verdict"] == "baseline"
    assert second.payload["verdict"] == "promoted"
    assert second.payload["baseline"] == {
        "index": 1,
        "id": first.payload["run"]["uid"],
        "which": "last",
        "how": "remeasured",
    }


def test_seven_headlines_are_measured_or_say_why_not(retrained: Retrained) -> None:
    card = retrained[2].payload["card"]
    heads = [row for row in card if row["headline"]]
    assert [row["letter"] for row in heads] == list("PLASTER")
    for row in heads:
        if row["status"] == "not_measured":
            assert row["value"] is None
            assert row["reason"]
        else:
            assert isinstance(row["value"], float | int)
    measured = {row["key"]: row for row in heads}
    for key in ("latency/e2e_p50_ms", "accuracy/engine_score", "throughput/slo_samples_per_s"):
        low, high = measured[key]["ci95"]
        assert low <= measured[key]["value"] <= high
        assert measured[key]["n"] > 0


def test_phases_sum_to_the_cycle_and_leave_at_most_one_per_cent_unnamed(retrained: Retrained) -> None:
    phases = dict(retrained[2].payload["phases"])
    cycle_s = phases.pop("cycle_s")
    assert sum(phases.values()) == pytest.approx(cycle_s, rel=0.001)
    assert phases["other_s"] <= 0.01 * cycle_s
    assert phases["fit_s"] > 0
    assert phases["measure_s"] > 0


def test_every_judged_row_has_a_verdict_of_the_five(retrained: Retrained) -> None:
    rows = retrained[2].payload["comparison"]
    assert {row["letter"] for row in rows} == set("PLASTER")
    assert {row["verdict"] for row in rows} <= {"better", "worse", "same", "inconclusive", "not_comparable"}
    assert all(row["reason"] for row in rows if row["verdict"] in ("inconclusive", "not_comparable"))


def test_the_window_starts_where_the_champion_had_learned(retrained: Retrained) -> None:
    _, first, second = retrained
    assert first.payload["data"]["cut"] == 160
    assert (second.payload["data"]["from"], second.payload["data"]["to"]) == (160, 360)
    assert second.payload["data"]["new_samples"] == 200


def test_a_retrain_without_new_data_is_a_recorded_skip(copy_of) -> None:  # type: ignore[no-untyped-def]
    project = copy_of()
    skipped = run_command(project, "retrain", "--json")
    assert (skipped.code, skipped.payload["verdict"]) == (0, "skipped")
    rows = json.loads(run_command(project, "history", "--json").out)["runs"]
    assert [row["verdict"] for row in rows] == ["baseline", "promoted", "skipped"]
    assert rows[-1]["index"] is None


@pytest.mark.filterwarnings("ignore")  # what MLflow says of its own libraries
def test_mlflow_holds_parents_children_a_cadence_run_and_versions_with_aliases(retrained: Retrained) -> None:
    from mlflow import MlflowClient

    project, _, second = retrained
    uri = f"sqlite:///{project}/mlruns/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("plaster/flowers")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    kinds = sorted(run.data.tags["plaster.kind"] for run in runs)
    assert kinds.count("retrain") == 2
    assert kinds.count("cadence") == 1
    assert all(run.info.status == "FINISHED" for run in runs)
    parent = client.get_run(second.payload["mlflow"]["run_id"])
    assert parent.data.metrics["latency/e2e_p50_ms"] == pytest.approx(
        next(r["value"] for r in second.payload["card"] if r["key"] == "latency/e2e_p50_ms")
    )
    assert {i.dataset.name for i in parent.inputs.dataset_inputs} == {"train", "rolling", "golden"}
    cadence = next(run for run in runs if run.data.tags["plaster.kind"] == "cadence")
    history = client.get_metric_history(cadence.info.run_id, "accuracy/engine_score")
    assert [point.step for point in history] == [1, 2]
    assert client.get_model_version_by_alias("flowers", "champion").version == 2
    assert client.get_model_version_by_alias("flowers", "previous").version == 1


def test_the_first_builds_and_the_second_refits(retrained: Retrained) -> None:
    engines = [ended.payload["engine"] for ended in retrained[1:]]
    assert [engine["decision"] for engine in engines] == ["build", "refit"]
    assert [engine["refits_since_build"] for engine in engines] == [0, 1]
    assert len({engine["weights_digest"] for engine in engines}) == 2
    assert len({engine["graph_digest"] for engine in engines}) == 1


def test_a_refit_is_told_in_seconds_that_it_saved(retrained: Retrained) -> None:
    _, first, second = retrained
    card = {row["key"]: row["value"] for row in second.payload["card"]}
    built, refitted = first.payload["engine"], second.payload["engine"]
    assert refitted["full_build_stage_s"] == built["stage_s"]
    assert refitted["stage_s"] < built["stage_s"] / 4
    assert refitted["refit_s"] < built["stage_s"] / 1000
    assert card["learning/refit_saved_s"] == pytest.approx(built["stage_s"] - refitted["stage_s"])
    assert card["learning/refits_since_build_count"] == 1


def test_every_engine_is_checked_against_its_own_eager_model(retrained: Retrained) -> None:
    found = sorted((retrained[0] / "mlruns" / "runs").glob("*/*/artifacts/parity.json"))
    parities = [json.loads(file.read_text(encoding="utf-8")) for file in found]
    assert [parity["ok"] for parity in parities] == [True, True]


def test_stderr_and_stdout_do_not_mix(retrained: Retrained) -> None:
    second = retrained[2]
    assert second.out.count("\n") == 1
    assert "training" in second.err


def test_the_table_names_the_champion_and_all_letters(retrained: Retrained) -> None:
    shown = run_command(retrained[0], "compare", "2", "1", "--stored")
    assert shown.code == 0, shown.err
    assert "slo_samples_per_s" in shown.out
    assert "\x1b[" not in shown.out
    assert "│" not in shown.out


def test_every_number_is_had_again_from_the_records_and_one_changed_answer_shows(copy_of) -> None:  # type: ignore[no-untyped-def]
    project = copy_of()
    again = run_command(project, "recompute", "--json")
    assert again.code == 0, again.err
    assert again.payload["equal"] is True
    assert again.payload["numbers"] > 200
    (file,) = (project / "mlruns" / "runs" / "flowers").glob("00002-*/artifacts/answers.npz")
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["golden/scores/0"][0] = 1.0 - arrays["golden/scores/0"][0]
    np.savez_compressed(file, **arrays)
    changed = run_command(project, "recompute", "--json")
    assert changed.code == 1
    assert {"accuracy/engine_score"} <= {one["key"] for one in changed.payload["differing"]}
