"""The service's small read-only HTTP server: /healthz, /metrics, /api/status and the status page.

It asks the ledger through a connection of its own, and answers GET and HEAD alone. Bound to loopback, it answers only
those who call it by a loopback name, so that no page of the web that a browser here has open can read it under a name
of its own.
"""

import gzip
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from plaster_ops.domain.schedule import iso
from plaster_ops.errors import PlasterError, UsageError
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from scheduler.looks import Looks
from scheduler.metrics import metrics_text
from scheduler.page import POLICY, render
from scheduler.plain import plain_snapshot

log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_AT_ONCE = 16
_GZIP_FROM = 4096
_BODY_MAX = 65_536

Alive = Callable[[], str | None]
"""None while the service does its work; else why not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is sent."""

    body: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK


class Server:
    """The server, at work until `close`. `address`: host:port, "" where the settings want none."""

    def __init__(self, listening: "_Listening | None" = None, journal: Journal | None = None) -> None:
        self._listening, self._journal = listening, journal
        self._thread = None if listening is None else threading.Thread(target=listening.serve_forever, daemon=True)
        if self._thread is not None:
            self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, with the port that it really has."""
        return "" if self._listening is None else _shown(*self._listening.server_address[:2])

    def reload(self, settings: Settings) -> None:
        """Tells of these settings from now on; the address stays."""
        if self._listening is not None:
            self._listening.looks.reload(settings)

    def close(self) -> None:
        """Stops listening; answers on their way are not waited for."""
        if self._listening is None or self._thread is None or self._journal is None:
            return
        self._listening.shutdown()
        self._thread.join()
        self._listening.server_close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


def serve(settings: Settings, alive: Alive) -> Server:
    """Serves at `settings.scheduler.listen`. Raises `UsageError` for an address that is none, or is not to be had."""
    if not settings.scheduler.listen:
        return Server()
    host, port = parse_address(settings.scheduler.listen)
    journal = Journal.open(settings.memory)
    try:
        return Server(_listen(host, port, Looks(settings, journal), alive), journal)
    except BaseException:
        journal.close()
        raise


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` or `[::1]:port` in its parts. Raises `UsageError`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or f"//{text}" != f"//{parts.netloc}":
        raise UsageError(
            f"scheduler.listen = {text!r} is no address", 'write "127.0.0.1:8075", "[::1]:8075", or "" for none'
        )
    return host, port


def _listen(host: str, port: int, looks: Looks, alive: Alive) -> "_Listening":
    try:
        return _Listening(host, port, looks, alive)
    except OSError as error:
        raise UsageError(
            f"scheduler.listen = {_shown(host, port)!r} cannot be had: {error.strerror or error}",
            'end what listens there, or set scheduler.listen to another address, or to "" for none',
        ) from error


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, looks: Looks, alive: Alive) -> None:
        self.looks, self.alive = looks, alive
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family, address = found[0][0], str(found[0][4][0])
        self.names = {host, address} if _is_loopback(address) else None
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Without asking a name server for our own name, as the standard library's does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, as long as there are not too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up in the middle is no event."""
        del request
        log.debug("a request of %s was cut off", client_address, exc_info=True)

    def answers_to(self, name: str | None) -> bool:
        """Whether a request for that `Host` is meant for this server."""
        if name is None or self.names is None:
            return True
        try:
            asked = urlsplit(f"//{name}").hostname or ""
        except ValueError:
            return False
        return asked in self.names or _is_loopback(asked)


class _Handler(BaseHTTPRequestHandler):
    server: _Listening
    server_version, sys_version = "plaster-ops", ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Every path that there is."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """The same without its body."""
        self.do_GET()

    def __getattr__(self, name: str) -> Any:
        """The standard library looks for `do_<method>`; whatever the method is, the answer is 405."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        """Reads what little was sent along, for to hang up before would lose the answer."""
        length = self.headers.get("Content-Length", "")
        if length.isdecimal():
            self.rfile.read(min(int(length), _BODY_MAX))
        self._send(_said(HTTPStatus.METHOD_NOT_ALLOWED, "this server answers GET and HEAD only"))

    def log_message(self, format: str, *values: Any) -> None:
        """To our log instead of stderr."""
        log.debug(format, *values)

    def _answer(self) -> Answer:
        if not self.server.answers_to(self.headers.get("Host")):
            return _said(HTTPStatus.MISDIRECTED_REQUEST, "this server is asked by a loopback name, such as localhost")
        answer = {
            "/": self._page,
            "/healthz": self._health,
            "/metrics": self._metrics,
            "/api/status": self._status,
        }.get(urlsplit(self.path).path)
        if answer is None:
            return _said(HTTPStatus.NOT_FOUND, "there is /, /healthz, /metrics and /api/status")
        try:
            return answer()
        except PlasterError as error:
            log.warning("the ledger cannot be read: %s", error.message)
            return _said(HTTPStatus.SERVICE_UNAVAILABLE, "the ledger cannot be read; the service's log says why")
        except Exception:
            log.exception("a request for %s failed", self.path)
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; the service's log says how")

    def _page(self) -> Answer:
        return Answer(body=render(self.server.looks.snapshot()).encode(), kind="text/html; charset=utf-8")

    def _status(self) -> Answer:
        return _json(plain_snapshot(self.server.looks.snapshot()))

    def _metrics(self) -> Answer:
        body, kind = metrics_text(self.server.looks.registry, self.headers.get("Accept", ""))
        return Answer(body=body, kind=kind)

    def _health(self) -> Answer:
        """Nothing of the ledger: a busy file makes no service sick."""
        reason, at = self.server.alive(), iso(time.time())
        if reason is None:
            return _json({"ok": True, "at": at})
        return _json({"ok": False, "at": at, "reason": reason}, HTTPStatus.SERVICE_UNAVAILABLE)

    def _send(self, answer: Answer) -> None:
        body = answer.body
        self.send_response(answer.status)
        if len(body) >= _GZIP_FROM and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _said(status: HTTPStatus, text: str) -> Answer:
    return Answer(body=f"{text}\n".encode(), kind="text/plain; charset=utf-8", status=status)


def _json(told: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(
        body=json.dumps(told, ensure_ascii=False, allow_nan=False).encode(), kind="application/json", status=status
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: Any, port: Any) -> str:
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
