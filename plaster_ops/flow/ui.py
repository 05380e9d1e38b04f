"""MLflow's pages on the project's store: where what is to be seen, and its server, small: one worker, no jobs."""

import os
import sys
from collections.abc import Iterator

from plaster_ops.flow.wiring import Ports, open_ports, open_to_look
from plaster_ops.settings import Settings
from plaster_ops.tracking.connection import shown
from plaster_ops.tracking.page_links import PageLinks, links_of_store

_MOST_PIPELINES = 8


def is_served(settings: Settings) -> bool:
    """Whether the store is a server of its own, so that there is none to start."""
    return settings.tracking_uri.startswith(("http://", "https://"))


def page_lines(settings: Settings, *, host: str, port: int) -> Iterator[str]:
    """The address of the pages, and of each pipeline what is where. Raises `TrackingUnavailable` for a server that
    cannot be reached."""
    with open_to_look(settings) as ports:
        location = ports.location()
    address = shown(location).rstrip("/") if is_served(settings) else f"http://{_shown(host)}:{port}"
    found = links_of_store(location)
    yield f"MLflow: {address}" if is_served(settings) else f"MLflow: {address}  (up in seconds, stop with Ctrl-C)"
    if not found:
        yield "  nothing is recorded yet: plaster-ops retrain"
    first = sorted(found, key=lambda links: links.pipeline != settings.default)
    for links in first[:_MOST_PIPELINES]:
        yield from _lines(links, address)
    if len(found) > _MOST_PIPELINES:
        yield f"  and {len(found) - _MOST_PIPELINES} more pipelines"


def _lines(links: PageLinks, address: str) -> Iterator[str]:
    yield f"  {links.pipeline}"
    width = max(len(what) for what, _ in links.rows)
    yield from (f"    {what:<{width}}  {address}/{where}" for what, where in links.rows)


def _shown(host: str) -> str:
    """An address that a browser on this machine opens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def ui_command(ports: Ports, *, host: str, port: int) -> list[str]:
    """The command line of the server for an embedded store."""
    location = ports.location()
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        location.tracking_uri,
        "--artifacts-destination",
        location.artifact_root or "",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
    ]


def serve_ui(settings: Settings, *, host: str, port: int) -> None:
    """Replaces this process by the server on the embedded store."""
    with open_ports(settings) as ports:
        command = ui_command(ports, host=host, port=port)
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.execve(command[0], command, env)
