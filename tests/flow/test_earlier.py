"""The values that a retrain is held against: of retrains before it, on the same machine, by the same method."""

import pytest

from plaster_ops.domain.metrics import CATALOGUE, TRAIN_TO_ENGINE_S, Scale
from plaster_ops.flow.earlier import earlier_values
from plaster_ops.tracking.journal import Journal
from tests.domain.alarms import alarm
from tests.tracking.samples import finish

KEY = TRAIN_TO_ENGINE_S.key


def fingerprint(journal: Journal) -> str:
    return journal.points("digits", KEY)[-1].fingerprint


def test_the_history_of_a_run_is_what_came_before_it(journal: Journal) -> None:
    for _ in range(3):
        finish(journal)
    here = fingerprint(journal)
    assert earlier_values(journal, "digits", fingerprint=here)[KEY].values == pytest.approx((1.01, 1.02, 1.03))
    assert earlier_values(journal, "digits", fingerprint=here, before=2)[KEY].values == pytest.approx((1.01,))
    assert earlier_values(journal, "power", fingerprint=here)[KEY].values == ()


def test_every_judged_metric_that_is_not_exact_has_one(journal: Journal) -> None:
    found = earlier_values(journal, "digits", fingerprint="")
    assert set(found) == {k for k, m in CATALOGUE.items() if m.margin is not None and m.scale is not Scale.EXACT}


def test_values_of_another_machine_and_of_another_method_are_counted_and_not_used(journal: Journal) -> None:
    finish(journal)
    here = fingerprint(journal)
    finish(journal)
    finish(journal)
    finish(journal)
    with journal.file.write() as db:
        db.execute("UPDATE runs SET fingerprint = 'elsewhere' WHERE number = 2")
        third = "seq = (SELECT seq FROM runs WHERE number = 3)"
        db.execute(f"UPDATE readings SET method = 'learning.v0' WHERE key = ? AND {third}", (KEY,))
    found = earlier_values(journal, "digits", fingerprint=here)[KEY]
    assert (found.values, found.elsewhere, found.otherwise) == (pytest.approx((1.01, 1.04)), 1, 1)


def test_what_came_before_a_change_of_level_that_was_told_is_another_regime(journal: Journal) -> None:
    for _ in range(2):
        finish(journal)
    here = fingerprint(journal)
    told = alarm(3, key=KEY, fingerprint=here)
    finish(journal)
    finish(journal, assessment={"alarms": [told.to_json()]})
    assert earlier_values(journal, "digits", fingerprint=here)[KEY].values == pytest.approx((1.03, 1.04))
    first = earlier_values(journal, "digits", fingerprint=here, before=3)[KEY]
    assert first.values == pytest.approx((1.01, 1.02)), "as it was known then"
