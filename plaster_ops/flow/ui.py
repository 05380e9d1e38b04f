"""Starts MLflow's server on the project's store, small: one worker, job execution off."""

import os
import sys

from plaster_ops.errors import UsageError
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.settings import Settings


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


def serve_ui(settings: Settings, *, host: str, port: int) -> int:
    """Replaces this process by the server. Raises `UsageError` where the store is a server of its own."""
    if settings.tracking_uri.startswith(("http://", "https://")):
        raise UsageError(f"the store is a server already: {settings.tracking_uri}", f"open {settings.tracking_uri}")
    with open_ports(settings) as ports:
        command = ui_command(ports, host=host, port=port)
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    print(f"MLflow UI: http://{host}:{port}  (stop with Ctrl-C)", file=sys.stderr, flush=True)
    os.execve(command[0], command, env)
