"""What tags and metrics tell of a retrain whose record is gone, and whose record a file is."""

import json
from pathlib import Path

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, INFERENCES_PER_J, SLO_SAMPLES_PER_S
from plaster_ops.errors import TrackingUnavailable
from plaster_ops.tracking.names import estimate_key
from plaster_ops.tracking.store_file import StoreFile
from plaster_ops.tracking.store_reader import FoundRun, local_folder, record_from_tags, record_of
from tests.tracking.samples import make_record

UID = "a" * 32
TAGS = {
    "plaster.uid": UID,
    "plaster.pipeline": "digits",
    "plaster.index": "7",
    "plaster.verdict": "held",
    "plaster.exit_code": "3",
    "plaster.reason": "latency worse; accuracy same",
    "plaster.slot": "",
    "mlflow.user": "kim",
}


def found(**tags: str) -> FoundRun:
    return FoundRun(
        run_id="r", experiment="plaster/digits", start_ms=0, end_ms=90_000, artifact_uri="", tags=TAGS | tags
    )


def test_a_record_of_another_run_is_not_taken() -> None:
    """A folder of artifacts may have been copied."""
    text = json.dumps(make_record(UID).to_json())
    assert record_of(found(), text) == make_record(UID)
    assert record_of(found(**{"plaster.uid": "b" * 32}), text) is None


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "{}"])
def test_what_is_no_record_is_none(text: str | None) -> None:
    assert record_of(found(), text) is None


@pytest.mark.parametrize("position", [7, 7.5, "2026-11-23T00:00:00Z", None])
def test_a_watermark_comes_back_as_the_kind_that_it_was(position: float | str | None) -> None:
    """A watermark of 7 that came back as 7.0 or '7' is another position to its source."""
    text = "" if position is None else str(position)
    record = record_from_tags(found(**{"plaster.learned": text, "plaster.seen": text}), {})
    assert (record.learned, record.seen) == (position, position)
    assert (type(record.learned), type(record.seen)) == (type(position), type(position))


def test_tags_say_how_it_ended_and_mlflows_own_are_left_out() -> None:
    record = record_from_tags(found(), {})
    assert (record.index, record.verdict, record.exit_code, record.slot) == (7, "held", 3, None)
    assert record.reasons == ("latency worse", "accuracy same")
    assert (record.started_at, record.ended_at) == ("1970-01-01T00:00:00.000+00:00", "1970-01-01T00:01:30.000+00:00")
    assert "mlflow.user" not in record.tags
    assert record.tags["plaster.verdict"] == "held"


def test_a_guess_stays_a_guess_and_what_was_not_measured_has_no_value() -> None:
    metrics = {E2E_P50_MS.key: 1.5, estimate_key(INFERENCES_PER_J.key): 900.0, "phase/fit_s": 9.0}
    record = record_from_tags(found(), metrics)
    rows = {row["key"]: (row["value"], row["status"]) for row in record.card}
    assert rows[E2E_P50_MS.key] == (1.5, "measured")
    assert rows[INFERENCES_PER_J.key] == (900.0, "estimated")
    assert rows[SLO_SAMPLES_PER_S.key] == (None, "not_measured")
    assert record.phases == {"fit_s": 9.0}
    better = {row["key"]: row["better"] for row in record.card}
    assert (better[E2E_P50_MS.key], better[SLO_SAMPLES_PER_S.key]) == ("lower", "higher")


def test_a_folder_with_a_space_in_its_name_is_found() -> None:
    assert local_folder("file:///data/my%20models/artifacts") == Path("/data/my models/artifacts")
    assert local_folder("/data/artifacts") == Path("/data/artifacts")
    assert local_folder("s3://bucket/artifacts") is None


def test_a_store_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailable, match="there is no such file"):
        StoreFile(tmp_path / "mlflow.db")
