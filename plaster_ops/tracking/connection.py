"""From the text in the settings to an MLflow client, and from MLflow's errors to ours.

MLflow is configured through the environment before it is imported: no telemetry, nothing on stdout, and no retries
inside a request. A request that was committed but whose answer was lost would be repeated blindly by such a retry; our
own replay looks first.
"""

import logging
import os
import socket
import sqlite3
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plaster_ops.errors import SettingsError, TrackingUnavailable
from plaster_ops.importing import uncollected
from plaster_ops.tracking.mounts import is_network_path
from plaster_ops.tracking.names import RecordRefused
from plaster_ops.tracking.schema import inspect_store

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 3.0
REQUEST_TIMEOUT_S = 15

_FORCED = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
}
_DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_S), "MLFLOW_LOGGING_LEVEL": "WARNING"}

_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_REFUSED = (
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"),
    *("INVALID_STATE", "RESOURCE_CONFLICT", "ALREADY_EXISTS"),
)
_WAIT = "the record is kept; when the server is back, run: plaster-ops sync"


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where the tracking store is. `artifact_root` is set for an embedded store only; a server chooses its own."""

    tracking_uri: str
    artifact_root: str | None = None

    @property
    def database(self) -> Path | None:
        """The SQLite file of an embedded store; None for anything else."""
        text = self.tracking_uri.removeprefix("sqlite:///")
        return Path(text) if self.tracking_uri.startswith("sqlite:///") else None

    @property
    def is_server(self) -> bool:
        """True for a store behind HTTP."""
        return urlsplit(self.tracking_uri).scheme in ("http", "https")


def resolve_uri(text: str, project: Path) -> Location:
    """The settings' `tracking_uri` with every relative path taken from `project`, never from the working directory."""
    scheme = urlsplit(text).scheme
    root = (project.absolute() / "mlruns" / "artifacts").as_uri()
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        path = project.absolute() / text.removeprefix("sqlite:///")
        return Location(tracking_uri=f"sqlite:///{os.path.normpath(path)}", artifact_root=root)
    if scheme in ("http", "https") and urlsplit(text).hostname:
        return Location(tracking_uri=text.rstrip("/"))
    if scheme.split("+")[0] in ("postgresql", "mysql", "mssql"):
        return Location(tracking_uri=text, artifact_root=root)
    if scheme in ("databricks", "databricks-uc"):
        return Location(tracking_uri=text)
    raise SettingsError(
        f"tracking_uri = {text!r} is no store that MLflow takes",
        'write "sqlite:///mlruns/mlflow.db" or the address of an MLflow server, such as "http://mlflow:5000"',
    )


def open_client(location: Location) -> Any:
    """An `MlflowClient` for that store. Costs the import of mlflow (about 2 s); raises `TrackingUnavailable`.

    A server that nobody answers for is noticed within `PROBE_TIMEOUT_S`, before mlflow is imported. An SQLite store
    whose schema does not fit the installed MLflow is left untouched: MLflow would migrate some without a backup.
    """
    if location.is_server:
        _probe_server(location.tracking_uri)
    if location.database is not None:
        _check_store(location.database)
    _configure_environment()
    with translated(location):
        from mlflow import MlflowClient

        with uncollected("sqlalchemy"):
            return MlflowClient(tracking_uri=location.tracking_uri, registry_uri=location.tracking_uri)


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Inside, MLflow's errors become `TrackingUnavailable` or, where the record itself is at fault, `RecordRefused`."""
    with uncollected("mlflow"):
        from mlflow.exceptions import MlflowException

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)(\.|$)")
            yield
    except MlflowException as error:
        raise _explain(location, str(error.error_code), str(error)) from error
    except ImportError as error:
        raise TrackingUnavailable(
            f"the tracking store {shown(location)} needs a package that is not installed: {error}",
            f"install {error.name or 'it'}, then run: plaster-ops sync",
        ) from error
    except OSError as error:
        raise TrackingUnavailable(f"the tracking store {shown(location)} failed: {error}", _WAIT) from error


def shown(location: Location) -> str:
    """The address without a password."""
    parts = urlsplit(location.tracking_uri)
    if parts.password is None:
        return location.tracking_uri
    return location.tracking_uri.replace(f":{parts.password}@", ":***@")


def set_wal(database: Path) -> None:
    """Turns on the write-ahead log of an SQLite store, once; not on a network file system, not while it is in use."""
    if not database.is_file() or is_network_path(database.parent):
        return
    with database.open("rb") as file:
        if file.read(20)[18:20] == b"\x02\x02":
            return
    connection = sqlite3.connect(database, timeout=1.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        log.info("no write-ahead log for %s yet: %s", database, error)
    finally:
        connection.close()


def _configure_environment() -> None:
    os.environ.update(_FORCED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _probe_server(uri: str) -> None:
    """Raises where nobody listens at the address; behind a proxy the first request finds out instead."""
    parts = urlsplit(uri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    try:
        socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise TrackingUnavailable(f"no tracking server answers at {host}:{port}: {error}", _WAIT) from error


def _check_store(database: Path) -> None:
    state = inspect_store(database)
    if state.behind:
        raise TrackingUnavailable(
            f"the schema of {database} is behind the installed MLflow ({state.current} against {state.expected})",
            "run: plaster-ops doctor --fix, which backs the store up and upgrades it",
        )
    if state.newer:
        raise TrackingUnavailable(
            f"{database} was written by a newer MLflow (schema {state.current} is unknown to the installed one)",
            "upgrade mlflow in this environment, then run: plaster-ops sync",
        )


def _explain(location: Location, code: str, message: str) -> TrackingUnavailable:
    where, first = shown(location), message.strip().splitlines()[0][:300] if message.strip() else code
    if code in _DENIED or "error code 401" in message or "error code 403" in message:
        return TrackingUnavailable(
            f"the tracking server {where} refused us: {first}",
            "set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN; then run: plaster-ops sync",
        )
    if code == "ENDPOINT_NOT_FOUND" or "not in a valid JSON format" in message or "error code 404" in message:
        return TrackingUnavailable(
            f"what answers at {where} is no MLflow server: {first}", "correct tracking_uri in plaster.toml"
        )
    if "out-of-date database schema" in message:
        return TrackingUnavailable(
            f"the schema of {where} is behind the installed MLflow",
            "run: plaster-ops doctor --fix, then: plaster-ops sync",
        )
    if code in _REFUSED:
        return RecordRefused(f"the tracking store {where} refused the record: {first}", "see: plaster-ops doctor")
    return TrackingUnavailable(f"the tracking store {where} cannot be used: {first}", _WAIT)
