"""Retrains of an unchanged architecture: one build, then new weights in the same compiled package."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Ended, let_arrive, make_project, run_command
from tests.e2e.test_engines import settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ended]]:
    """Two retrains on newly arriving data."""
    engine = 'backends = ["inductor"], precisions = ["fp32"]'
    project = make_project(tmp_path_factory.mktemp("nights") / "project", settings(engine))
    ended = [run_command(project, "retrain", "--no-measure", "--json")]
    let_arrive(project, 360)
    ended.append(run_command(project, "retrain", "--no-measure", "--json"))
    return project, ended


def test_the_first_night_builds_and_the_second_refits(nights: tuple[Path, list[Ended]]) -> None:
    _, ended = nights
    assert [night.code for night in ended] == [0, 0], ended[-1].err
    engines = [night.payload["engine"] for night in ended]
    assert [engine["decision"] for engine in engines] == ["build", "refit"]
    assert [engine["refits_since_build"] for engine in engines] == [0, 1]
    assert len({engine["weights_digest"] for engine in engines}) == 2
    assert len({engine["graph_digest"] for engine in engines}) == 1


def test_a_refit_is_told_in_seconds_that_it_saved(nights: tuple[Path, list[Ended]]) -> None:
    _, ended = nights
    first, second = ended[0].payload, ended[1].payload
    card = {row["key"]: row["value"] for row in second["card"]}
    built_s, refitted_s = first["engine"]["stage_s"], second["engine"]["stage_s"]
    assert second["engine"]["full_build_stage_s"] == built_s
    assert refitted_s < built_s / 4
    assert second["engine"]["refit_s"] < built_s / 1000
    assert card["learning/refit_saved_s"] == pytest.approx(built_s - refitted_s)
    assert card["learning/refits_since_build_count"] == 1
    assert "refit_saved_s" in json.dumps(second)


def test_every_night_is_checked_against_its_own_eager_model(nights: tuple[Path, list[Ended]]) -> None:
    project, _ = nights
    parities = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((project / "mlruns" / "runs").glob("*/*/artifacts/parity.json"))
    ]
    assert len(parities) == 2
    assert all(parity["ok"] for parity in parities)
