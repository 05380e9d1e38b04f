"""What MLflow knows of retrains, read back: one seam, an embedded store's file or a server's pages behind it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from plaster_ops.domain.metrics import CATALOGUE, Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.names import AXES, estimate_key, interval_keys
from plaster_ops.tracking.plans import HOST, UID


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundRun:
    """The parent run of one retrain. `start_ms`, `end_ms`: since the epoch. `metrics` None: ask the reader for them."""

    run_id: str
    experiment: str
    start_ms: int
    end_ms: int | None
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] | None = None

    @property
    def uid(self) -> str:
        """The journal's own id; empty for a run that is none of ours."""
        return self.tags.get(UID, "")

    @property
    def host(self) -> str:
        """Where it was recorded."""
        return self.tags.get(HOST, "")


class StoreReader(Protocol):
    """Reads one store; nothing is written to it."""

    def pages(self) -> Iterator[Sequence[FoundRun]]:
        """Every retrain's parent run, the earliest first, some hundred at a time."""
        ...

    def metrics(self, found: FoundRun) -> Mapping[str, float]:
        """The newest value of each of its metrics."""
        ...

    def texts(self, found: Sequence[FoundRun], name: str) -> list[str | None]:
        """That artifact of each of these runs; None where there is none."""
        ...

    def versions(self) -> Mapping[str, int]:
        """Run id to the number of its model version."""
        ...

    def aliases(self) -> Mapping[str, Mapping[str, str]]:
        """Pipeline to alias to the uid of the retrain that it points at."""
        ...

    def ledgers(self) -> Mapping[str, str]:
        """Pipeline to the text of its ledger of promotions, where it was kept."""
        ...


def local_folder(artifact_uri: str) -> Path | None:
    """The folder behind a file URI or a plain path; None for what lies elsewhere."""
    parts = urlsplit(artifact_uri)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path))


def read_text(artifact_uri: str, name: str) -> str | None:
    """A local artifact; None where it is not there."""
    folder = local_folder(artifact_uri)
    try:
        return None if folder is None else (folder / name).read_text(encoding="utf-8")
    except OSError:
        return None


def record_of(found: FoundRun, text: str | None) -> RunRecord | None:
    """The record in `record.json`; None where it is none of this run."""
    try:
        plain = json.loads(text or "null")
        record = RunRecord.from_json(plain) if isinstance(plain, dict) else None
    except (ValueError, TypeError):
        return None
    return record if record is not None and record.uid == found.uid else None


def record_from_tags(found: FoundRun, metrics: Mapping[str, float]) -> RunRecord:
    """What tags, params and metrics tell of a retrain without `record.json`: no comparison, no reasons of single rows.

    The status of a row that is no headline is taken as measured. Raises `KeyError` or `ValueError` for a run without
    its pipeline or index.
    """
    tags = found.tags
    return RunRecord(
        uid=found.uid,
        pipeline=tags["plaster.pipeline"],
        index=int(tags["plaster.index"]),
        trigger=tags.get("plaster.trigger", "manual"),
        slot=tags.get("plaster.slot") or None,
        started_at=_instant(found.start_ms),
        ended_at=_instant(found.end_ms or found.start_ms),
        verdict=tags.get("plaster.verdict", "failed"),
        exit_code=int(tags.get("plaster.exit_code", "0")),
        reasons=tuple(part for part in tags.get("plaster.reason", "").split("; ") if part),
        fingerprint={"device": tags.get("plaster.device", ""), "digest": tags.get("plaster.fingerprint", "")},
        card=tuple(_card(tags, metrics)),
        phases={key.removeprefix("phase/"): value for key, value in metrics.items() if key.startswith("phase/")},
        params=dict(found.params),
        tags={key: value for key, value in tags.items() if not key.startswith("mlflow.")},
        learned=_position(tags.get("plaster.learned", "")),
        seen=_position(tags.get("plaster.seen", "")),
    )


def _card(tags: Mapping[str, str], metrics: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    for key, metric in CATALOGUE.items():
        logged = key if key in metrics else estimate_key(key)
        value = metrics.get(logged)
        if value is None and not metric.headline:
            continue
        axis = f"plaster.{AXES[metric.letter.value]}"
        status = "not_measured" if value is None else "estimated" if logged != key else "measured"
        if metric.headline:
            status = tags.get(f"{axis}.status", status)
        low, high = (metrics.get(bound) for bound in interval_keys(logged))
        yield {
            "letter": metric.letter.value,
            "key": key,
            "value": value,
            "ci95": None if low is None or high is None else [low, high],
            "n": None,
            "unit": metric.unit,
            "better": metric.better.value if metric.better is not Better.DECLARED else Better.HIGHER.value,
            "status": status,
            "reason": (tags.get(f"{axis}.reason") or None) if metric.headline else None,
            "method": tags.get(f"{axis}.method", metric.method) if metric.headline else metric.method,
            "headline": metric.headline,
        }


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _position(text: str) -> int | float | str | None:
    """A position as it was before it became a tag."""
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
