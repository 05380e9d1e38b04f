"""How often a pipeline learns: rates per day from the journal's runs and promotions. Standard library only.

Instants are seconds since the epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plaster_ops.plaster.percentiles import nearest_rank

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
CYCLES = 20
FEW = 5
_SAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One promotion. `absorbed`: samples that its model was trained on and no champion before; `newest_trained_at`:
    when the newest of them came into being; None where not known. `is_again`: an older run took its place again."""

    at_s: float
    absorbed: int | None
    newest_trained_at: float | None
    is_again: bool = False


def possible_per_day(cycles_s: Sequence[float]) -> float | None:
    """86,400 / p95 (nearest rank) of the last 20 cycles; of fewer than 5 the longest counts. None without any."""
    newest = sorted(seconds for seconds in cycles_s[-CYCLES:] if seconds > 0)
    if not newest:
        return None
    slow_s = newest[-1] if len(newest) < FEW else newest[nearest_rank(len(newest), 0.95) - 1]
    return DAY_S / slow_s


def done(deployments: Sequence[Deployment], now_s: float, window_s: float) -> int:
    """New engines promoted in `(now - window, now]`; one that takes its place again is no new one."""
    return sum(not each.is_again and now_s - window_s < each.at_s <= now_s for each in deployments)


def absorbed(deployments: Sequence[Deployment], now_s: float) -> int | None:
    """Samples that champions of the last 24 hours learned first; None where one of them does not tell."""
    found = [each.absorbed for each in deployments if not each.is_again and now_s - DAY_S < each.at_s <= now_s]
    return None if None in found else sum(count or 0 for count in found)


def staleness_p95_s(deployments: Sequence[Deployment], now_s: float) -> tuple[float, float] | None:
    """p95 of the age of the champion's newest training datum, and the seconds that it was watched.

    Watched are the last 7 days, from the first champion on whose data's time is known; 1,000 instants, evenly spaced,
    nearest rank. `deployments` oldest first. None where there is no such champion, or only as of now.
    """
    known = [each for each in deployments if each.at_s < now_s]
    begin = next((place for place, each in enumerate(known) if each.newest_trained_at is not None), None)
    if begin is None:
        return None
    from_s = max(known[begin].at_s, now_s - WEEK_S)
    ages, place = [], begin
    for sample in range(1, _SAMPLES + 1):
        at_s = from_s + (now_s - from_s) * sample / _SAMPLES
        while place + 1 < len(known) and known[place + 1].at_s <= at_s:
            place += 1
        born_s = known[place].newest_trained_at
        if born_s is None:
            return None
        ages.append(at_s - born_s)
    p95_s = sorted(ages)[nearest_rank(_SAMPLES, 0.95) - 1]
    return (p95_s, now_s - from_s) if math.isfinite(p95_s) and p95_s >= 0 else None
