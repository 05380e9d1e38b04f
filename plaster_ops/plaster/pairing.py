"""Two engines' blocks side by side: the i-th turn of one against the i-th turn of the other, in the same process."""

import math
from collections.abc import Callable, Sequence

from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock

_TRIM = 0.2


def pair_blocks(
    evidence: Evidence,
    metric: Metric,
    kind: str,
    now: str,
    then: str,
    value: Callable[[MeasuredBlock], float | None],
) -> PairedRatios | None:
    """log(now / then) of `value` per process: a 20 % trimmed mean over its block pairs, which shrugs off preemptions.

    Blocks without a positive value leave with their partner; a process with fewer than two pairs says nothing,
    and None is returned where no process says anything.
    """
    per_process: list[float] = []
    within_se: list[float] = []
    pairs: list[int] = []
    for number in sorted({block.process for block in evidence.all_blocks}):
        mine, theirs = (
            {block.index: value(block) for block in evidence.blocks(kind, label) if block.process == number}
            for label in (now, then)
        )
        logs = [
            math.log(mine_value / their_value)
            for index in sorted(mine.keys() & theirs.keys())
            for mine_value, their_value in [(mine[index], theirs[index])]
            if mine_value and their_value and mine_value > 0 and their_value > 0
        ]
        if len(logs) >= 2:
            mean, error = trimmed_mean(logs)
            per_process.append(mean)
            within_se.append(error)
            pairs.append(len(logs))
    if not per_process:
        return None
    return PairedRatios(key=metric.key, per_process=tuple(per_process), within_se=tuple(within_se), pairs=tuple(pairs))


def trimmed_mean(values: Sequence[float]) -> tuple[float, float]:
    """20 % trimmed mean and its standard error from the winsorised variance (Yuen); at least two values."""
    ordered = sorted(values)
    count = len(ordered)
    cut = int(_TRIM * count)
    kept = ordered[cut : count - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    centre = sum(winsorised) / count
    squares = sum((value - centre) ** 2 for value in winsorised)
    return sum(kept) / len(kept), math.sqrt(squares / (len(kept) * (len(kept) - 1)))
