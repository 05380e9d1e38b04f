"""The ledger of a pipeline as it is shown: who was champion when, by whom and why, and where a rollback would go."""

from typing import Any

from plaster_ops.flow.wiring import has_journal
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal


def promotions(settings: Settings, name: str | None, limit: int) -> dict[str, Any]:
    """The answer of `promotions --json`: the newest lines, oldest first; empty where the project has no journal yet."""
    found, _ = settings.pipeline(name)
    lines: list[dict[str, Any]] = []
    standing: tuple[str, ...] = ()
    if has_journal(settings):
        with Journal.open(settings.memory) as journal:
            lines, standing = journal.ledger_lines(found), journal.standing(found)
    by_uid = {line["uid"]: {"index": line["index"], "uid": line["uid"]} for line in lines}
    back = [by_uid[uid] for uid in reversed(standing)]
    return {
        "schema": 1,
        "pipeline": found,
        "champion": back[0] if back else None,
        "rollbacks": back[1:],
        "promotions": lines[-limit:],
    }
