"""Receivers on the loopback: a web server and a mail server that remember what they were sent, and answer as told."""

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "T0K3N-that-nobody-may-see"


@dataclass
class Web:
    """`answers`: the codes of the next requests, then 200. `hold`: while it is set, requests are not answered."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    got: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    drip: bool = False
    """An answer that goes on and on, a line of its head now and then."""

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """Pipeline, condition and state of what came, in its order."""
        return [(body["pipeline"], body["condition"], body["state"]) for body in self.got]


@contextmanager
def web_receiver() -> Iterator[Web]:
    """A server whose address holds `TOKEN`."""
    web = Web()

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            web.asked.append((self.command, self.path, dict(self.headers)))
            if web.hold:
                web.held.wait(20)
                return
            if web.drip:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not web.held.wait(0.05):
                    self.wfile.write(b"X-More: to come\r\n")
            code = web.answers.pop(0) if web.answers else 200
            if code < 300:
                web.got.append(json.loads(body))
            self.send_response(code)
            for name, value in web.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        web.url = f"http://127.0.0.1:{server.server_port}/hook/{TOKEN}"
        try:
            yield web
        finally:
            web.held.set()
            server.shutdown()


def closed_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Mail:
    """`tls`: turns TLS on after STARTTLS, or from the first byte where `at_once`. `refuse`: answers to commands."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    at_once: bool = False
    refuse: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)


@contextmanager
def mail_receiver(mail: Mail) -> Iterator[Mail]:
    """A mail server of a dozen lines: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, QUIT."""

    class _Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            line: socket.socket = self.request
            if mail.tls is not None and mail.at_once:
                with mail.tls.wrap_socket(line, server_side=True) as safe:
                    _talk(safe, mail)
            else:
                _talk(line, mail)

    class _Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is no news."""

    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        mail.port = server.server_address[1]
        try:
            yield mail
        finally:
            server.shutdown()


def _talk(line: socket.socket, mail: Mail) -> None:
    line.sendall(b"220 here\r\n")
    _answer(line, mail, is_safe=mail.at_once)


def _answer(line: socket.socket, mail: Mail, *, is_safe: bool) -> None:
    file = line.makefile("rb")
    while command := file.readline().decode().strip():
        mail.said.append(command)
        word = command.split()[0].upper()
        if word in mail.refuse:
            line.sendall(f"{mail.refuse[word]}\r\n".encode())
        elif word == "EHLO":
            offers = ["here", "AUTH PLAIN", *(["STARTTLS"] if mail.tls and not is_safe else [])]
            marks = ["-"] * (len(offers) - 1) + [" "]
            line.sendall("".join(f"250{m}{o}\r\n" for m, o in zip(marks, offers, strict=True)).encode())
        elif word == "STARTTLS" and mail.tls is not None:
            line.sendall(b"220 go on\r\n")
            with mail.tls.wrap_socket(line, server_side=True) as safe:
                _answer(safe, mail, is_safe=True)
            return
        elif word == "DATA":
            line.sendall(b"354 go on\r\n")
            text = b""
            while (row := file.readline()) not in (b".\r\n", b""):
                text += row
            mail.mails.append(text.decode())
            line.sendall(b"250 taken\r\n")
        elif word == "QUIT":
            line.sendall(b"221 bye\r\n")
            return
        else:
            line.sendall(b"235 ok\r\n" if word == "AUTH" else b"250 ok\r\n")
