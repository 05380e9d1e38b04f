"""A real MLflow server on a loopback port, killed in the middle of a record and started again."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.outbox import sync
from tests.tracking import census
from tests.tracking.samples import finish, make_small_record, start

START_LIMIT_S = 120.0
READY = ("Application startup complete", "Uvicorn running on")


class Server:
    """`mlflow server` with one worker; `kill` ends it and everything it started at once, as a power cut would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._process = subprocess.Popen(
            command,
            env=os.environ | quiet,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        limit = threading.Timer(START_LIMIT_S, self.kill)
        limit.start()
        said: list[str] = []
        for line in self._process.stdout:
            said.append(line)
            if all(any(words in line for line in said) for words in READY):
                break
        limit.cancel()
        limit.join()
        assert self._process is not None, "".join(said)
        self._drain = threading.Thread(target=self._process.stdout.read)
        self._drain.start()

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._drain is not None:
                self._drain.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = self._drain = None


class KillingAfter:
    """A client that kills the server after the n-th of its writing calls was answered."""

    def __init__(self, client: Any, calls: int, kill: Callable[[], None]) -> None:
        self._client, self._left, self._kill = client, calls, kill

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        if not name.startswith(("create_", "log_", "set_", "finalize_")):
            return member

        def call(*given: Any, **named: Any) -> Any:
            answer = member(*given, **named)
            self._left -= 1
            if self._left == 0:
                self._kill()
            return answer

        return call


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    running = Server(project / "mlruns")
    running.start()
    try:
        yield running
    finally:
        running.kill()


def test_a_server_that_dies_in_the_middle_gets_the_record_once(
    server: Server, journal: Journal, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with MlflowTracker.at(server.uri) as tracker:
        whole = finish_small(journal, tmp_path)
        assert sync(journal, tracker).left == 0
        expected = census.take(tracker, whole, 1)

        cut = finish_small(journal, tmp_path)
        journal.promote("digits", cut, expected=None, by="retrain", reason="ok")
        waiting = finish(journal, folder=tmp_path / "runs")
        client = tracker._client
        tracker._client = KillingAfter(client, 9, server.kill)
        report = sync(journal, tracker)
        assert (report.sent, report.left) == ((), 2)
        assert "cannot be used" in (report.reason or "")

        server.start()
        tracker._client = client
        assert tracker.sweep_stale("nobody") == []
        assert sync(journal, tracker).sent == (cut, waiting.uid)
        assert sync(journal, tracker).sent == ()
        found = census.take(tracker, cut, 2)
        assert found.pop("cadence") == [(2, pytest.approx(1.02))]
        assert found == {key: value for key, value in expected.items() if key != "cadence"}
        assert found["models"] == [("READY", 3)]
        aliases = client.get_registered_model("digits").aliases
        assert {name: int(version) for name, version in aliases.items()} == {"champion": 2, "challenger": 3}
        assert len(census.cadence_of(tracker)) == 1
    assert capfd.readouterr().out == ""


def finish_small(journal: Journal, folder: Path) -> str:
    row = start(journal)
    assert row.index is not None
    journal.finish_run(row.uid, make_small_record(row.uid, row.index, folder / row.uid))
    return row.uid
