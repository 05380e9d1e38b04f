"""`rebuild`: the local file from MLflow, where it was lost. What MLflow was not told cannot come back; it is named."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.compact import CompactRow, from_document
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.errors import PlasterError, RecordsGone, UsageError
from plaster_ops.flow.compact_record import COMPACT, RECORD
from plaster_ops.flow.publish import mend_move
from plaster_ops.flow.wiring import Ports, has_journal, open_ports
from plaster_ops.ports import EventSink, Tracked
from plaster_ops.settings import Settings
from plaster_ops.tracking.connection import Location, resolve_uri, shown
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import now_iso
from plaster_ops.tracking.journal_restore import (
    LedgerLine,
    count_runs,
    number_taken,
    rebuilding,
    restore_promotions,
    restore_run,
    set_aside,
)
from plaster_ops.tracking.journal_runs import PATHS
from plaster_ops.tracking.store_file import StoreFile
from plaster_ops.tracking.store_pages import StorePages
from plaster_ops.tracking.store_reader import FoundRun, StoreReader, record_from_tags, record_of

NOT_REBUILT = (
    "slots, pauses and what the scheduler had planned: MLflow was never told",
    "skipped slots, and runs that failed before they had anything to record",
    "what `calibrate` found (run it again), and who answered an alarm",
    "stages of unfinished runs: a retrain starts anew",
)
_UNKNOWN = "unknown"


@dataclass(slots=True)
class Rebuilt:
    """What came back. `from_metrics`: runs without `record.json`, known from tags and metrics only."""

    runs: int = 0
    known_before: int = 0
    from_metrics: int = 0
    with_evidence: int = 0
    promotions: int = 0
    alarms: int = 0
    unreadable: list[str] = field(default_factory=list)
    backup: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The `--json` object."""
        return {
            "schema": 1,
            "runs": self.runs,
            "known_before": self.known_before,
            "from_metrics": self.from_metrics,
            "with_evidence": self.with_evidence,
            "promotions": self.promotions,
            "alarms": self.alarms,
            "unreadable": self.unreadable,
            "backup": None if self.backup is None else str(self.backup),
            "not_rebuilt": list(NOT_REBUILT),
        }


def rebuild(settings: Settings, *, force: bool, tell: EventSink) -> Rebuilt:
    """Makes `plaster.db` from the store that the settings name; one that was cut off goes on where it was.

    Raises `UsageError` where the journal has runs and `force` is not given; with it the old file is kept beside.
    `TrackingUnavailable` where the store cannot be read: the journal is then as it was.
    """
    found = Rebuilt()
    runs = _known_runs(settings)
    if runs and not force:
        raise UsageError(
            f"the journal in {settings.memory} has {runs} runs", "keep a copy of it and make it anew with --force"
        )
    with _reader(resolve_uri(settings.tracking_uri, settings.project)) as store:
        found.backup = set_aside(settings.memory) if runs else None
        with open_ports(settings) as ports:
            with rebuilding(ports.journal) as known:
                mend_move(ports)
                _restore_runs(ports, store, known, found, tell)
                lines = _ledger(ports.journal, store)
                found.promotions = restore_promotions(ports.journal, lines)
                _mark_told(ports.journal, store)
            found.alarms = len(ports.journal.alarms())
    return found


def _known_runs(settings: Settings) -> int:
    if not has_journal(settings):
        return 0
    with Journal.open(settings.memory) as journal:
        return count_runs(journal)


def _reader(location: Location) -> "AbstractContextManager[StoreReader]":
    return StorePages(location) if location.database is None else StoreFile(location.database)


def _restore_runs(ports: Ports, store: StoreReader, known: set[str], found: Rebuilt, tell: EventSink) -> None:
    versions = store.versions()
    found.known_before = len(known)
    for page in store.pages():
        fresh = list({run.uid: run for run in reversed(page) if run.uid and run.uid not in known}.values())[::-1]
        records, compact = store.texts(fresh, RECORD), store.texts(fresh, COMPACT)
        for run, record_text, compact_text in zip(fresh, records, compact, strict=True):
            try:
                record = _record(ports.journal, store, run, record_text, found)
            except (KeyError, ValueError) as error:
                found.unreadable.append(f"MLflow run {run.run_id}: {type(error).__name__}: {error}")
                continue
            clash = number_taken(ports.journal, record)
            if clash is not None:
                found.unreadable.append(f"MLflow run {run.run_id}: #{record.index} of {record.pipeline} is {clash}")
                continue
            evidence = _evidence(run, compact_text, found)
            restore_run(ports.journal, record, _tracked(ports, run, versions), run.host, evidence)
            _remember_engine(ports.journal, record)
            known.add(run.uid)
            found.runs += 1
            found.with_evidence += bool(evidence)
        tell({"event": "note", "text": f"{found.runs} runs restored"})


