"""The champion changed by hand: `promote` and `rollback`. The ledger first, MLflow's aliases after it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.lineage import PromotionKind
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import ArtifactTampered, BuildFailed, ExitCode, NotComparable, PlasterError
from plaster_ops.flow.baseline import open_baseline
from plaster_ops.flow.canary import Canary
from plaster_ops.flow.lock import promotion_lock
from plaster_ops.flow.promote import who
from plaster_ops.flow.publish import mend_move
from plaster_ops.flow.wiring import Ports
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.outbox import point, sync


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What became of a promotion or a rollback. `verdict`: promoted, rolled_back, unchanged or held.

    `before`: the champion that was found. `next_back`: where the next rollback goes. `waits`: why MLflow's aliases are
    not set yet; None where they are.
    """

    pipeline: str
    verdict: str
    reasons: tuple[str, ...]
    run: RunRow
    before: RunRow | None
    by: str
    forced: bool = False
    canary: Canary | None = None
    next_back: RunRow | None = None
    waits: str | None = None
    next_step: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """3 where the champion was left as it is against the caller's wish."""
        return ExitCode.HELD if self.verdict == "held" else ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """The answer of `--json`, schema 1."""
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "exit_code": int(self.exit_code),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "run": _named(self.run),
            "before": _named(self.before),
            "by": self.by,
            "forced": self.forced,
            "canary": None if self.canary is None else self.canary.to_json(),
            "next_rollback": _named(self.next_back),
            "mlflow": {"pointed": self.waits is None and self.verdict != "held", "waits": self.waits},
            "next_step": self.next_step or None,
        }

    def lines(self) -> list[str]:
        """The answer in words, a line each."""
        if self.verdict == "held":
            held = f"{self.pipeline}: #{self.run.index} was not promoted: {'; '.join(self.reasons)}"
            return [held, *([f"next:  {self.next_step}"] if self.next_step else [])]
        place = "" if self.before is None or self.verdict == "unchanged" else f" in place of #{self.before.index}"
        back = (
            "there is no champion before it"
            if self.next_back is None
            else f"a rollback goes to #{self.next_back.index}"
        )
        waits = "" if self.waits is None else f" {self.waits}; run: plaster-ops sync"
        return [
            f"{self.pipeline}: #{self.run.index} is champion{place}: {'; '.join(self.reasons)}",
            *([] if self.canary is None else [self.canary.told]),
            f"MLflow's aliases wait:{waits}" if waits else "MLflow's aliases are set",
            back,
        ]


def _named(row: RunRow | None) -> dict[str, Any] | None:
    return None if row is None else {"index": row.index, "id": row.mlflow_run_id or row.uid, "uid": row.uid}


def engine_of(ports: Ports, row: RunRow) -> tuple[RunRecord, Path]:
    """The record of a finished run and its engine folder, every file held against its digest.

    Raises `BuildFailed` (exit 11) where the files are gone or are not what was measured.
    """
    try:
        found = open_baseline(ports.journal, row, "by hand")
    except NotComparable as error:
        raise BuildFailed(f"run #{row.index} cannot be champion: {error.message}", "choose another run") from error
    except ArtifactTampered as error:
        raise ArtifactTampered(error.message, "choose another run: what was measured is not there any more") from error
    if found.engine_folder is None:
        raise BuildFailed(
            f"the engine of #{row.index} is not there any more, or of an earlier release: {found.record.engine_folder}",
            f"choose another run: plaster-ops promotions {row.pipeline}",
        )
    return found.record, found.engine_folder


def crown(
    ports: Ports, row: RunRow, folder: Path, *, expected: RunRow | None, kind: PromotionKind, reason: str, forced: bool
) -> bool:
    """One line more in the ledger, where the champion is still `expected`; False, and nothing changed, where not.

    Under the promotion lock, so that the engine's files cannot be pruned meanwhile.
    """
    with promotion_lock(ports.settings.memory / "locks", row.pipeline):
        if not folder.is_dir():
            raise BuildFailed(f"the engine of #{row.index} was removed meanwhile: {folder}", "choose another run")
        return ports.journal.promote(
            row.pipeline,
            row.uid,
            expected=None if expected is None else expected.uid,
            by=who(),
            reason=reason,
            forced=forced,
            kind=kind,
        )


def tell_tracker(ports: Ports, pipeline: str, *, send: bool) -> str | None:
    """Sets MLflow's aliases and tells it the ledger; None, or why that waits for `sync`. Never raises for the tracker.

    `send`: records that wait go first. Without it nothing is sent but the aliases, as quickly as can be.
    """
    try:
        mend_move(ports)
        with ports.tracker() as tracker:
            if not send:
                return point(ports.journal, tracker, pipeline) or _unsent(ports, pipeline)
            report = sync(ports.journal, tracker)
            return report.reason or _unsent(ports, pipeline)
    except PlasterError as error:
        return error.message


def _unsent(ports: Ports, pipeline: str) -> str | None:
    meant = set(ports.journal.aliases(pipeline).values())
    count = sum(record.uid in meant for record in ports.journal.pending())
    return f"{count} of the runs that it speaks of wait to be sent" if count else None


def overtaken_by(ports: Ports, pipeline: str) -> str:
    """The sentence for a swap that was lost."""
    champion = ports.journal.champion(pipeline)
    now = "there is none" if champion is None else f"#{champion.index} is champion"
    return f"the champion was changed meanwhile: {now} now; nothing was done"


def next_rollback(ports: Ports, pipeline: str) -> RunRow | None:
    """Where the next rollback would go; None where there is nothing before the champion."""
    standing = ports.journal.standing(pipeline)
    return ports.journal.run(standing[-2]) if len(standing) > 1 else None
