"""Why a row of a comparison got its verdict: the arithmetic in numbers, and what would have changed it in sentences.

Works on rows as they were recorded (`comparison` of `--json`), so that a run of any age can be explained.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import student
from plaster_ops.domain.earlier import PRIOR_WEIGHT
from plaster_ops.domain.judgement import Judgement, ReasonCode
from plaster_ops.domain.metrics import Scale, find_metric
from plaster_ops.domain.rule import FALSE_DISCOVERY_RATE
from plaster_ops.domain.sample import PairedDifference, PairedRatios


def change_of(row: Mapping[str, Any]) -> float | None:
    """The change that was judged, in the unit of its limit; None where there is none."""
    found = row.get("change_ratio") if row.get("change_ratio") is not None else row.get("change_difference")
    return None if found is None else float(found)


def ratio_arithmetic(paired: PairedRatios, row: Mapping[str, Any]) -> dict[str, Any]:
    """How paired blocks became an interval; logs of ratios where a name says `log`."""
    values, m = paired.per_process, len(paired.per_process)
    within = math.sqrt(statistics.fmean(error**2 for error in paired.within_se)) if paired.within_se else 0.0
    prior = max(math.log1p(float(row["limit"] or 0.0)) / 4.0, within)
    variance = statistics.variance(values) if m > 1 else 0.0
    spread = student.moderated(variance, m - 1, prior=prior, weight=PRIOR_WEIGHT)
    return {
        "kind": "paired_ratios",
        "per_process_log_ratio": list(values),
        "within_process_se": list(paired.within_se),
        "pairs": list(paired.pairs),
        "estimate_log_ratio": statistics.fmean(values),
        "sd_between_processes": math.sqrt(variance) if m > 1 else None,
        "prior_sd": prior,
        "moderated_sd": math.sqrt(spread.variance),
        "standard_error": student.error_of_mean(spread.variance, m),
        "degrees_of_freedom": spread.freedom,
    }


def difference_arithmetic(paired: PairedDifference) -> dict[str, Any]:
    """How samples that were answered by both engines became an interval."""
    return {
        "kind": "paired_samples",
        "method": paired.method,
        "n": paired.n,
        "gained": paired.gained,
        "lost": paired.lost,
        "estimate": paired.delta,
        "ci90": list(paired.ci90) if paired.ci90 else None,
    }


def history_arithmetic(earlier: Sequence[float], row: Mapping[str, Any]) -> dict[str, Any] | None:
    """How earlier retrains became an interval; None where there are no two of them above zero."""
    logs = [math.log(value) for value in earlier if value > 0][-20:]
    if len(logs) < 2:
        return None
    m, s = len(logs), statistics.stdev(logs)
    prior = math.log1p(float(row.get("limit") or 0.0)) / 2.0
    spread = student.moderated(s * s, m - 1, prior=prior, weight=0 if m >= 10 else PRIOR_WEIGHT)
    return {
        "kind": "history",
        "earlier": m,
        "level": math.exp(statistics.fmean(logs)),
        "sd_of_logs": s,
        "prior_sd": prior if m < 10 else None,
        "moderated_sd": math.sqrt(spread.variance),
        "standard_error": math.sqrt(spread.variance * (1 + 1 / m)),
        "degrees_of_freedom": spread.freedom,
    }


def what_would_change(row: Mapping[str, Any]) -> list[str]:
    """What the verdict hung on, and what would have made it another one."""
    change, limit, interval = change_of(row), float(row.get("limit") or 0.0), row.get("ci95")
    verdict = Judgement(row["verdict"])
    if verdict is Judgement.NOT_COMPARABLE or change is None:
        return ["nothing was compared: with both values, of one method on one kind of machine, it would be"]
    scale = find_metric(str(row["key"])).scale
    if scale is Scale.EXACT:
        return [_exact(change, limit, scale)]
    if interval is None and row.get("reason_code") == ReasonCode.TOO_FEW_SAMPLES:
        return ["the change has no interval: more samples in the set that is scored would give it one"]
    if interval is None:
        return ["nothing stands behind this change but two recorded numbers: measured side by side it would be judged"]
    half = (float(interval[1]) - float(interval[0])) / 2
    if verdict in (Judgement.WORSE, Judgement.BETTER):
        return _decided(row, change, limit, half, scale)
    if verdict is Judgement.SAME:
        room = limit - abs(change)
        return [f"the 90 % interval lies inside the margin: a change larger by about {_shown(room, scale)} would not"]
    return _undecided(row, change, limit, half, scale)


def _exact(change: float, limit: float, scale: Scale) -> str:
    if change == 0.0:
        return "both are equal; any change beyond the margin would be told"
    if abs(change) <= limit:
        return f"inside the margin {_shown(limit, scale)}; a margin below {_shown(abs(change), scale)} would tell it"
    return f"exact, so beyond the margin is enough: a margin of {_shown(abs(change), scale)} or more would call it same"


def _decided(row: Mapping[str, Any], change: float, limit: float, half: float, scale: Scale) -> list[str]:
    nearest = min(abs(float(bound)) for bound in row["ci95"])
    said = [
        f"the interval stays {_shown(nearest, scale)} clear of no change, and the estimate is "
        f"{_shown(abs(change) - limit, scale)} beyond the margin: a margin of {_shown(abs(change), scale)} or more, or"
        f" an interval wider than +-{_shown(half + nearest, scale)}, would have left it open"
    ]
    adjusted = row.get("p_adjusted")
    if adjusted is not None and adjusted > FALSE_DISCOVERY_RATE / 10:
        said.append(
            f"the correction for many metrics would have undone it above {FALSE_DISCOVERY_RATE:g}; it is {adjusted:.3g}"
        )
    return said


def _undecided(row: Mapping[str, Any], change: float, limit: float, half: float, scale: Scale) -> list[str]:
    low, high = (float(bound) for bound in row["ci95"])
    adjusted = row.get("p_adjusted")
    if (low > 0 or high < 0) and abs(change) > limit and adjusted is not None and adjusted > FALSE_DISCOVERY_RATE:
        return [
            f"alone it would be told (p {row['p_value']:.3g}); among all metrics p is {adjusted:.3g}: more restarts"
        ]
    if low > 0 or high < 0:
        return [f"there is a change, below the margin: a margin below {_shown(abs(change), scale)} would tell it"]
    smallest = max(limit, half)
    said = [f"it could have shown a change of {_shown(smallest, scale)} or more"]
    room = limit - abs(change)
    wanted = room if room > 0 else abs(change)
    if wanted > 0 and half > wanted:
        times = math.ceil((half / wanted) ** 2)
        word = "same" if room > 0 else "worse or better"
        said.append(f"about {times} times the evidence (restarts, samples, or earlier retrains) would call it {word}")
    return said


def _shown(amount: float, scale: Scale) -> str:
    return f"{amount:.4f}" if scale is Scale.DIFFERENCE else f"{amount * 100:.3g} %"
