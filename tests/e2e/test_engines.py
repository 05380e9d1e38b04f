"""Engines as a user meets them: what is here, a ladder without training, candidates that kill their process."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.engines.registry import BUILT_IN
from tests.e2e.conftest import Ended, make_project, run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FATAL = ("SegfaultingBuild", "HangingBuild", "HungryBuild", "SegfaultingEngine")
LIMIT_S, LIMIT_BYTES = 25.0, 1_500_000_000


def settings(engine: str) -> str:
    return f"""
default = "flowers"
tracking_uri = "sqlite:///mlruns/mlflow.db"

[pipelines.flowers]
ref = "user_module:pipeline"
train = {{ max_epochs = 1, seed = 1 }}
engine = {{ {engine} }}
measure = {{ profile = "smoke", slo_ms = 50.0, batches = [1, 8] }}
"""


def test_engines_lists_every_backend_with_its_versions_or_why_not(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    listed = run_command(project, "engines", "--json")
    assert listed.code == 0, listed.err
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in listed.payload["backends"]}
    assert rows.keys() >= set(BUILT_IN)
    for row in rows.values():
        assert row["versions"] if row["ok"] else row["reason"]
    assert rows["openvino"]["ok"]
    assert "int8" in rows["openvino"]["precisions"]
    told = run_command(project, "engines", "--options")
    assert all(re.search(rf"[-+~]\s+{name}\s", told.out) for name in BUILT_IN)
    assert "openvino.hint: one of latency, throughput" in told.out


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A ladder in which four candidates kill, block or fill the process that they are in."""
    backends = [f"tests.engines.doubles:{name}" for name in FATAL]
    text = (
        f'backends = {json.dumps([*backends, "openvino"])}, precisions = ["fp32"],'
        f" timeout_s = {LIMIT_S}, memory_bytes = {LIMIT_BYTES}"
    )
    project = make_project(tmp_path_factory.mktemp("benched") / "project", settings(text))
    return project, run_command(project, "bench", "flowers", "--no-measure", "--keep", "kept", "--json")


def rows_of(ended: Ended) -> dict[str, dict[str, Any]]:
    return {row["backend"].rpartition(":")[2]: row for row in ended.payload["engine"]["tried"]}


def test_a_candidate_that_ends_its_process_costs_one_row_with_its_reason(benched: tuple[Path, Ended]) -> None:
    _, ended = benched
    assert ended.code == 0, ended.err
    rows = rows_of(ended)
    assert rows.keys() == {*FATAL, "openvino", "eager"}
    assert rows["eager"]["reason"] == "the last resort: not needed"
    assert [name for name, row in rows.items() if row["ok"]] == ["openvino"]
    for name, row in rows.items():
        words = {"Segf": "SIGSEGV: File", "Hang": f"{LIMIT_S:g} s", "Hung": "1.50 GB are allowed"}.get(name[:4], "")
        assert words in (row["reason"] or ""), (name, row["reason"])
        assert "Extension modules" not in (row["reason"] or "")


def test_a_candidate_that_hangs_costs_its_time_limit_and_no_more(benched: tuple[Path, Ended]) -> None:
    rows = rows_of(benched[1])
    assert LIMIT_S <= rows["HangingBuild"]["stage_s"] < LIMIT_S + 5.0


def test_the_engine_that_is_left_is_chosen_and_kept_and_can_be_benched(benched: tuple[Path, Ended]) -> None:
    project, ended = benched
    assert ended.payload["engine"]["backend"] == "openvino"
    assert ended.payload["run"] is None
    assert (project / "kept" / "manifest.json").is_file()
    (project / "plaster.toml").write_text(settings('backends = ["openvino"], precisions = ["fp32"]'), encoding="utf-8")
    again = run_command(project, "bench", "kept", "--json")
    assert again.code == 0, again.err
    card = {row["key"]: row for row in again.payload["card"]}
    assert {key[0] for key in card} | {row["letter"] for row in card.values()} >= set("PLASTER")
    assert card["latency/e2e_p50_ms"]["value"] > 0


def test_bench_records_nothing(benched: tuple[Path, Ended]) -> None:
    project, _ = benched
    told = run_command(project, "history", "--json")
    assert told.payload["runs"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing/here",), "holds no manifest.json"),
        (("flowers", "--precisions", "int3"), "int3"),
        (("flowers", "--backends", "openvin"), "did you mean 'openvino'?"),
        (("99",), "99"),
    ],
)
def test_what_cannot_be_benched_is_named(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    ended = run_command(make_project(tmp_path), "bench", *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert ended.out == ""


def test_an_option_that_no_backend_takes_ends_a_retrain_before_it_starts(tmp_path: Path) -> None:
    engine = 'backends = ["openvino"], options = { enabled_precisions = "fp16" }'
    ended = run_command(make_project(tmp_path, settings(engine), store=False), "retrain")
    assert ended.code == 2
    assert "'enabled_precisions' is unknown to backend 'openvino'" in ended.err
    assert not list(tmp_path.rglob("mlflow.db"))
