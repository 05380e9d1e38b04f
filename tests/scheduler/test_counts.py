"""Counts that are kept up must equal counts that are made anew."""

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plaster_ops.domain.slots import OPEN, Slot, SlotState
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger
from scheduler.counts import SlotCounts
from tests.scheduler.filled import due, failed, ran


def anew(ledger: SlotLedger) -> dict[tuple[str, str], int]:
    rows = ledger.newest(None, 10_000, ended=True)
    return dict(Counter((slot.pipeline, slot.state.value) for slot in rows))


def test_ended_slots_are_counted_by_pipeline_and_state(journal: Journal) -> None:
    ledger = SlotLedger(journal.file)
    counts = SlotCounts(ledger)
    assert counts.now() == {}
    with ledger.write() as write:
        write.add([ran("a", 1.0), ran("a", 2.0), failed("a", 3.0), ran("b", 1.0), due("b", 2.0)])
    assert counts.now() == {("a", "ran"): 2, ("a", "failed"): 1, ("b", "ran"): 1}


def test_what_has_ended_for_good_is_not_counted_again(journal: Journal) -> None:
    ledger = SlotLedger(journal.file)
    counts = SlotCounts(ledger)
    with ledger.write() as write:
        write.add([ran("a", 1.0), ran("a", 2.0), due("a", 3.0), ran("a", 4.0)])
    assert counts.now() == {("a", "ran"): 3}
    with ledger.file.write() as db:
        db.execute("DELETE FROM slots WHERE planned_s < 3")  # nobody does; it shows what is read
    assert counts.now() == {("a", "ran"): 3}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from(list(SlotState))),
            st.tuples(st.just("end"), st.integers(0, 9)),
            st.just(("look", None)),
        ),
        max_size=30,
    )
)
def test_kept_up_or_counted_anew_is_the_same(journal: Journal, steps: list[tuple[str, object]]) -> None:
    ledger = SlotLedger(journal.file)
    with ledger.file.write() as db:
        db.execute("DELETE FROM slots")
    counts, opened, number = SlotCounts(ledger), list[Slot](), 0
    for what, value in steps:
        if what == "add":
            number += 1
            slot = due("ab"[number % 2], float(number), state=value)
            opened += [slot] if slot.state in OPEN else []
            with ledger.write() as write:
                write.add([slot])
        elif what == "end" and isinstance(value, int) and value < len(opened):
            with ledger.write() as write:
                write.put(replace(opened.pop(value), state=SlotState.RAN))
        elif what == "look":
            assert counts.now() == anew(ledger)
    assert counts.now() == anew(ledger)
