"""How a retrain's fit starts: from the champion's weights, from scratch, or, now and then, both and the better wins.

Whether a warm start still learns is not known from one fit alone: weights that were trained night after night may have
stopped taking in anything new. `start = "auto"` asks it by a race every so often, and goes by its answer till the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plaster_ops.domain.metrics import Better

StartUsed = Literal["warm", "scratch"]
WARM: StartUsed = "warm"
SCRATCH: StartUsed = "scratch"
SCRATCH_EVERY = 2
"""While scratch is in favour every second retrain is a race: a champion from scratch may be a good start again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartPlan:
    """The start to use, whether the other one is tried too, and why."""

    used: StartUsed
    race: bool
    why: str


def plan_start(
    setting: str, *, has_champion: bool, weights: bool, earlier: Sequence[Mapping[str, Any]], every: int
) -> StartPlan:
    """`earlier`: the sections `start` of the finished retrains, oldest first; `weights`: the champion's are there."""
    if setting == SCRATCH:
        return StartPlan(used=SCRATCH, race=False, why="asked for")
    if not weights:
        why = "the champion's weights are gone" if has_champion else "there is no champion yet"
        return StartPlan(used=SCRATCH, race=False, why=why)
    if setting == WARM:
        return StartPlan(used=WARM, race=False, why="asked for")
    races = [place for place, section in enumerate(earlier) if section.get("race")]
    if not races:
        return StartPlan(used=WARM, race=True, why="warm and scratch have never raced")
    won: StartUsed = SCRATCH if earlier[races[-1]]["race"].get("won") == SCRATCH else WARM
    ago, due = len(earlier) - races[-1], min(every, SCRATCH_EVERY) if won == SCRATCH else every
    since = "the last race was one retrain ago" if ago == 1 else f"the last race was {ago} retrains ago"
    if ago >= due:
        return StartPlan(used=won, race=True, why=f"{since}, and {won} won it")
    return StartPlan(used=won, race=False, why=f"{won} won the last race; {since}, the next is due after {due}")


def judge_race(scored: Mapping[str, Any], margin: float) -> tuple[StartUsed, str]:
    """Who won, and the sentence. `scored`: what the stage `scores` gave for `warm` and `scratch`, paired.

    Scratch wins where it is better by more than `margin`, or where the 95 % interval of the difference excludes zero;
    everything else is a tie, and warm's.
    """
    scores, pair = scored["scores"], scored["paired"][WARM]
    lost = [label for label in (SCRATCH, WARM) if scores[label]["value"] is None]
    if lost or pair is None:
        won = SCRATCH if lost == [WARM] else WARM
        return won, f"{lost[0] if lost else SCRATCH} has no score: {won} is used"
    sign = 1.0 if Better(scored["better"]) is Better.HIGHER else -1.0
    gain = sign * pair["delta"]
    bounds = sorted(sign * bound for bound in pair["ci95"]) if pair["ci95"] else None
    told = f"scratch scored {scores[SCRATCH]['value']:.4f}, warm {scores[WARM]['value']:.4f}"
    told += f" (difference {pair['delta']:+.4f}, 95 % {_span(pair['ci95'])})"
    if gain > margin or (bounds is not None and bounds[0] > 0):
        return SCRATCH, f"{told}: warm start had rotted, scratch is used until the next race"
    return WARM, f"{told}: warm holds its own and is used until the next race"


def _span(bounds: Sequence[float] | None) -> str:
    return "not known" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
