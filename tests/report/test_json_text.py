"""Schema 1 of `--json`: its keys, and numbers that are numbers."""

import json
import math

import pytest

from plaster_ops.domain.run import RunRecord
from plaster_ops.report.json_text import bare_payload, run_payload, to_text

KEYS = {
    "assessment",
    "start",
    "curve",
    "gates",
    *("schema", "pipeline", "exit_code", "verdict", "reasons", "run", "baseline", "card", "comparison"),
    *("assessment", "phases", "engine", "data", "mlflow"),
}
MLFLOW = {"tracking_uri": "sqlite:///x", "experiment": "plaster/digits", "run_id": "m1", "model_version": 4}


def record(**changed: object) -> RunRecord:
    plain = {"uid": "u1", "pipeline": "digits", "index": 2, "trigger": "cron", "started_at": "a", "ended_at": "b"}
    more = {"verdict": "promoted", "exit_code": 0, "fingerprint": {"digest": "f" * 16, "device": "X"}}
    return RunRecord.from_json(plain | more | changed)


def test_the_keys_of_schema_1_are_there_whatever_happened() -> None:
    finished = run_payload(record(engine={"backend": "openvino"}), MLFLOW)
    skipped = bare_payload("digits", verdict="skipped", exit_code=0, reasons=["x"], mlflow=MLFLOW, trigger="cron")
    assert finished.keys() == skipped.keys() == KEYS
    assert finished["schema"] == skipped["schema"] == 1


def test_the_run_is_named_by_its_mlflow_id_or_by_its_own_while_mlflow_is_down() -> None:
    assert run_payload(record(), MLFLOW)["run"]["id"] == "m1"
    spooled = run_payload(record(), MLFLOW | {"run_id": None})["run"]
    assert spooled == {"index": 2, "id": "u1", "uid": "u1", "trigger": "cron", "slot": None, "fingerprint": "f" * 16}


def test_a_run_that_was_never_opened_has_no_run_no_baseline_and_no_engine() -> None:
    payload = bare_payload("digits", verdict="busy", exit_code=75, reasons=["held"], mlflow=MLFLOW, trigger="manual")
    assert (payload["run"], payload["baseline"], payload["engine"]) == (None, None, None)
    assert (payload["verdict"], payload["exit_code"], payload["reasons"]) == ("busy", 75, ["held"])
    assert {"from", "to", "new_samples", "train_samples", "eval_samples"} <= payload["data"].keys()


def test_the_object_is_one_line_of_strict_json() -> None:
    text = to_text(run_payload(record(reasons=["naïve\nreason"]), MLFLOW))
    assert "\n" not in text
    assert json.loads(text)["reasons"] == ["naïve\nreason"]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_never_reaches_a_reader(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_text(run_payload(record(phases={"fit_s": number}), MLFLOW))
