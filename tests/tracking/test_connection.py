"""From the settings' text to a store, and from foreign errors to ours, by real answers of a small loopback server."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from plaster_ops.errors import SettingsError, TrackingUnavailable
from plaster_ops.tracking.connection import Location, resolve_uri, shown
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.names import RecordRefused
from tests.tracking.samples import make_record


class Answering(HTTPServer):
    status: int
    body: bytes
    requests: int


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815 - the name is the standard library's

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), _Handler) as answering:
        answering.requests = 0
        thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield answering
        finally:
            answering.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said", "step"),
    [
        (200, b"<html>It works!</html>", "no MLflow server", "tracking_uri"),
        (404, b"not here", "no MLflow server", "tracking_uri"),
        (401, b"who are you", "refused us", "MLFLOW_TRACKING_"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "refused us", "MLFLOW_TRACKING_"),
        (500, b"oops", "cannot be used", "plaster-ops sync"),
        (503, b"busy", "cannot be used", "plaster-ops sync"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_with_the_next_step(
    server: Answering, status: int, body: bytes, said: str, step: str
) -> None:
    server.status, server.body = status, body
    tracker = MlflowTracker.at(f"http://127.0.0.1:{server.server_port}")
    with tracker, pytest.raises(TrackingUnavailable, match=said) as caught:
        tracker.record(make_record("a" * 32))
    assert not isinstance(caught.value, RecordRefused)
    assert step in caught.value.next_step
    assert server.requests <= 2


def test_a_relative_store_is_taken_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    monkeypatch.chdir(tmp_path)
    found = resolve_uri("sqlite:///mlruns/mlflow.db", project)
    assert found.tracking_uri == f"sqlite:///{project}/mlruns/mlflow.db"
    assert found.artifact_root == f"file://{project}/mlruns/artifacts"
    assert found.database == project / "mlruns" / "mlflow.db"
    assert resolve_uri(f"sqlite:///{tmp_path}/other.db", project).database == tmp_path / "other.db"
    assert resolve_uri("sqlite:///../shared.db", project).database == tmp_path / "shared.db"


def test_a_server_chooses_where_its_artifacts_lie(tmp_path: Path) -> None:
    assert resolve_uri("http://mlflow:5000/", tmp_path) == Location(tracking_uri="http://mlflow:5000")


@pytest.mark.parametrize("text", ["", "mlruns", "./mlruns", "file:///tmp/mlruns", "sqlite:///", "http://", "ftp://x"])
def test_a_text_that_is_no_store_is_a_settings_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="tracking_uri = ") as caught:
        resolve_uri(text, tmp_path)
    assert "sqlite:///mlruns/mlflow.db" in caught.value.next_step


def test_a_password_is_not_shown() -> None:
    assert shown(Location(tracking_uri="https://me:s3cret@mlflow/x")) == "https://me:***@mlflow/x"


def test_a_request_is_never_repeated_blindly(tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    tracker.sweep_stale("nowhere")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
