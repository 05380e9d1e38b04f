"""What a retrain learned beside earlier ones: whether it was needed, and how its fit did next to the baseline's."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.metrics import ROLLING_SCORE
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.context import Context
from plaster_ops.flow.curve import earlier_curve
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.train import Trained
from plaster_ops.plaster.curves import compare_curves, curve_rows
from plaster_ops.plaster.need import need_of, need_rows

_OTHER_SETS = "each on its own day's rolling set"


def with_learned(
    ctx: Context,
    card: Card,
    sheet: Sheet,
    *,
    trained: Trained,
    built: Built,
    champion: Baseline | None,
    shown: Baseline | None,
) -> tuple[Card, dict[str, Any], dict[str, Any]]:
    """The card with the rows of both questions, what is known of the need, and the section `curve` of `--json`."""
    label = champion.label if champion else None
    margin = ctx.pipeline.margins().get(ROLLING_SCORE.key, ROLLING_SCORE.margin or 0.0)
    asked = (built.evaluation, label, margin, ctx.pipeline.train.target_score)
    curve = curve_section(trained, shown)
    rows = [
        *sheet.add(need_rows, *asked),
        *sheet.add(curve_rows, curve["against"], curve["why_none"], _OTHER_SETS),
    ]
    return Card.of([*card, *rows]), need_of(*asked), curve


def curve_section(trained: Trained, shown: Baseline | None) -> dict[str, Any]:
    """The section `curve`: how many points were scored, and the comparison with the baseline's or why there is none."""
    points = trained.curve.get("points") or ()
    against: Mapping[str, Any] = {}
    reason = str(trained.curve.get("reason") or "")
    if points:
        earlier, reason = earlier_curve(shown)
        if earlier and earlier.get("better") != trained.curve["better"]:
            reason = "the score's better direction has changed since"
        elif earlier:
            against, reason = compare_curves(points, earlier["points"], str(trained.curve["better"]))
    section = {"points": len(points), "reason": str(trained.curve.get("reason") or ""), "why_none": reason}
    return section | {"against": {**against, "run": shown.record.index} if against and shown else None}
