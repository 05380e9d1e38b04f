"""`schedule install` and `schedule apply`, as they are typed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.testing

from plaster_ops.errors import PlasterError, SettingsError, UsageError
from scheduler.cli import app
from scheduler.commands import install
from scheduler.install import places
from tests.scheduler.install.samples import NIGHTLY
from tests.scheduler.install.test_places import crontab

SECOND = '\n[pipelines.fraud]\nref = "m:p"\ncadence = { every = "6h" }\n'


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    out: str
    err: str


Ask = Callable[..., Said]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "churn"
    folder.mkdir()
    (folder / "plaster.toml").write_text(NIGHTLY, encoding="utf-8")
    return folder


@pytest.fixture
def ask(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a command line in that project; the crontab is a file of the test's own. Raises what the command raises."""
    place = crontab(tmp_path)
    monkeypatch.setattr(places, "UsersCrontab", lambda: place)
    runner = typer.testing.CliRunner()

    def run(*words: str, stdin: str = "") -> Said:
        done = runner.invoke(app, [*words, "--project", str(project)], input=stdin)
        if isinstance(done.exception, PlasterError):
            raise done.exception
        assert done.exit_code == 0, (done.exception, done.output)
        return Said(out=done.stdout, err=done.stderr)

    return run


def test_a_crontab_is_shown_then_written_then_left_alone_then_cleared(ask: Ask, project: Path, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text("5 4 * * * mine\n")
    assert f"+# plaster-ops BEGIN {project}" in ask("install", "--crontab", "--diff").out
    assert tab.read_text() == "5 4 * * * mine\n"
    assert ask("install", "--crontab").out == "changed crontab\n"
    written = tab.read_text()
    assert written.startswith("5 4 * * * mine\n# plaster-ops BEGIN")
    assert ask("install", "--crontab").out == "nothing to change\n"
    assert ask("install", "--crontab", "--dry-run", "--remove").out.count("\n-") > 3
    assert tab.read_text() == written
    ask("install", "--crontab", "--remove")
    assert tab.read_text() == "5 4 * * * mine\n"


def test_a_crontab_that_held_nothing_else_is_gone_after_remove(ask: Ask, tmp_path: Path) -> None:
    ask("install", "--crontab")
    assert ask("install", "--crontab", "--remove").out == "removed crontab\n"
    assert not (tmp_path / "tab").exists()
    assert ask("install", "--crontab", "--remove").out == "nothing to change\n"


def test_a_pipeline_that_is_gone_disappears_from_a_file(ask: Ask, project: Path, tmp_path: Path) -> None:
    file = tmp_path / "cron.txt"
    (project / "plaster.toml").write_text(NIGHTLY + SECOND)
    ask("install", "--crontab", "--output", str(file))
    assert " once fraud " in file.read_text()
    (project / "plaster.toml").write_text(NIGHTLY)
    ask("install", "--crontab", "--output", str(file))
    assert " once fraud " not in file.read_text()
    assert " once churn " in file.read_text()


def test_the_zone_of_another_machines_cron_can_be_named(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "cron.txt"
    ask("install", "--crontab", "--output", str(file), "--zone", "Europe/Paris")
    assert "\n0 2 * * * cd " in file.read_text()
    ask("install", "--crontab", "--output", str(file), "--zone", "Asia/Tokyo")
    assert "\n0 * * * * cd " in file.read_text()
    with pytest.raises(UsageError, match="no time zone"):
        ask("install", "--crontab", "--zone", "Paris")


def test_a_crontab_that_sets_a_zone_is_warned_of(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("CRON_TZ=Asia/Tokyo\n")
    assert "CRON_TZ=Asia/Tokyo" in ask("install", "--crontab").err


def test_units_are_printed_unless_a_place_is_named(ask: Ask, tmp_path: Path) -> None:
    said = ask("install", "--systemd", "--user").out
    assert "# ---- plaster-ops-churn-churn.timer\n" in said
    assert "OnCalendar=*-*-* 02:00:00 Europe/Paris\n" in said
    folder = tmp_path / "units"
    first = ask("install", "--systemd", "--user", "--output", str(folder)).out
    assert "next: systemctl --user enable --now plaster-ops-churn-churn.timer\n" in first
    assert ask("install", "--systemd", "--user", "--output", str(folder)).out == "nothing to change\n"
    gone = ask("install", "--systemd", "--user", "--output", str(folder), "--remove").out
    assert "next: systemctl --user disable --now plaster-ops-churn-churn.timer\n" in gone
    assert list(folder.iterdir()) == []


def test_units_of_the_user_go_where_systemd_looks_when_told(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ask("install", "--systemd", "--user", "--write", "--service")
    assert [file.name for file in (tmp_path / "config/systemd/user").iterdir()] == ["plaster-ops-churn.service"]
    assert install._systemd_folder(user=False) == Path("/etc/systemd/system")


def test_manifests_are_printed_or_written(ask: Ask, tmp_path: Path) -> None:
    words = ("install", "--kubernetes", "--set", "image=i:1", "--slug", "other")
    assert "name: plaster-ops-other-churn\n" in ask(*words).out
    folder = tmp_path / "k8s"
    assert f"next: kubectl apply -f {folder}\n" in ask(*words, "--output", str(folder)).out
    assert ask(*words, "--output", str(folder)).out == "nothing to change\n"


def test_exactly_one_place_and_a_cadence_are_needed(ask: Ask, project: Path) -> None:
    for words in ((), ("--crontab", "--systemd")):
        with pytest.raises(UsageError, match="say where"):
            ask("install", *words)
    (project / "plaster.toml").write_text('[pipelines.idle]\nref = "m:p"\n')
    with pytest.raises(SettingsError, match="no pipeline has a cadence"):
        ask("install", "--crontab")


def test_what_only_the_service_looks_for_is_said(ask: Ask, project: Path) -> None:
    (project / "plaster.toml").write_text(NIGHTLY + "trigger = { on_data = true }\n")
    assert "make 'churn' due only where the service runs" in ask("install", "--crontab").err


def test_a_variable_that_alerts_need_is_named_when_the_timer_is_made(ask: Ask, project: Path) -> None:
    (project / "plaster.toml").write_text(NIGHTLY + 'alerts = [{ kind = "webhook", url_env = "HOOK" }]\n')
    assert "alerts need HOOK in the environment" in ask("install", "--crontab").err
    assert "HOOK" not in ask("install", "--crontab").err


def test_apply_makes_settings_and_timers_what_the_file_says_and_twice_is_as_once(
    ask: Ask, project: Path, tmp_path: Path
) -> None:
    wanted = tmp_path / "wanted.toml"
    wanted.write_text("# ours\n" + NIGHTLY + SECOND)
    units = tmp_path / "units"
    words = ("apply", str(wanted), "--crontab", "--systemd", str(units), "--user")
    shown = ask(*words, "--diff").out
    assert "+[pipelines.fraud]" in shown
    assert not units.exists()
    done = ask(*words).out
    assert f"changed {project}/plaster.toml\nwrote crontab\n" in done
    assert (project / "plaster.toml").read_text() == wanted.read_text()
    assert len(list(units.iterdir())) == 4
    assert ask(*words).out == "nothing to change\n"
    assert ask("apply", "-", *words[2:], stdin=wanted.read_text()).out == "nothing to change\n"


def test_apply_takes_out_what_the_file_does_not_say_any_more(ask: Ask, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "k8s"
    words = ("--kubernetes", str(folder), "--set", "image=i", "--crontab")
    ask("apply", "-", *words, stdin=NIGHTLY + SECOND)
    assert len(list(folder.iterdir())) == 2
    said = ask("apply", "-", *words, stdin=NIGHTLY).out
    assert "next: kubectl delete cronjob plaster-ops-churn-fraud\n" in said
    assert " once fraud " not in (tmp_path / "tab").read_text()
    ask("apply", "-", *words, stdin='[pipelines.churn]\nref = "m:p"\n')
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "tab").exists()
    assert (project / "plaster.toml").read_text() == '[pipelines.churn]\nref = "m:p"\n'


def test_apply_changes_nothing_where_the_file_is_no_settings(ask: Ask, project: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown key"):
        ask("apply", "-", "--crontab", stdin=NIGHTLY + "cadense = 1\n")
    with pytest.raises(UsageError, match="say what to apply"):
        ask("apply")
    with pytest.raises(UsageError, match="cannot be read"):
        ask("apply", str(tmp_path / "nothing.toml"))
    assert (project / "plaster.toml").read_text() == NIGHTLY
    assert not (tmp_path / "tab").exists()


def test_settings_in_pyproject_are_never_overwritten(ask: Ask, project: Path) -> None:
    (project / "plaster.toml").unlink()
    table = '[tool.plaster-ops.pipelines.churn]\nref = "m:p"\ncadence = { cron = "@daily" }\n'
    (project / "pyproject.toml").write_text(table)
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        ask("apply", "-", stdin=NIGHTLY)
    assert ask("apply", "--crontab").out == "wrote crontab\n"
    assert (project / "pyproject.toml").read_text() == table
