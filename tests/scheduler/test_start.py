"""`schedule start` as a process: what it serves follows the service that it is part of."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from tests.scheduler.conftest import MakeProject


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
        return json.loads(answer.read())


def read_until(process: "subprocess.Popen[str]", pattern: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"it ended without {pattern!r}")


def test_the_page_is_there_while_the_service_is_and_hears_of_new_settings(make_project: MakeProject) -> None:
    settings = make_project(first='cadence = { cron = "0 0 1 1 *" }')
    command = [sys.executable, "-m", "plaster_ops", "schedule", "start", "--project", str(settings.project)]
    process = subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        address = read_until(process, r"what is going on: http://(\S+)")
        assert ask(address, "/healthz")["ok"] is True
        told = ask(address, "/api/status")
        assert [each["pipeline"] for each in told["pipelines"]] == ["first"]
        assert told["service"]["state"] in ("alive", "none")  # before its first beat there is no heartbeat yet
        make_project(first='cadence = { cron = "0 0 1 1 *" }', second="")
        process.send_signal(signal.SIGHUP)
        assert read_until(process, r"settings read again: (\d) pipelines") == "2"
        told = ask(address, "/api/status")
        assert [each["pipeline"] for each in told["pipelines"]] == ["first", "second"]
        assert told["service"]["pid"] in (process.pid, None)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", True), ("trigger = { min_new_samples = 5 }", True), ("trigger = { on_drift = ['inputs'] }", False)],
)
def test_it_says_where_nothing_will_ever_be_due(make_project: MakeProject, text: str, wanted: bool) -> None:
    settings = make_project(first=text)
    command = [sys.executable, "-m", "plaster_ops", "schedule", "start", "--project", str(settings.project)]
    with subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "what is going on" in line:
                break
        process.kill()
    assert any("nothing will be due by itself" in line for line in said) is wanted
    assert "keeping the schedule of 1 pipeline in" in said[0]


def test_an_address_in_use_is_wrong_use_and_leaves_the_schedule_free(make_project: MakeProject) -> None:
    import socket

    settings = make_project(first="")
    command = [sys.executable, "-m", "plaster_ops", "schedule", "start", "--project", str(settings.project)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run([*command, "--listen", address], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"'{address}' cannot be had" in done.stderr
    assert not (settings.memory / "scheduler" / "heartbeat.json").exists()
