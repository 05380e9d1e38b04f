"""The history: one line a retrain, the champion starred, skips and failures with their reason."""

from typing import Any

import pytest

from plaster_ops.domain.metrics import HEADLINES
from plaster_ops.report.history_table import history_markdown, history_plain, history_view
from plaster_ops.report.table import print_view


def row(index: int | None, **changed: Any) -> dict[str, Any]:
    values = {metric.key: 1.5 for metric in HEADLINES} | {"energy/inferences_per_j": None}
    plain = {
        "pipeline": "digits",
        "index": index,
        "state": "finished",
        "verdict": "promoted",
        "champion": False,
        "started_at": "2026-11-23T15:05:33.700+00:00",
        "headlines": values,
        "reasons": ["no gate failed"],
    }
    return plain | changed


ROWS = [
    row(1),
    row(2, champion=True),
    row(None, state="skipped", verdict="skipped", headlines={}, reasons=["nothing new arrived since 5"]),
    row(3, state="failed", verdict="failed", headlines={}, reasons=["loss is NaN\nin epoch 2 | step 5"]),
    row(4, state="interrupted", verdict=None, headlines={}, reasons=[]),
]


def test_each_row_is_one_line_in_aligned_columns() -> None:
    head, *lines, foot = history_plain(ROWS).splitlines()
    assert len(lines) == len(ROWS)
    assert foot == "* champion"
    column = head.index("verdict")
    assert [line[column:].split()[0] for line in lines] == ["promoted", "promoted", "skipped", "failed", "interrupted"]


def test_the_champion_has_a_star_and_a_skip_no_number() -> None:
    lines = history_plain(ROWS).splitlines()[1:-1]
    assert [line.split()[0] for line in lines[:2]] == ["1", "2*"]
    assert lines[2].startswith("    2026-11-23 15:05")


def test_rows_of_several_pipelines_say_whose_they_are() -> None:
    both = [*ROWS[:2], {**ROWS[0], "pipeline": "other"}]
    assert [line.split()[:2] for line in history_plain(both).splitlines()[1:-1]] == [
        ["digits", "1"], ["digits", "2*"], ["other", "1"],
    ]  # fmt: skip
    assert "| other 1 |" in history_markdown(both)


def test_a_value_that_was_not_measured_is_not_a_zero() -> None:
    assert "n/a" in history_plain(ROWS[:1])
    assert "n/a" not in history_plain(ROWS[2:3])


def test_every_headline_has_a_column() -> None:
    head = history_plain(ROWS).splitlines()[0]
    for metric in HEADLINES:
        assert f"{metric.letter} {metric.key.partition('/')[2]}" in head


def test_markdown_keeps_one_line_a_row_and_escapes_bars() -> None:
    lines = history_markdown(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "loss is NaN in epoch 2 \\| step 5" in lines[5]


def test_a_terminal_shows_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_view(history_view(ROWS), plain=False, width=220)
    text = capsys.readouterr().out
    assert "nothing new arrived since 5" in text
    assert "2*" in text
