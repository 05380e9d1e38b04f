from dataclasses import replace

from plaster_ops.domain.changes import ChangeKind, changes_between
from plaster_ops.domain.run import RunRecord

THEN = RunRecord(
    uid="a",
    pipeline="digits",
    index=1,
    trigger="cron",
    started_at="2026-11-01T02:00:00+00:00",
    ended_at="2026-11-01T02:05:00+00:00",
    verdict="promoted",
    exit_code=0,
    params={"train.max_epochs": "8"},
    tags={"plaster.code_digest": "c1", "plaster.git": "g1"},
    fingerprint={
        "device": "EPYC",
        "threads": 1,
        "environment": {"kernel": "6.1", "backend": "openvino", "data.eval": "e1", "builder.timing_cache": "t1"},
    },
    engine={"backend": "openvino", "precision": "fp32"},
    data={"train_samples": 100},
)


def test_nothing_changed_between_a_run_and_itself() -> None:
    assert changes_between(THEN, THEN) == ()


def test_what_changed_is_told_once_and_by_its_kind() -> None:
    now = replace(
        THEN,
        params={"train.max_epochs": "4"},
        tags={"plaster.code_digest": "c2", "plaster.git": "g2", "plaster.version": "1.1"},
        fingerprint={
            "device": "EPYC",
            "threads": 2,
            "environment": {"kernel": "6.2", "backend": "inductor", "data.eval": "e2", "builder.timing_cache": "t2"},
        },
        engine={"backend": "inductor", "precision": "fp32"},
        data={"train_samples": 120},
    )
    found = [(change.kind, change.sentence) for change in changes_between(now, THEN)]
    assert found == [
        (ChangeKind.PARAMS, "train.max_epochs 8 -> 4"),
        (ChangeKind.CODE, "git g1 -> g2"),
        (ChangeKind.CODE, "plaster_ops none -> 1.1"),
        (ChangeKind.CODE, "sources c1 -> c2"),
        (ChangeKind.ENVIRONMENT, "kernel 6.1 -> 6.2"),
        (ChangeKind.ENVIRONMENT, "threads 1 -> 2"),
        (ChangeKind.ENGINE, "backend openvino -> inductor"),
        (ChangeKind.ENGINE, "builder.timing_cache t1 -> t2"),
        (ChangeKind.DATA, "train_samples 100 -> 120"),
    ]


def test_what_only_one_run_had_is_none_in_the_other() -> None:
    (change,) = changes_between(replace(THEN, params={}), THEN)
    assert (change.then, change.now) == ("8", None)
    assert change.sentence == "train.max_epochs 8 -> none"


def test_of_a_digest_its_beginning_is_told() -> None:
    tags = {"plaster.code_digest": "0123456789abcdef" * 4}
    assert [change.sentence for change in changes_between(replace(THEN, tags=tags), replace(THEN, tags={}))] == [
        "sources none -> 0123456789ab"
    ]


def test_another_golden_set_is_told_and_another_rolling_one_is_every_days() -> None:
    def on(golden: str, rolling: str) -> RunRecord:
        return replace(THEN, datasets=({"name": "golden", "digest": golden}, {"name": "digits", "digest": rolling}))

    assert [change.sentence for change in changes_between(on("g2", "r2"), on("g1", "r1"))] == ["golden_digest g1 -> g2"]


def test_a_count_of_none_is_a_value() -> None:
    """No golden samples is another thing than nothing known of them."""
    now, then = replace(THEN, data={"golden_samples": 40}), replace(THEN, data={"golden_samples": 0})
    (change,) = changes_between(now, then)
    assert (change.then, change.now) == ("0", "40")


def test_what_was_asked_of_the_machine_is_its_environment() -> None:
    """A variable that was set, as the run kept it."""
    (change,) = changes_between(replace(THEN, tags=THEN.tags | {"plaster.env.OMP_NUM_THREADS": "1"}), THEN)
    assert (change.kind, change.sentence) == (ChangeKind.ENVIRONMENT, "OMP_NUM_THREADS none -> 1")