def _tracked(ports: Ports, run: FoundRun, versions: Mapping[str, int]) -> Tracked:
    return Tracked(
        tracking_uri=shown(ports.location()),
        experiment=run.experiment,
        run_id=run.run_id,
        model_version=versions.get(run.run_id),
    )


def _record(journal: Journal, store: StoreReader, run: FoundRun, text: str | None, found: Rebuilt) -> RunRecord:
    record = record_of(run, text)
    if record is None:
        found.from_metrics += 1
        return record_from_tags(run, store.metrics(run))
    plain = record.to_json()
    return RunRecord.from_json(plain | {name: journal.file.absolute(plain[name]) for name in PATHS})


def _evidence(run: FoundRun, text: str | None, found: Rebuilt) -> tuple[CompactRow, ...]:
    if text is None:
        return ()
    try:
        return from_document(json.loads(text))
    except (RecordsGone, ValueError) as error:
        found.unreadable.append(f"{COMPACT} of MLflow run {run.run_id}: {error}")
        return ()


def _remember_engine(journal: Journal, record: RunRecord) -> None:
    """The digest of an engine that is still there, as it is now: what it was at the build is lost with the file."""
    folder = Path(record.engine_folder) if record.engine_folder else None
    if folder is None or not folder.is_dir():
        return
    try:
        journal.remember_engine(record.uid, read_manifest(folder).digest, folder)
    except PlasterError:
        return


def _ledger(journal: Journal, store: StoreReader) -> Iterator[LedgerLine]:
    """By pipeline: the ledger kept in MLflow, else the verdicts of the retrains; the alias has the last word."""
    kept, aliases = store.ledgers(), store.aliases()
    for pipeline in journal.pipelines():
        finished = {row.uid: row for row in journal.newest_finished(pipeline, 1_000_000)}
        lines = [line for line in _kept_lines(pipeline, kept.get(pipeline, "")) if line.uid in finished]
        if not lines:
            lines = list(_verdict_lines(pipeline, list(finished.values())[::-1]))
        champion = aliases.get(pipeline, {}).get("champion")
        last = lines[-1].uid if lines else None
        if champion in finished and champion != last:
            reason = "the registry's alias champion points at it; when and why it was moved is not known"
            at = now_iso()
            line = LedgerLine(pipeline=pipeline, uid=champion, previous=last, at=at, by="rebuild", reason=reason)
            lines.append(replace(line, kind="promote"))
        yield from lines


def _mark_told(journal: Journal, store: StoreReader) -> None:
    """What MLflow has of aliases and ledgers, so that `sync` tells it only what it lacks."""
    for pipeline, aliases in store.aliases().items():
        journal.mark_pointed(pipeline, aliases)
    for pipeline, text in store.ledgers().items():
        if [row.uid for row in journal.promotions(pipeline)] == [line.uid for line in _kept_lines(pipeline, text)]:
            journal.mark_told_ledger(pipeline, journal.newest_promotion(pipeline))


def _kept_lines(pipeline: str, text: str) -> Iterator[LedgerLine]:
    for row in text.splitlines():
        try:
            line: Mapping[str, Any] = json.loads(row)
            yield LedgerLine(
                pipeline=pipeline,
                uid=str(line["uid"]),
                previous=(line["from"] or {}).get("uid"),
                at=str(line["at"]),
                by=str(line["by"]),
                reason=str(line["reason"]),
                forced=bool(line["forced"]),
                kind=str(line["kind"]),
            )
        except (ValueError, KeyError, AttributeError, TypeError):
            continue


def _verdict_lines(pipeline: str, rows: Sequence[Any]) -> Iterator[LedgerLine]:
    previous = None
    for row in rows:
        if row.verdict in (Verdict.PROMOTED, Verdict.BASELINE):
            yield LedgerLine(
                pipeline=pipeline,
                uid=row.uid,
                previous=previous,
                at=row.ended_at,
                by=_UNKNOWN,
                reason="; ".join(row.reasons),
            )
            previous = row.uid
