"""What is wrong around a retrain. A server that is down costs no data; each kind of wrong input has its exit code, a
message with the value and the next step, and leaves the champion untouched."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.alerts.receivers import TOKEN, web_receiver
from tests.e2e.conftest import SETTINGS, Ended, copied, let_arrive, make_project, run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended, list[Ended]]:
    """A project after one retrain, not timed, while its tracking server was down; two of `sync` when it was back.
    Tests must not change it."""
    project = make_project(tmp_path_factory.mktemp("promoted") / "project")
    settings = project / "plaster.toml"
    settings.write_text(SETTINGS.replace("sqlite:///mlruns/mlflow.db", "http://127.0.0.1:9"), encoding="utf-8")
    ended = run_command(project, "retrain", "--no-measure", "--json")
    settings.write_text(SETTINGS, encoding="utf-8")
    return project, ended, [run_command(project, "sync") for _ in range(2)]


@pytest.fixture
def copy_of(promoted: tuple[Path, Ended, list[Ended]], tmp_path: Path) -> Callable[[], Path]:
    return lambda: copied(promoted[0], tmp_path)


def champion_of(project: Path) -> int | None:
    rows = json.loads(run_command(project, "history", "--json").out)["runs"]
    return next((row["index"] for row in rows if row["champion"]), None)


def test_a_tracking_server_that_is_down_costs_no_data_and_sync_replays_once(
    promoted: tuple[Path, Ended, list[Ended]],
) -> None:
    _, ended, synced = promoted
    assert ended.code == 0, ended.err
    assert ended.payload["verdict"] == "baseline"
    assert ended.payload["mlflow"]["run_id"] is None
    assert ended.payload["mlflow"]["spooled"]
    assert ended.payload["phases"]["log_s"] < 20
    assert [one.code for one in synced] == [0, 0], synced[0].err
    for one, expected in zip(synced, ("1 record sent, 0 left", "0 records sent, 0 left"), strict=True):
        assert expected in one.out


def test_an_unknown_pipeline_names_the_nearest_one(copy_of: Callable[[], Path]) -> None:
    project = copy_of()
    ended = run_command(project, "retrain", "flower")
    assert ended.code == 2
    assert "'flower'" in ended.err
    assert "did you mean 'flowers'" in ended.err
    assert "next:" in ended.err


def test_a_misspelt_key_names_the_nearest_one(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", SETTINGS.replace("max_epochs", "max_epoch"))
    ended = run_command(project, "retrain")
    assert ended.code == 2
    assert "pipelines.flowers.train.max_epoch" in ended.err
    assert "'max_epochs'" in ended.err


def test_a_module_that_does_not_import_is_named_with_its_reason(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    (project / "broken.py").write_text("import no_such_package\n", encoding="utf-8")
    ended = run_command(project, "retrain", "broken:pipeline", "--json")
    assert ended.code == 2
    assert "no_such_package" in ended.err
    assert ended.payload["verdict"] == "failed"
    assert ended.payload["exit_code"] == 2


def test_a_loss_that_goes_nan_fails_the_training_keeps_the_champion_and_is_told(copy_of: Callable[[], Path]) -> None:
    """Told to a receiver whose address is in no file of the project, MLflow's included, and on neither stream."""
    project = copy_of()
    let_arrive(project, 360)
    alerts = 'alerts = [{ kind = "webhook", url_env = "PLASTER_TEST_HOOK" }]'
    (project / "plaster.toml").write_text(f"{SETTINGS}\n{alerts}\n", encoding="utf-8")
    with web_receiver() as web:
        env = {"PLASTER_TEST_NAN": "1", "PLASTER_TEST_HOOK": web.url, "no_proxy": "127.0.0.1"}
        ended = run_command(project, "--verbose", "retrain", "--json", env=env)
    assert ended.code == 10, ended.err
    assert "nan" in ended.err.lower()
    assert ended.payload["verdict"] == "failed"
    assert champion_of(project) == 1
    assert web.changes == [("flowers", "failing", "firing")]
    assert web.got[0]["run"]["id"] == ended.payload["mlflow"]["run_id"]
    assert "alert: flowers is failing: #2 failed with exit code 10" in ended.err
    assert TOKEN not in ended.out + ended.err
    files = [file for file in project.rglob("*") if file.is_file()]
    assert project / "mlruns" / "mlflow.db" in files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]


def test_a_model_that_cannot_be_exported_says_so_and_keeps_the_champion(copy_of: Callable[[], Path]) -> None:
    project = copy_of()
    let_arrive(project, 360)
    ended = run_command(project, "retrain", env={"PLASTER_TEST_BRANCH": "1"})
    assert ended.code == 11, ended.err
    assert "export" in ended.err
    assert champion_of(project) == 1


def test_a_golden_set_without_rows_is_refused(copy_of: Callable[[], Path]) -> None:
    project = copy_of()
    let_arrive(project, 360)
    ended = run_command(project, "retrain", env={"PLASTER_TEST_NO_GOLDEN": "1"})
    assert ended.code == 2, ended.err
    assert "golden set has 0 rows" in ended.err
    assert champion_of(project) == 1


def test_an_engine_file_that_was_changed_is_never_loaded(copy_of: Callable[[], Path]) -> None:
    project = copy_of()
    let_arrive(project, 360)
    engines = sorted((project / "mlruns" / "runs" / "flowers").glob("00001-*/engine-*/*.bin"))
    assert engines
    spoilt = bytearray(engines[0].read_bytes())
    spoilt[len(spoilt) // 2] ^= 0xFF
    engines[0].write_bytes(bytes(spoilt))
    ended = run_command(project, "retrain")
    assert ended.code == 11, ended.err
    assert engines[0].name in ended.err
    assert "next:" in ended.err
    assert champion_of(project) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; a file stands in the way instead, below")
def test_a_read_only_memory_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", store=False)
    memory = project / "mlruns"
    memory.mkdir()
    memory.chmod(0o500)
    ended = run_command(project, "retrain")
    assert ended.code == 12
    assert str(memory) in ended.err


def test_a_memory_that_cannot_be_made_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", store=False)
    (project / "mlruns").write_text("in the way", encoding="utf-8")
    ended = run_command(project, "retrain")
    assert ended.code == 12
    assert "mlruns" in ended.err
    assert "next:" in ended.err
