"""R: whether a retrain was needed: what the champion makes of today's held-out data, which it has not learned."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Better
from plaster_ops.plaster.accuracy import ROLLING

NO_CHAMPION = "there was no champion that could do without it"


def need_of(
    evaluation: Mapping[str, Any], champion: str | None, margin: float, target: float | None = None
) -> dict[str, Any]:
    """`champion_score` on the rolling set, `needed` (None: it cannot be told) and `why_needed`. `champion`: its label.

    Not needed: the champion had `target` already, or the gain is shown to be below `margin` (90 % interval). Needed:
    the gain is beyond doubt (95 % interval).
    """
    section: Mapping[str, Any] = evaluation["sets"].get(ROLLING) or {}
    paired = section.get("paired", {}).get(champion)
    if champion is None or not paired:
        why = NO_CHAMPION if champion is None else "the champion was not scored on today's rolling set"
        return {"champion_score": None, "needed": None, "why_needed": why}
    value = float(section["engines"][champion]["value"])
    needed, why = _judged(paired, value, Better(evaluation["better"]), margin, target)
    return {"champion_score": value, "needed": needed, "why_needed": why}


def need_rows(
    evaluation: Mapping[str, Any], champion: str | None, margin: float, target: float | None = None
) -> list[Row]:
    """The row of what `need_of` finds."""
    found = need_of(evaluation, champion, margin, target)
    if found["needed"] is None:
        return [Unmeasured(metric=m.NEEDLESS_COUNT, reason=found["why_needed"])]
    return [Reading(metric=m.NEEDLESS_COUNT, value=0 if found["needed"] else 1, reason=found["why_needed"])]


def _judged(
    paired: Mapping[str, Any], value: float, better: Better, margin: float, target: float | None
) -> tuple[bool | None, str]:
    sign = 1.0 if better is Better.HIGHER else -1.0
    if target is not None and sign * value >= sign * target:
        return False, f"the champion scores {value:.4f} on today's rolling set, and the target is {target:g}"
    gain = f"the new model gains {sign * paired['delta']:+.4f} on the champion"
    narrow, wide = (sorted(sign * bound for bound in paired[key]) if paired[key] else None for key in ("ci90", "ci95"))
    if narrow is None or wide is None:
        return None, f"{gain}, and its interval is not known"
    if narrow[1] < 0:
        worse = -sign * paired["delta"]
        return False, f"the new model is {worse:.4f} worse than the champion (90 % at least {-narrow[1]:.4f})"
    if narrow[1] < margin:
        return False, f"{gain}, less than the margin of {margin:g} (90 % at most {narrow[1]:+.4f})"
    if wide[0] > 0:
        return True, f"{gain} (95 % {wide[0]:+.4f} to {wide[1]:+.4f})"
    return None, f"{gain}: too few samples to tell (95 % {wide[0]:+.4f} to {wide[1]:+.4f})"
