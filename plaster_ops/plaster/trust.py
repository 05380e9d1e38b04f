"""How far what was timed may be trusted: suspect where the machine was not left alone, unstable where it moved."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from plaster_ops.domain.card import Status
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, by_process, pooled_ns, windows
from plaster_ops.plaster.steadiness import LAST, LEAST_QUERIES, what_moved, window_figures

Trust = tuple[Status, str | None]
_LEAST_WINDOW_S = 1.0
_MOST_WINDOWS = 10


def trust_of(evidence: Evidence, blocks: Sequence[MeasuredBlock]) -> Trust:
    """Of a row that rests on these blocks: suspect, else unstable where half the processes or more had not settled at
    their end, else measured."""
    status, reason = evidence.trust()
    moved = [_what_moved(part) for part in by_process(blocks)]
    why = [text for text in moved if text]
    if status is not Status.MEASURED or not why or 2 * len(why) < len(moved):
        return status, reason
    return Status.UNSTABLE, f"not settled in {len(why)} of {len(moved)} processes: {why[-1]} over the last windows"


def worse_of(one: Trust, other: Trust) -> Trust:
    """What a row that rests on both may claim: a suspect part makes it suspect, an unstable one unstable."""
    return max(one, other, key=lambda trust: (Status.MEASURED, Status.UNSTABLE, Status.SUSPECT).index(trust[0]))


def _what_moved(part: Sequence[MeasuredBlock]) -> str | None:
    """One process: windows of at least a second and 50 queries, 3 to 10 of them; None where the last three agree.

    Fewer blocks than windows are cut where their queries suffice; too few say nothing, and are not called unstable.
    """
    pieces = list(part) if len(part) >= LAST else [piece for block in part for piece in _cut(block)]
    long_enough = min(sum(b.window_s for b in pieces) / _LEAST_WINDOW_S, sum(b.queries for b in pieces) / LEAST_QUERIES)
    found = windows(pieces, min(_MOST_WINDOWS, max(LAST, int(long_enough))))
    if len(found) < LAST:
        return None
    return what_moved([window_figures(pooled_ns(w).tolist(), sum(b.window_s for b in w)) for w in found])


def _cut(block: MeasuredBlock) -> list[MeasuredBlock]:
    """A long block, as a slow energy counter needs it, in parts of at least 50 queries, at most ten; the client's own
    time is spread over them like the time of the calls."""
    parts = np.array_split(block.latencies_ns, max(1, min(_MOST_WINDOWS, block.queries // LEAST_QUERIES)))
    share = block.window_s / max(1, int(block.latencies_ns.sum()))
    return [replace(block, latencies_ns=part, window_s=share * int(part.sum())) for part in parts if len(part)]
