"""Two runs of the past paired sample by sample, from what each kept of its answers: no engine is loaded.

Only where both were scored on the very same samples; where they were not, nothing is paired and nothing is said.
"""

from plaster_ops.domain.sample import PairedDifference
from plaster_ops.plaster.compact_values import SET_OF, right_bits, scored_set
from plaster_ops.tracking.journal import Journal


def stored_pairs(journal: Journal, now: str, then: str) -> dict[str, PairedDifference]:
    """Score differences of run `now` against run `then` (uids) by metric key: McNemar's mid-p on the kept bits.

    The rolling score pairs where both rolling sets have one digest, the engine's score where both golden sets have.
    Empty for scores that are not 0 or 1 a sample.
    """
    mine, theirs = (right_bits(journal.evidence(uid)) for uid in (now, then))
    found = {}
    for metric in SET_OF:
        one, other = scored_set(mine, metric), scored_set(theirs, metric)
        difference = one.pair(other, metric) if one and other and one.which == other.which else None
        if difference is not None:
            found[metric.key] = difference
    return found
