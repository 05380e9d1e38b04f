"""Small values: fingerprints, windows, run records, paired evidence."""

import json
from dataclasses import FrozenInstanceError

import pytest

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.run import FINISHED, RunRecord, Trigger, Verdict
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.domain.window import Window

HERE = Fingerprint(
    device="Test CPU", device_count=1, threads=2, input_shapes=("float32[1, 8, 8]",), environment=(("torch", "2.11"),)
)


def fingerprint(**changed: object) -> Fingerprint:
    return Fingerprint.from_json(HERE.to_json() | changed)


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [
        ("device", "Other CPU", "device: Test CPU against Other CPU"),
        ("device_count", 2, "device_count: 1 against 2"),
        ("threads", 4, "threads: 2 against 4"),
        ("input_shapes", ["float32[3]"], "input_shapes: ('float32[1, 8, 8]',) against ('float32[3]',)"),
    ],
)
def test_what_must_be_equal_is_named_where_it_differs(field: str, value: object, phrase: str) -> None:
    other = fingerprint(**{field: value})
    assert HERE.differences(other) == [phrase]
    assert other.digest != HERE.digest


def test_another_library_version_is_environment_and_no_reason_to_refuse() -> None:
    other = fingerprint(environment={"torch": "2.12", "driver": "580"})
    assert other.differences(HERE) == []
    assert other.digest == HERE.digest
    assert other.environment_changes(HERE) == ["driver none -> 580", "torch 2.11 -> 2.12"]


def test_a_fingerprint_survives_json() -> None:
    assert Fingerprint.from_json(json.loads(json.dumps(HERE.to_json()))) == HERE


@pytest.mark.parametrize("mark", [None, 7, 1.5, "2026-11-23T00:00:00+00:00"])
def test_a_window_survives_json_whatever_its_watermarks(mark: int | float | str | None) -> None:
    window = Window(learned=None, seen=mark, cut=mark, end=mark)
    assert Window.from_json(json.loads(json.dumps(window.to_json()))) == window


def record(**changed: object) -> RunRecord:
    plain = {"uid": "u", "pipeline": "digits", "index": 1, "trigger": "cron", "started_at": "a", "ended_at": "b"}
    return RunRecord.from_json(plain | {"verdict": "held", "exit_code": 3} | changed)


def test_a_record_survives_json_with_its_sequences() -> None:
    told = record(reasons=["slower"], card=[{"key": "k"}], curves=[{"step": 1}], learned=5, slot="s")
    again = RunRecord.from_json(json.loads(json.dumps(told.to_json())))
    assert again == told
    assert isinstance(again.reasons, tuple)


def test_a_field_of_a_later_version_does_not_stop_an_older_reader() -> None:
    assert record(colour="blue") == record()


def test_a_record_cannot_be_changed_after_the_fact() -> None:
    with pytest.raises(FrozenInstanceError):
        record().verdict = "promoted"  # type: ignore[misc]


def test_the_words_of_the_contract() -> None:
    assert set(Verdict) == {"promoted", "held", "baseline", "skipped", "failed", "busy"}
    assert set(Trigger) == {"manual", "cron", "service", "data", "drift"}
    assert set(FINISHED) == {"promoted", "held", "baseline"}


def test_paired_ratios_without_a_process_are_not_evidence() -> None:
    with pytest.raises(ValueError, match="use Unmeasured with a reason"):
        PairedRatios(key="latency/e2e_p50_ms", per_process=(), within_se=(), pairs=())


def test_paired_ratios_of_uneven_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        PairedRatios(key="latency/e2e_p50_ms", per_process=(0.1, 0.2), within_se=(0.1,), pairs=(4, 4))


def test_paired_evidence_survives_json() -> None:
    ratios = PairedRatios(key="latency/e2e_p50_ms", per_process=(0.1, -0.2), within_se=(0.01, 0.02), pairs=(4, 5))
    difference = PairedDifference(
        key="k",
        delta=0.1,
        ci95=(0.0, 0.2),
        ci90=(0.05, 0.15),
        p_value=0.04,
        method="mcnemar_midp",
        n=9,
        gained=2,
        lost=1,
    )
    assert PairedRatios.from_json(json.loads(json.dumps(ratios.to_json()))) == ratios
    assert PairedDifference.from_json(json.loads(json.dumps(difference.to_json()))) == difference
