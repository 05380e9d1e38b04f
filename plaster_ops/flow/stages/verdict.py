"""May an engine be used: parity of every output with eager, and the score it keeps. One rule for all that ask."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.metrics import Better
from plaster_ops.engines.parity import ParityReport
from plaster_ops.plaster.resampling import SetScore
from plaster_ops.plaster.retention import Kept, Retention, retention_of


def why_refused(
    parity: ParityReport, mine: SetScore, theirs: SetScore, better: Better, spec: Mapping[str, Any]
) -> tuple[Retention, str]:
    """The retained score, and why the engine may not be used: parity, the score, or both. Empty where it may.

    `mine` and `theirs`: the scores of the engine and of eager FP32 on all held-out samples. `spec`: `retained_ratio`,
    `max_lost_score`, and `inconclusive`, which says what becomes of an engine whose loss the samples cannot tell.
    """
    retention = retention_of(mine, theirs, spec, better, parity.precision)
    reasons = []
    if not parity.ok:
        reasons.append("parity with eager failed: " + "; ".join(parity.reasons))
    undecided = retention.state is Kept.UNDECIDED and spec.get("inconclusive", "reject") == "reject"
    if retention.state is Kept.LOST or undecided:
        reasons.append(retention.sentence)
    return retention, "; ".join(reasons)
