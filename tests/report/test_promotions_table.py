"""The ledger of champions as text: one line each, whatever somebody gave as the reason."""

from typing import Any

from plaster_ops.report.promotions_table import promotions_markdown, promotions_plain

ANSWER: dict[str, Any] = {
    "promotions": [
        {
            "at": "2026-11-28T02:00:00.000+00:00",
            "index": 2,
            "from": {"index": 1},
            "by": "ann",
            "kind": "promote",
            "forced": True,
            "reason": "new\x1b[31m terms\n| <b>today</b>",
        }
    ],
    "champion": {"index": 2},
    "rollbacks": [{"index": 1}],
}


def test_a_reason_is_one_line_that_a_terminal_does_not_obey() -> None:
    head, line, foot = promotions_plain(ANSWER).splitlines()
    assert head.startswith("when (UTC)")
    assert line.endswith("promote, forced  new [31m terms | <b>today</b>")
    assert foot == "champion #2; a rollback goes to #1"


def test_a_reason_is_no_markup_and_ends_no_cell() -> None:
    line = next(line for line in promotions_markdown(ANSWER).splitlines() if "#2" in line)
    assert "\\| &lt;b&gt;today" in line
    assert "\x1b" not in line
