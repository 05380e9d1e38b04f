"""The working of a card: written down, and done again."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.errors import RecordsGone
from plaster_ops.flow.sheet import Sheet, replay
from plaster_ops.plaster import accuracy, latency, programmability, throughput
from plaster_ops.plaster.programmability import UserCode
from tests.plaster.doubles import block, evidence
from tests.plaster.test_rows import MANIFEST, TRIED


def measured() -> Any:
    return evidence([block("now", index, range(1_000_000, 1_000_500)) for index in range(4)])


def test_rows_of_raw_samples_are_the_same_after_a_journey_through_json() -> None:
    found = measured()
    sheet = Sheet(found)
    given = sheet.add(latency.read, found, "now")
    sheet.add(throughput.read, found, "now")
    steps = json.loads(json.dumps(sheet.steps))
    assert replay(steps, found) == sheet.rows
    assert sheet.rows[: len(given)] == given
    assert "latencies" not in json.dumps(steps)


def test_other_samples_give_other_numbers() -> None:
    """The check is one: it does not read the numbers from the record."""
    found = measured()
    sheet = Sheet(found)
    sheet.add(latency.read, found, "now")
    other = evidence([block("now", index, range(2_000_000, 2_000_500)) for index in range(4)])
    values = [{row.metric.key: row for row in rows} for rows in (sheet.rows, replay(sheet.steps, other))]
    assert values[0][m.E2E_P50_MS.key] != values[1][m.E2E_P50_MS.key]


def test_values_of_our_own_are_written_field_by_field() -> None:
    user = UserCode(adapter_lines=3, adapters=1, options=2, custom_ops=("my::op",))
    sheet = Sheet()
    sheet.add(programmability.read, MANIFEST, TRIED, user=user)
    again = replay(json.loads(json.dumps(sheet.steps)), None)
    assert again == sheet.rows
    assert next(row for row in again if row.metric is m.USER_CODE_LINES).value == 5  # type: ignore[union-attr]


@dataclass(frozen=True)
class Foreign:
    number: int


def test_what_cannot_be_written_down_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="object cannot be written down"):
        Sheet().add(accuracy.read, {"better": "higher", "sets": {}, "parity": object()})


@pytest.mark.parametrize("name", ["os:system", "latency:_block_ms", "latency:np", "..errors:PlasterError", "gone:read"])
def test_a_record_can_name_nothing_but_readers(name: str) -> None:
    with pytest.raises(RecordsGone, match="does not have"):
        replay([{"reader": name, "given": [], "named": {}}], None)


def test_a_value_of_another_room_is_refused_on_reading() -> None:
    sheet = Sheet()
    sheet.steps.append({"reader": "accuracy:read", "given": [sheet._written(Foreign(3))], "named": {}})
    with pytest.raises(RecordsGone, match="Foreign"):
        replay(sheet.steps, None)
