"""Real gangs of real Lightning: the parent starts them, loses ranks, and goes on. Each start costs seconds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.card import Reading
from plaster_ops.domain.metrics import DDP_RANK_SKEW_RATIO
from plaster_ops.errors import ChildFailed, TrainingFailed, UsageError
from plaster_ops.plaster.learning import fit_rows
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from plaster_ops.training.launchers.seam import Attempt
from plaster_ops.training.resume import complete, unfinished_path
from tests.training.conftest import SpecMaker

PATIENT = Limits(timeout_s=240, idle_s=120, grace_s=1.0)


class Dying:
    """A launcher whose ranks end as `kind` says, those of the first attempts after one more checkpoint each."""

    spans_nodes = False
    kind, further = "signal", 0

    def run(self, attempt: Attempt) -> list[dict[str, Any]]:
        number = int(attempt.folder.name.removeprefix("attempt-"))
        if number <= self.further:
            folder, spec = Path(attempt.spec.checkpoint_folder), attempt.spec
            folder.mkdir(exist_ok=True)
            unfinished_path(folder).write_bytes(b"state")
            complete(folder, epoch=number, step=number, fit_id=spec.fit_id(), log={}, world_size=1)
        raise ChildFailed("fit", "it was so", "", kind=self.kind)


@pytest.mark.parametrize(
    ("kind", "further", "attempts"),
    [("signal", 0, 3), ("exit", 0, 3), ("signal", 9, 3), ("exception", 0, 1), ("exception", 1, 2), ("exception", 9, 3)],
)
def test_ranks_that_die_are_started_again_so_often_and_a_bug_only_where_it_came_further(
    tmp_path: Path, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, kind: str, further: int, attempts: int
) -> None:
    monkeypatch.setattr(Dying, "kind", kind)
    monkeypatch.setattr(Dying, "further", further)
    events: list[Any] = []
    with pytest.raises(TrainingFailed, match="it was so"):
        fit(make_spec(), folder=tmp_path, limits=PATIENT, on_event=events.append, launcher=f"{__name__}:Dying")
    assert [event["attempt"] for event in events if event["event"] == "attempt"] == list(range(1, attempts + 1))
    resumed = [event["resumed_from_epoch"] for event in events if event["event"] == "attempt"]
    assert resumed == [min(number, further) or None for number in range(attempts)]


def test_two_nodes_need_a_launcher_that_spans_them(tmp_path: Path, make_spec: SpecMaker) -> None:
    with pytest.raises(UsageError, match=r"train\.nodes = 2"):
        fit(make_spec(nodes=2), folder=tmp_path, limits=PATIENT, on_event=lambda _event: None, launcher="local")


def test_options_and_a_sampler_of_the_users_reach_two_ranks(tmp_path: Path, make_spec: SpecMaker) -> None:
    """`options.py` raises where an option did not. The sampler draws 77 of 101, so 39 a rank, and one of them twice,
    which counts once; two batches of eight go into each step."""
    trainer = {
        "precision": "bf16-mixed",
        "gradient_clip_val": 0.05,
        "accumulate_grad_batches": 2,
        "deterministic": True,
        "strategy": "ddp_find_unused_parameters_true",
    }
    spec = make_spec(reference="options:pipeline", devices=2, max_epochs=2, trainer=trainer)
    result = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=lambda _event: None).result
    assert (result.samples_seen, result.samples_learned) == (2 * 78, 2 * 77)
    assert (result.steps, result.epochs, result.step_samples) == (6, 2, 2 * 2 * 8)
    assert result.steady_samples == 2 * 78 - 2 * 8


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
