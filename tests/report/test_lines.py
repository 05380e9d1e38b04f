"""Rows and sentences that table, Markdown and page share."""

import pytest

from plaster_ops.report.lines import base_name, change_sentence


@pytest.mark.parametrize(
    ("which", "named"),
    [("last", "last #3"), ("champion", "champion #3"), ("3", "#3"), ("5c028670", "#3"), ("<b>", "#3"), (None, "#3")],
)
def test_a_baseline_is_named_by_what_was_asked_for_only_where_that_is_a_word(which: str | None, named: str) -> None:
    assert base_name({"which": which, "index": 3}) == named


def test_of_a_digest_the_beginning_is_enough() -> None:
    change = {"kind": "code", "name": "code", "then": "0123456789abcdef" * 4, "now": "c09f914b7db8e574"}
    assert change_sentence(change) == "code 0123456789ab -> c09f914b7db8"


def test_a_number_and_a_version_are_no_digest() -> None:
    change = {"name": "torch", "then": "2.13.0+cpu", "now": "12345678"}
    assert change_sentence(change) == "torch 2.13.0+cpu -> 12345678"
