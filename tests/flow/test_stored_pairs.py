"""Any two runs of the past are compared sample by sample, where they were scored on the same samples."""

import random
from pathlib import Path

import numpy as np

from plaster_ops.domain.metrics import ENGINE_SCORE, ROLLING_SCORE
from plaster_ops.flow.comparison import compare_runs
from plaster_ops.flow.stored_pairs import stored_pairs
from plaster_ops.plaster.answer_record import SetRecord
from plaster_ops.plaster.compact import right_rows
from plaster_ops.plaster.resampling import score_of_samples
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from tests.tracking.samples import make_record, start


def finished(journal: Journal, folder: Path, share: float, *, golden: str = "g", rolling: str = "r") -> RunRow:
    """A run that has that share of its samples right."""
    source = random.Random(str(share))
    scores = np.array([float(source.random() < share) for _ in range(800)])
    sets = {name: SetRecord(engines={"now": score_of_samples(scores)}) for name in ("rolling", "golden")}
    row = start(journal)
    record = make_record(row.uid, row.index or 0, engine_folder=str(folder / "pruned"))
    journal.finish_run(row.uid, record, evidence=right_rows(sets, {"rolling": rolling, "golden": golden}))
    return journal.run(row.uid)


def test_runs_pair_on_the_sets_that_both_were_scored_on(settings: Settings, tmp_path: Path) -> None:
    with Journal.open(settings.memory) as journal:
        old, new = finished(journal, tmp_path, 0.95, rolling="monday"), finished(journal, tmp_path, 0.80)
        found = stored_pairs(journal, new.uid, old.uid)
    assert set(found) == {ENGINE_SCORE.key}
    assert found[ENGINE_SCORE.key].p_value is not None
    assert found[ENGINE_SCORE.key].p_value < 1e-6


def test_a_stored_comparison_judges_the_score(settings: Settings, tmp_path: Path) -> None:
    with Journal.open(settings.memory) as journal:
        for share in (0.95, 0.80):
            finished(journal, tmp_path, share)
    payload = compare_runs(settings, None, ("2", "1"), profile="smoke", stored=True, tell=lambda _: None, start_s=0.0)
    rows = {row["key"]: row for row in payload["comparison"]}
    assert (rows[ROLLING_SCORE.key]["verdict"], rows[ROLLING_SCORE.key]["how"]) == ("worse", "stored")
    assert rows[ROLLING_SCORE.key]["ci95"][1] < 0
