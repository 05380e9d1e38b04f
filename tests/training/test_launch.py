"""Real gangs of real Lightning: the parent starts them, loses ranks, and goes on. Each start costs seconds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.card import Reading
from plaster_ops.domain.metrics import DDP_RANK_SKEW_RATIO
from plaster_ops.errors import Interrupted, UsageError
from plaster_ops.plaster.learning import fit_rows
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from plaster_ops.training.messages import FitOutcome
from plaster_ops.training.resume import digest_of
from tests.training.conftest import SpecMaker

PATIENT = Limits(timeout_s=240, idle_s=120, grace_s=1.0)


def _named(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["event"] == name]


def _only(outcome: FitOutcome) -> tuple[int, int, int]:
    return outcome.result.epochs, outcome.attempts, outcome.restarts


def test_a_gang_that_loses_a_rank_goes_on_from_its_checkpoint_and_finishes(
    tmp_path: Path, make_spec: SpecMaker
) -> None:
    events: list[Any] = []
    spec = make_spec(reference="tiny:pl_killed", devices=2)
    outcome = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=events.append)
    result = outcome.result
    assert _only(outcome) == (4, 2, 1)
    assert (result.world_size, result.resumed_from_epoch) == (2, 2)
    assert (result.samples_seen, result.samples_learned, result.learned_reason) == (4 * 102, 4 * 101, "")
    assert (result.step_samples, len(result.rank_works_s)) == (32, 2)
    assert all(0 < work_s < time_s for work_s, time_s in zip(result.rank_works_s, result.rank_times_s, strict=True))
    assert [point["step"] for point in result.curves if point["key"] == "val_score"] == [4, 8, 12, 16]
    assert len(result.rank_times_s) == 2
    assert outcome.wall_s == pytest.approx(outcome.launch_s + result.fit_s)
    assert digest_of(Path(result.weights_file)) == result.weights_digest
    (restart,) = _named(events, "restart")
    assert restart["reason"] == "fit: rank 1 was killed by SIGKILL"
    assert restart["from_epoch"] == 2
    assert {event["rank"] for event in _named(events, "progress")} == {0}


def test_two_ranks_with_a_sampler_of_the_users_count_what_it_drew_once(tmp_path: Path, make_spec: SpecMaker) -> None:
    """It draws 77 of 101, so 39 a rank, and one of them twice; two batches of eight go into each step."""
    spec = make_spec(
        reference="tiny:pl_sampled",
        devices=2,
        max_epochs=2,
        trainer={"accumulate_grad_batches": 2},
    )
    result = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=lambda _event: None).result
    assert (result.samples_seen, result.samples_learned) == (2 * 78, 2 * 77)
    assert result.step_samples == 2 * 2 * 8
    assert (result.steps, result.epochs) == (6, 2)
    assert result.steady_samples == 2 * 78 - 2 * 8


def test_a_fit_whose_parent_was_stopped_is_continued_from_where_it_was(tmp_path: Path, make_spec: SpecMaker) -> None:
    def stop_after_two_epochs(event: Any) -> None:
        if event["event"] == "checkpoint" and event["epoch"] == 2:
            raise Interrupted(15)

    spec = make_spec(reference="tiny:li_plain", max_epochs=5)
    with pytest.raises(Interrupted):
        fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=stop_after_two_epochs)
    resumed = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=lambda _event: None)
    assert resumed.result.resumed_from_epoch is not None
    assert resumed.result.resumed_from_epoch >= 2
    assert resumed.result.samples_seen == 5 * 101
    assert resumed.launch_s > 0
    assert sorted(path.name for path in (tmp_path / "fit").glob("attempt-*")) == ["attempt-1", "attempt-2"]


def test_two_nodes_need_a_launcher_that_spans_them(tmp_path: Path, make_spec: SpecMaker) -> None:
    with pytest.raises(UsageError, match=r"train\.nodes = 2"):
        fit(make_spec(nodes=2), folder=tmp_path, limits=PATIENT, on_event=lambda _event: None, launcher="local")


def test_options_of_the_trainer_reach_two_ranks(tmp_path: Path, make_spec: SpecMaker) -> None:
    """`options.py` raises where one of them did not; four batches a rank, two a step."""
    trainer = {
        "precision": "bf16-mixed",
        "gradient_clip_val": 0.05,
        "accumulate_grad_batches": 2,
        "deterministic": True,
        "strategy": "ddp_find_unused_parameters_true",
    }
    spec = make_spec(reference="options:pipeline", devices=2, max_epochs=2, trainer=trainer)
    result = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=lambda _event: None).result
    assert (result.steps, result.step_samples) == (4, 64)


def test_the_parent_of_a_fit_loads_no_torch() -> None:
    code = "import sys, plaster_ops.training.launch; print(sorted({'torch', 'numpy', 'lightning'} & set(sys.modules)))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.stdout.strip() == "[]"


def test_the_skew_of_two_ranks_is_what_one_of_them_does_longer(tmp_path: Path, make_spec: SpecMaker) -> None:
    """Rank 1 sleeps 0.03 s in each of its 12 steps, in a model whose batch norm is copied from rank 0."""
    spec = make_spec(reference="parts:uneven_norm", devices=2, max_epochs=3)
    result = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=lambda _event: None).result
    first, second = result.rank_works_s
    assert result.steps == 12
    assert second - first > 0.8 * 12 * 0.03
    (row,) = [row for row in fit_rows(result.to_json()) if row.metric is DDP_RANK_SKEW_RATIO]
    assert isinstance(row, Reading)
    assert row.value == second / first
