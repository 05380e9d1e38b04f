"""The newest rows of the ledger, of one pipeline and of all, and that finding them does not read the old ones."""

from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.slots import SlotLedger


def filled(journal: Journal) -> SlotLedger:
    ledger = SlotLedger(journal.file)
    causes, states = list(Cause), list(SlotState)
    with ledger.write() as write:
        write.add(
            Slot(
                pipeline="abc"[n % 3], planned_s=float(n // 2), due_s=0.0, cause=causes[n % 4], state=states[n // 3 % 7]
            )
            for n in range(200)
        )
    return ledger


def names(slots: list[Slot]) -> list[tuple[str, str, float]]:
    return [slot.name for slot in slots]


def test_the_newest_are_those_that_a_sort_of_all_would_give(journal: Journal) -> None:
    ledger = filled(journal)
    every = ledger.between("b", -1.0, 1e9)
    wanted = sorted(every, key=lambda slot: slot.planned_s, reverse=True)
    assert [slot.planned_s for slot in ledger.newest("b", 15)] == [slot.planned_s for slot in wanted[:15]]
    assert set(names(ledger.newest("b", 1000))) == set(names(every))
    assert {slot.pipeline for slot in ledger.newest("b", 1000)} == {"b"}


def test_the_newest_of_all_pipelines_are_in_order_too(journal: Journal) -> None:
    ledger = filled(journal)
    every = [slot for name in "abc" for slot in ledger.between(name, -1.0, 1e9)]
    planned = sorted((slot.planned_s for slot in every), reverse=True)
    assert [slot.planned_s for slot in ledger.newest(None, 31)] == planned[:31]


def test_those_that_ended_are_left_when_the_open_ones_are_taken_out(journal: Journal) -> None:
    ledger = filled(journal)
    ended = ledger.newest("a", 1000, ended=True)
    assert {slot.state for slot in ended} == set(SlotState) - {SlotState.DUE, SlotState.RUNNING}
    assert len(ended) == sum(slot.state in {s.state for s in ended} for slot in ledger.newest("a", 1000))


def test_every_pipeline_that_has_a_row_is_known(journal: Journal) -> None:
    assert SlotLedger(journal.file).pipelines() == []
    assert filled(journal).pipelines() == ["a", "b", "c"]


def test_neither_question_reads_the_whole_table(journal: Journal) -> None:
    from plaster_ops.tracking.slots import _NEWEST, _NEWEST_ENDED, _PIPELINES

    for sql, values in ((_NEWEST, ("a", 5)), (_NEWEST_ENDED, ("a", 5)), (_PIPELINES, ())):
        plan = [row["detail"] for row in journal.file.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert [line for line in plan if line.startswith("SCAN slots") and "INDEX" not in line] == []
