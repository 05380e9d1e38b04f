"""Who was champion before whom, as the lines of the ledger tell it: what a rollback goes back to."""

from collections.abc import Iterable
from enum import StrEnum


class PromotionKind(StrEnum):
    """What wrote a line of the ledger."""

    RETRAIN = "retrain"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


def lineage(lines: Iterable[tuple[PromotionKind, str]]) -> tuple[str, ...]:
    """The uids of the champions that still stand, oldest first; the last one is champion now.

    `lines`: the ledger, oldest first. A promotion comes on top of what was there; a rollback takes away what is above
    the run it goes to, so that the next one goes further back and not to what was just left. A rollback forward, to a
    run that an earlier one left, comes on top again.
    """
    standing: list[str] = []
    for kind, uid in lines:
        if kind is PromotionKind.ROLLBACK and uid in standing:
            del standing[len(standing) - standing[::-1].index(uid) :]
        elif not standing or standing[-1] != uid:
            standing.append(uid)
    return tuple(standing)
