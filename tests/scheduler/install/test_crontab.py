"""The block of a project in a crontab, and what stands around it."""

import subprocess
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from plaster_ops.errors import UsageError
from scheduler.install.call import Call, own_program
from scheduler.install.crontab import crontab_block, put_block, zone_settings
from tests.scheduler.install.samples import NIGHTLY, NOW_S, settings_of, tool

PARIS = ZoneInfo("Europe/Paris")
OTHERS = "MAILTO=me\n# plaster-ops BEGIN /srv/other\n1 1 * * * true\n# plaster-ops END /srv/other\n5 4 * * * mine"


def block_of(folder: Path, text: str = NIGHTLY, program: tuple[str, ...] = ("/opt/bin/plaster-ops",)) -> str:
    settings = settings_of(folder, text)
    return crontab_block(settings, Call(project=str(folder), program=program), PARIS, "Europe/Paris", NOW_S)


def test_a_line_goes_to_the_project_and_calls_once_by_absolute_paths(tmp_path: Path) -> None:
    lines = block_of(tmp_path).splitlines()
    assert lines[0] == f"# plaster-ops BEGIN {tmp_path}"
    assert lines[-1] == f"# plaster-ops END {tmp_path}"
    assert lines[-2] == (
        f"0 2 * * * cd {tmp_path} && mkdir -p mlruns/scheduler/logs && exec /opt/bin/plaster-ops schedule once churn"
        f" --trigger cron --project {tmp_path} --quiet >> mlruns/scheduler/logs/churn.cron.log 2>&1"
    )


def test_cron_and_the_shell_give_back_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "it's 100%"
    text = NIGHTLY.replace("churn", '"a b%c"')
    line = block_of(folder, text, ("printf", "<%s>")).splitlines()[-2]
    command = line.split(" ", 5)[5]
    assert "%" not in command.replace("\\%", "")
    folder.joinpath("mlruns/scheduler/logs").mkdir(parents=True)
    subprocess.run(["/bin/sh", "-c", command.replace("\\%", "%")], check=True)
    said = folder.joinpath("mlruns/scheduler/logs/a_b_c.cron.log").read_text()
    assert said == f"<schedule><once><a b%c><--trigger><cron><--project><{folder}><--quiet>"


def test_debians_crontab_accepts_the_block(tmp_path: Path) -> None:
    text = NIGHTLY + '[pipelines.often]\nref = "m:p"\ncadence = { every = "90m" }\n'
    text += (
        '[pipelines.odd]\nref = "m:p"\ncadence = { cron = "5-59/15 9-17 * jan-jun mon", timezone = "Europe/Paris" }\n'
    )
    file = tmp_path / "tab"
    file.write_text(block_of(tmp_path, text))
    done = subprocess.run([tool("crontab"), "-n", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file.write_text(file.read_text().replace("9-17", "9-77"))
    assert subprocess.run([tool("crontab"), "-n", str(file)], capture_output=True, check=False).returncode == 1


def test_putting_a_block_twice_is_as_once_and_touches_nothing_else(tmp_path: Path) -> None:
    block = block_of(tmp_path)
    once = put_block(OTHERS, str(tmp_path), block)
    assert once == OTHERS + "\n" + block
    assert put_block(once, str(tmp_path), block) == once
    moved = put_block(once + "9 9 * * * later\n", str(tmp_path), block.replace("0 2 *", "0 3 *"))
    assert moved == OTHERS + "\n" + block.replace("0 2 *", "0 3 *") + "9 9 * * * later\n"


def test_taking_the_block_out_leaves_the_others(tmp_path: Path) -> None:
    text = put_block(OTHERS + "\n", str(tmp_path), block_of(tmp_path))
    assert put_block(text, str(tmp_path), "") == OTHERS + "\n"
    assert put_block(OTHERS, str(tmp_path), "") == OTHERS


@pytest.mark.parametrize("text", ["# plaster-ops BEGIN /p\n1 1 * * * x\n", "x\n# plaster-ops END /p\n"])
def test_a_mark_without_its_other_one_is_not_guessed_at(text: str) -> None:
    with pytest.raises(UsageError, match="is missing"):
        put_block(text, "/p", "block\n")


def test_a_pipeline_without_a_cadence_has_no_line(tmp_path: Path) -> None:
    assert block_of(tmp_path, '[pipelines.idle]\nref = "m:p"\n') == ""


def test_a_line_longer_than_cron_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cron reads 1,000"):
        block_of(tmp_path, program=("/" + "x" * 900,))


def test_a_name_that_cannot_be_quoted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written into a timer"):
        block_of(tmp_path, NIGHTLY.replace("churn", r'"a\\b"'))


def test_lines_that_set_a_zone_are_noticed() -> None:
    assert zone_settings("CRON_TZ=UTC\n TZ = UTC\n# TZ=UTC\nMYTZ=1\n") == ["CRON_TZ=UTC", " TZ = UTC"]


def test_the_program_is_an_absolute_path_that_can_be_run() -> None:
    words = own_program()
    assert Path(words[0]).is_absolute()
    assert words[1:] in ((), ("-m", "plaster_ops"))
