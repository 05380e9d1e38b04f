"""The sketch of a retrain's data is kept with its artifacts, and the next retrain is given it."""

import json
from pathlib import Path
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk


def artifacts(settings: Settings, index: int) -> Path:
    (folder,) = (settings.memory / "runs" / "digits").glob(f"{index:05d}-*")
    return folder / "artifacts"


def row(answer: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [row for row in answer["card"] if row["key"] == key]
    return dict(found)


def test_the_sketch_is_an_artifact_and_the_next_retrain_is_held_against_it(
    retrain: Retrain, walk: Walk, settings: Settings
) -> None:
    first = retrain()
    assert walk.specs["prepare"]["inspect"] == {"check_samples": 2048, "earlier": []}
    assert (artifacts(settings, 1) / "data_sketch.json").read_text() == "sketch 10"
    assert row(first, m.INPUT_DRIFT_RATIO.key)["reason"] == "the first"
    walk.arrived = 14
    second = retrain()
    (earlier,) = walk.specs["prepare"]["inspect"]["earlier"]
    assert (earlier["which"], earlier["index"]) == ("last", 1), "it is the champion too, and named once"
    assert Path(earlier["file"]) == artifacts(settings, 1) / "data_sketch.json"
    drifted = row(second, m.INPUT_DRIFT_RATIO.key)
    assert (drifted["value"], drifted["n"], drifted["reason"]) == (0.25, 12, "against #1")
    assert second["data"]["drift"] == {"of": "inputs", "against": {"last": 1}, "notes": []}


def test_a_champion_that_is_not_the_last_run_is_held_against_too(retrain: Retrain, walk: Walk) -> None:
    retrain()
    walk.arrived = 14
    retrain(promote=False)
    walk.arrived = 18
    retrain()
    assert [(each["which"], each["index"]) for each in walk.specs["prepare"]["inspect"]["earlier"]] == [
        ("last", 2),
        ("champion", 1),
    ]


def test_a_run_that_kept_no_sketch_is_passed_over(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    (artifacts(settings, 1) / "data_sketch.json").unlink()
    walk.arrived = 14
    retrain()
    assert walk.specs["prepare"]["inspect"]["earlier"] == []


def test_the_setting_says_how_many_samples_are_looked_at(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    plain = settings.pipelines["digits"].model_dump() | {"data": {"check_samples": 0}}
    fewer = PipelineSettings.model_validate(plain, strict=False)
    retrain(project=settings.model_copy(update={"pipelines": {"digits": fewer}}))
    assert walk.specs["prepare"]["inspect"]["check_samples"] == 0


def test_what_the_card_says_of_the_data_can_be_had_once_more(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    from plaster_ops.flow.sheet import replay

    retrain()
    walk.arrived = 14
    retrain()
    steps = json.loads((artifacts(settings, 2) / "working.json").read_text())["card"]
    rows = replay([step for step in steps if step["reader"] == "inputs:input_rows"], None)
    assert {r.metric.key: getattr(r, "value", None) for r in rows}[m.INPUT_DRIFT_RATIO.key] == 0.25
