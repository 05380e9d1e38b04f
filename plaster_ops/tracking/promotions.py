"""Who is champion: an append-only ledger, changed by compare-and-swap only."""

import sqlite3
from typing import Any

from plaster_ops.domain.lineage import PromotionKind, lineage
from plaster_ops.errors import UsageError
from plaster_ops.tracking.journal_file import JournalFile, now_iso
from plaster_ops.tracking.journal_rows import RUN_COLUMNS, Promotion, PromotionRow, RunRow, RunState, read_run

_QUALIFIED = ", ".join(f"runs.{column.strip()}" for column in RUN_COLUMNS.split(","))
_CHAMPION = (
    "FROM promotions JOIN runs ON runs.uid = promotions.uid"
    " WHERE promotions.pipeline = ? AND runs.state = 'finished' ORDER BY promotions.seq DESC LIMIT 1"
)


def swap_champion(db: sqlite3.Connection, pipeline: str, uid: str, promotion: Promotion) -> bool:
    """Inside the caller's transaction: one ledger line more, or False where the champion is not the expected one.

    A promotion that is repeated for the newest ledger line (a resumed run) is true and adds nothing.
    """
    newest = db.execute(
        "SELECT uid FROM promotions WHERE pipeline = ? ORDER BY seq DESC LIMIT 1", (pipeline,)
    ).fetchone()
    if newest is not None and newest["uid"] == uid:
        return True
    row = db.execute(f"SELECT promotions.uid {_CHAMPION}", (pipeline,)).fetchone()
    champion = None if row is None else row["uid"]
    if champion != promotion.expected:
        return False
    db.execute(
        "INSERT INTO promotions (pipeline, uid, previous, at, by, reason, forced, kind)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            pipeline,
            uid,
            champion,
            now_iso(),
            promotion.by,
            promotion.reason,
            int(promotion.forced),
            promotion.kind.value,
        ),
    )
    return True


class Promotions:
    """The part of the journal that knows champions."""

    file: JournalFile

    def promote(
        self,
        pipeline: str,
        uid: str,
        *,
        expected: str | None,
        by: str,
        reason: str,
        forced: bool = False,
        kind: PromotionKind = PromotionKind.RETRAIN,
    ) -> bool:
        """Makes the run champion; False, and nothing changed, if the champion is not `expected` any more.

        The run must belong to the pipeline and be finished, or be the one that is just running; it counts as champion
        as soon as it is finished. A rollback is a promotion of an older run.
        """
        with self.file.write() as db:
            row = db.execute("SELECT pipeline, state FROM runs WHERE uid = ?", (uid,)).fetchone()
            if row is None or row["pipeline"] != pipeline:
                raise UsageError(f"pipeline {pipeline!r} has no run with the uid {uid!r}", "see: plaster-ops history")
            if row["state"] not in (RunState.FINISHED, RunState.RUNNING):
                raise UsageError(
                    f"the run has {row['state']}; only a run that ended with an engine can be promoted",
                    f"choose another one from: plaster-ops history {pipeline}",
                )
            promotion = Promotion(expected=expected, by=by, reason=reason, forced=forced, kind=kind)
            return swap_champion(db, pipeline, uid, promotion)

    def champion(self, pipeline: str) -> RunRow | None:
        """The finished run that was promoted last; None before the first."""
        row = self.file.row(f"SELECT {_QUALIFIED} {_CHAMPION}", (pipeline,))
        return None if row is None else read_run(row)

    def previous_champion(self, pipeline: str) -> RunRow | None:
        """The run that the champion replaced; None before the second promotion."""
        row = self.file.row(f"SELECT promotions.previous {_CHAMPION}", (pipeline,))
        if row is None or row["previous"] is None:
            return None
        found = self.file.row(f"SELECT {RUN_COLUMNS} FROM runs WHERE uid = ?", (row["previous"],))
        return None if found is None else read_run(found)

    def challenger(self, pipeline: str) -> RunRow | None:
        """The newest finished run, where it is younger than the champion and was not promoted; else None."""
        champion = self.champion(pipeline)
        row = self.file.row(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE pipeline = ? AND state = 'finished' AND number > ?"
            " AND uid NOT IN (SELECT uid FROM promotions WHERE pipeline = ?) ORDER BY seq DESC LIMIT 1",
            (pipeline, 0 if champion is None or champion.index is None else champion.index, pipeline),
        )
        return None if row is None else read_run(row)

    def promotions(self, pipeline: str) -> list[PromotionRow]:
        """The ledger, oldest line first."""
        rows = self.file.rows(
            "SELECT seq, pipeline, uid, previous, at, by, reason, forced, kind FROM promotions"
            " WHERE pipeline = ? ORDER BY seq",
            (pipeline,),
        )
        return [
            PromotionRow(**{**dict(row), "forced": bool(row["forced"]), "kind": PromotionKind(row["kind"])})
            for row in rows
        ]

    def newest_promotion(self, pipeline: str) -> int:
        """The seq of the ledger's newest line; 0 where there is none."""
        row = self.file.row("SELECT MAX(seq) AS seq FROM promotions WHERE pipeline = ?", (pipeline,))
        return 0 if row is None or row["seq"] is None else int(row["seq"])

    def ledger_lines(self, pipeline: str) -> list[dict[str, Any]]:
        """The ledger with the runs' numbers, oldest first, as plain mappings: what is shown, and told the tracker."""
        rows = self.file.rows(
            "SELECT promotions.*, made.number AS number, made.state AS state, gone.number AS gone FROM promotions"
            " JOIN runs AS made ON made.uid = promotions.uid LEFT JOIN runs AS gone ON gone.uid = promotions.previous"
            " WHERE promotions.pipeline = ? AND made.state = 'finished' ORDER BY promotions.seq",
            (pipeline,),
        )
        return [
            {
                "seq": row["seq"],
                "at": row["at"],
                "kind": row["kind"],
                "index": row["number"],
                "uid": row["uid"],
                "from": None if row["previous"] is None else {"index": row["gone"], "uid": row["previous"]},
                "by": row["by"],
                "reason": row["reason"],
                "forced": bool(row["forced"]),
            }
            for row in rows
        ]

    def standing(self, pipeline: str) -> tuple[str, ...]:
        """The uids of the champions that no rollback left, oldest first; the last one is champion. See `lineage`."""
        rows = self.file.rows(
            "SELECT promotions.uid, promotions.kind FROM promotions JOIN runs ON runs.uid = promotions.uid"
            " WHERE promotions.pipeline = ? AND runs.state = 'finished' ORDER BY promotions.seq",
            (pipeline,),
        )
        return lineage((PromotionKind(row["kind"]), str(row["uid"])) for row in rows)
