"""Units of systemd, verified by systemd."""

import subprocess
import sys
from pathlib import Path

import pytest

from plaster_ops.errors import UsageError
from scheduler.install.call import Call, slugs_of
from scheduler.install.units import UnitPlan, next_steps, units
from tests.scheduler.install.samples import NIGHTLY, NOW_S, settings_of, tool

PYTHON = (sys.executable, "-m", "plaster_ops")


def plan_of(project: Path, *, user: str | None = "daemon", service: bool = False) -> UnitPlan:
    call = Call(project=str(project), program=PYTHON)
    return UnitPlan(call=call, slug="My Churn", user=user, service=service)


def verify(folder: Path, files: dict[str, str]) -> str:
    """What `systemd-analyze verify` has to say of them; empty where nothing is wrong."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    words = [tool("systemd-analyze"), "verify", "--man=no", *(str(folder / name) for name in files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"SYSTEMD_UNIT_PATH": f"{folder}:"})
    told = [line for line in done.stderr.splitlines() if str(folder) in line or "plaster-ops" in line]
    assert done.returncode == 0 or told, done.stderr
    return "\n".join(told)


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("user", ["daemon", None])
@pytest.mark.parametrize("service", [False, True])
def test_systemd_finds_nothing_wrong_with_any_unit(tmp_path: Path, user: str | None, service: bool) -> None:
    project = tmp_path / "100% mine, it's"
    text = NIGHTLY + '[pipelines."a b%c"]\nref = "m:p"\ncadence = { every = "90m" }\n'
    files = units(settings_of(project, text), plan_of(project, user=user, service=service), NOW_S)
    assert len(files) == (1 if service else 4)
    assert verify(tmp_path / "units", files) == ""
    name = next(name for name in files if name.endswith(".service"))
    broken = files[name].replace("KillMode=mixed", "KillMode=wrong").replace("ExecStart=", "ExecStart=/nowhere")
    assert "/nowhere" in verify(tmp_path / "broken", files | {name: broken})


def test_a_timer_has_its_zone_and_waits_for_nothing(tmp_path: Path) -> None:
    files = units(settings_of(tmp_path), plan_of(tmp_path), NOW_S)
    timer = files["plaster-ops-my-churn-churn.timer"]
    assert values(timer, "OnCalendar")[0] == "*-*-* 02:00:00 Europe/Paris"
    assert values(timer, "Persistent") == ["true"]
    assert values(timer, "RandomizedDelaySec") == ["0"]
    assert timer.splitlines()[0] == f"# plaster-ops project {tmp_path}"


def test_a_visit_goes_by_absolute_paths_and_may_stop_in_order(tmp_path: Path) -> None:
    project = tmp_path / "my 100%"
    text = NIGHTLY + "[scheduler]\nstop_s = 45\ngrace_s = 100\n"
    settings = settings_of(project, text)
    unit = units(settings, plan_of(project), NOW_S)["plaster-ops-my-churn-churn.service"]
    doubled = str(project).replace("%", "%%")
    assert values(unit, "ExecStart") == [
        f'{sys.executable} -m plaster_ops schedule once churn --trigger cron --project "{doubled}"'
    ]
    assert values(unit, "WorkingDirectory") == [doubled]
    assert values(unit, "TimeoutStopSec") == ["75s"]
    assert values(unit, "SuccessExitStatus") == ["3 75 143"]
    assert values(unit, "User") == ["daemon"]
    keeper = units(settings, plan_of(project, service=True), NOW_S)["plaster-ops-my-churn.service"]
    assert values(keeper, "TimeoutStopSec") == ["175s"]
    assert values(keeper, "RestartPreventExitStatus") == ["2 75"]


def test_units_of_the_users_own_systemd_name_no_user(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    unit = units(settings, plan_of(tmp_path, user=None), NOW_S)["plaster-ops-my-churn-churn.service"]
    assert values(unit, "User") == []
    assert values(unit, "EnvironmentFile") == ["-%h/.config/plaster-ops/my-churn.env"]
    keeper = units(settings, plan_of(tmp_path, user=None, service=True), NOW_S)["plaster-ops-my-churn.service"]
    assert values(keeper, "WantedBy") == ["default.target"]


def test_names_that_cannot_be_quoted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written into a unit"):
        units(settings_of(tmp_path, NIGHTLY.replace("churn", "'a\"b'")), plan_of(tmp_path), NOW_S)


def test_what_is_left_to_do_is_told_in_order(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, user=None)
    assert next_steps(plan, ["a.timer", "a.service"], ["b.timer", "b.service"]) == [
        "systemctl --user disable --now b.timer",
        "systemctl --user daemon-reload",
        "systemctl --user enable --now a.timer",
        "loginctl enable-linger    # else they end when you log out",
    ]


def test_slugs_are_never_alike_and_never_too_long() -> None:
    names = ["churn", "My_Model", "my-model", "my model", "x" * 60, "x" * 61, "..."]
    slugs = slugs_of(names, 30)
    assert slugs["churn"] == "churn"
    assert slugs["my-model"] == "my-model"
    assert len(set(slugs.values())) == len(names)
    assert max(map(len, slugs.values())) <= 30
    assert slugs_of(reversed(names), 30) == slugs
