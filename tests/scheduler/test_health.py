"""The HTTP server, asked over loopback as a browser, a probe and Prometheus ask it."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings
from scheduler import health, looks
from scheduler.health import Server, parse_address, serve
from tests.scheduler.filled import NOW_S, Filled, filled

SECRET = "hunter2-in-the-environment"


@dataclass
class Alive:
    """What the service says of itself."""

    reason: str | None = None


@dataclass
class Asked:
    """A server on a free port, and how it is asked."""

    server: Server
    alive: Alive
    project: Filled
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **given: str) -> tuple[int, str]:
        headers = {key.replace("_", "-"): value for key, value in given.items()}
        host, _, port = self.server.address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            self.headers = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def listening(settings: Settings, listen: str) -> Settings:
    scheduler = settings.scheduler.model_copy(update={"listen": listen})
    return settings.model_copy(update={"scheduler": scheduler})


@contextmanager
def asked_in(folder: Path) -> Iterator[Asked]:
    with pytest.MonkeyPatch.context() as patch, filled(folder) as project:
        patch.setattr(looks, "KEEP_S", -1.0)
        for module in (health, looks):
            patch.setattr(module, "time", SimpleNamespace(time=lambda: NOW_S, monotonic=time.monotonic))
        alive = Alive()
        with serve(listening(project.settings, "127.0.0.1:0"), lambda: alive.reason) as server:
            yield Asked(server, alive, project)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """For tests that leave the project as it is."""
    with asked_in(tmp_path_factory.mktemp("read")) as server:
        yield server


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Asked]:
    """For tests that change it."""
    with asked_in(tmp_path) as server:
        yield server


# ---- paths ----------------------------------------------------------------------------------------------------------
def test_healthz_is_200_while_the_loop_lives_and_503_with_the_reason_when_not(asked: Asked) -> None:
    status, body = asked.ask("/healthz")
    assert (status, json.loads(body)) == (200, {"ok": True, "at": "2026-11-27T12:40:00+00:00"})
    asked.alive.reason = "the loop has not turned for 70 s"
    status, body = asked.ask("/healthz")
    asked.alive.reason = None
    assert (status, json.loads(body)["reason"]) == (503, "the loop has not turned for 70 s")


def test_healthz_does_not_need_the_ledger(changed: Asked) -> None:
    with changed.project.ledger.file.write() as db:
        db.execute("DROP TABLE slots")
    assert changed.ask("/healthz")[0] == 200
    status, body = changed.ask("/")
    assert (status, body) == (503, "the ledger cannot be read; the service's log says why\n")


def test_the_page_is_whole_without_anything_from_elsewhere(asked: Asked) -> None:
    status, body = asked.ask("/")
    assert (status, asked.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith("<!doctype html>")
    for word in ("churn", "the loss of epoch 3 is NaN", "labels are mended", "running for 39 min, usually 25 min"):
        assert word in body
    assert "http" not in body.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in body
    assert "default-src 'none'" in asked.headers["content-security-policy"]
    assert asked.headers["cache-control"] == "no-store"


def test_api_status_is_the_snapshot(asked: Asked) -> None:
    told = json.loads(asked.ask("/api/status?x=1")[1])
    assert (told["schema"], told["at"], told["devices"]) == (1, "2026-11-27T12:40:00+00:00", {"total": 2, "busy": 1})
    assert {each["pipeline"]: each["state"] for each in told["pipelines"]}["stock"] == ["late", "waiting"]


def test_head_answers_as_get_without_a_body(asked: Asked) -> None:
    status, body = asked.ask("/healthz", "HEAD")
    assert (status, body) == (200, "")
    assert int(asked.headers["content-length"]) > 10


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_any_other_method_is_405(asked: Asked, method: str) -> None:
    assert asked.ask("/", method, body=b"x" * 1000)[0] == 405
    assert asked.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "/../plaster.toml", "/%2e/", "/page.css", "*"])
def test_any_other_path_is_404(asked: Asked, path: str) -> None:
    assert asked.ask(path)[0] == 404


def test_a_large_answer_is_compressed_for_those_who_take_it(asked: Asked) -> None:
    host, _, port = asked.server.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert (answer.getheader("Content-Encoding"), body[:2]) == ("gzip", b"\x1f\x8b")
    assert len(body) < len(asked.ask("/")[1]) / 3


def test_what_is_kept_is_told_again_for_a_moment(changed: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEEP_S", 3600.0)
    first = changed.ask("/api/status")[1]
    with changed.project.ledger.write() as write:
        write.resume("search")
    assert changed.ask("/api/status")[1] == first
    monkeypatch.setattr(looks, "KEEP_S", -1.0)
    assert changed.ask("/api/status")[1] != first


def test_new_settings_are_told_of_after_a_reload(changed: Asked) -> None:
    one = {"vision": changed.project.settings.pipelines["vision"]}
    changed.server.reload(changed.project.settings.model_copy(update={"pipelines": one}))
    told = json.loads(changed.ask("/api/status")[1])
    assert [each["pipeline"] for each in told["pipelines"] if each["declared"]] == ["vision"]


# ---- metrics --------------------------------------------------------------------------------------------------------
def test_metrics_are_what_prometheus_reads(asked: Asked) -> None:
    status, body = asked.ask("/metrics")
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
    assert status == 200
    assert asked.headers["content-type"].startswith("text/plain")
    assert samples["plaster_slots_total", "ranking", "failed"] == 3
    assert samples["plaster_slots_total", "churn", "ran"] == 20
    assert {name: samples["plaster_running", name] for name in ("fraud", "churn")} == {"fraud": 1, "churn": 0}
    assert samples["plaster_slots_waiting", "stock"] == 1
    assert {key[1] for key, value in samples.items() if key[0] == "plaster_late" and value} == {"stock"}
    failing = {key[1] for key, value in samples.items() if key[0] == "plaster_failing" and value}
    assert failing == {"ranking", "prices"}
    assert samples["plaster_next_slot_timestamp_seconds", "fraud"] == NOW_S + 1200
    assert samples["plaster_last_start_lateness_seconds", "fraud"] == 2
    assert samples["plaster_last_duration_seconds", "fraud"] == 1500
    assert ("plaster_last_ran_timestamp_seconds", "ranking") not in samples
    assert ("plaster_next_slot_timestamp_seconds", "vision") not in samples
    assert (samples["plaster_devices",], samples["plaster_devices_busy",], samples["plaster_service_up",]) == (2, 1, 1)
    assert [key for key in samples if key[0] == "plaster_build_info"]


def test_metrics_are_also_to_be_had_as_openmetrics(asked: Asked) -> None:
    _, body = asked.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_nothing_of_the_process_itself_is_among_the_metrics(asked: Asked) -> None:
    assert {line.split()[2][:8] for line in asked.ask("/metrics")[1].splitlines() if line.startswith("# TYPE")} == {
        "plaster_"
    }


def test_every_metric_is_documented(asked: Asked) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scheduler.md").read_text(encoding="utf-8")
    names = [line.split()[2] for line in asked.ask("/metrics")[1].splitlines() if line.startswith("# TYPE")]
    assert len(names) > 12
    assert [name for name in names if f"`{name}`" not in text] == []


# ---- who may ask, and what is never told ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8075", 200),
        ("127.0.0.1", 200),
        ("127.9.9.9:1", 200),
        ("[::1]:8075", 200),
        ("x.localhost", 200),
        ("evil.example", 421),
        ("evil.example:8075", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("[", 421),
    ],
)
def test_bound_to_loopback_it_is_asked_by_a_loopback_name_alone(asked: Asked, host: str, status: int) -> None:
    assert asked.ask("/healthz", Host=host)[0] == status


def test_bound_to_every_address_it_is_asked_by_any_name(tmp_path: Path) -> None:
    with filled(tmp_path) as project, serve(listening(project.settings, "0.0.0.0:0"), lambda: None) as server:
        asked = Asked(server, Alive(), project)
        assert asked.ask("/healthz", Host="ml1.example")[0] == 200


def test_no_setting_and_no_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_WEBHOOK", SECRET)
    with filled(tmp_path) as project:
        file = project.settings.file
        assert file is not None
        told = listening(project.settings, "127.0.0.1:0").model_copy(
            update={"tracking_uri": "http://ann:pass@mlflow.example:5000"}
        )
        with serve(told, lambda: None) as server:
            asked = Asked(server, Alive(), project)
            for path in ("/", "/metrics", "/api/status", "/healthz"):
                body = asked.ask(path)[1]
                for word in (SECRET, "mlflow.example", "pass@", "PLASTER_WEBHOOK", "models.churn", str(tmp_path)):
                    assert word not in body, (path, word)


# ---- addresses ------------------------------------------------------------------------------------------------------
def test_an_address_in_use_is_named(asked: Asked) -> None:
    with pytest.raises(UsageError, match=re.escape(asked.server.address)) as caught:
        serve(listening(asked.project.settings, asked.server.address), lambda: None)
    assert "scheduler.listen" in caught.value.next_step


def test_an_empty_address_serves_nothing(tmp_path: Path) -> None:
    with filled(tmp_path) as project, serve(listening(project.settings, ""), lambda: None) as server:
        assert server.address == ""
        server.reload(project.settings)


@pytest.mark.parametrize(
    "text", ["8075", "localhost", ":8075", "127.0.0.1:x", "127.0.0.1:70000", "http://a:1", "a:1/p"]
)
def test_an_address_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is no address") as caught:
        parse_address(text)
    assert "127.0.0.1:8075" in caught.value.next_step


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path) as project, pytest.raises(UsageError, match=r"'192\.0\.2\.1:0' cannot be had"):
        serve(listening(project.settings, "192.0.2.1:0"), lambda: None)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_is_served_in_brackets(tmp_path: Path) -> None:
    with filled(tmp_path) as project:
        try:
            server = serve(listening(project.settings, "[::1]:0"), lambda: None)
        except UsageError as error:
            pytest.skip(f"no IPv6 loopback here: {error.message}")
        with server:
            assert server.address.startswith("[::1]:")
            assert Asked(server, Alive(), project).ask("/healthz", Host="localhost")[0] == 200


def test_after_it_is_closed_nobody_answers_and_the_address_is_free(tmp_path: Path) -> None:
    with filled(tmp_path) as project:
        server = serve(listening(project.settings, "127.0.0.1:0"), lambda: None)
        address = server.address
        server.close()
        with pytest.raises(ConnectionRefusedError):
            Asked(server, Alive(), project).ask("/healthz")
        with serve(listening(project.settings, address), lambda: None) as again:
            assert again.address == address
