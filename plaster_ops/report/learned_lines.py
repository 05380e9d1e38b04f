"""How a retrain started, whether it was needed, and how its fit learned beside the baseline's: lines for people."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.report.numbers import show_value


def start_lines(payload: Mapping[str, Any]) -> list[str]:
    """What is worth a line of the section `start`: a race, a fit that ended early, a retrain that nobody needed."""
    start = payload.get("start") or {}
    lines = []
    if start.get("race"):
        lines.append(f"race: {start['race']['why']}")
    if start.get("stopped") not in (None, "max_epochs"):
        lines.append(f"fit ended by {str(start['stopped']).replace('_', ' ')}")
    if start.get("needed") is False:
        lines.append(f"could have been left out: {start['why_needed']}")
    return lines


def curve_line(payload: Mapping[str, Any]) -> str:
    """The comparison of two learning curves; empty where there is none."""
    found = (payload.get("curve") or {}).get("against")
    if not found:
        return ""
    samples = f"after {found['samples']:,} samples {found['score_now']:.4f}, #{found['run']} {found['score_then']:.4f}"
    took = f"{found['samples_now']:,.0f} samples and {show_value(found['seconds_now'], 's')}"
    needed = f"{found['common_score']:.4f} took {took}"
    then = f"then {found['samples_then']:,.0f} and {show_value(found['seconds_then'], 's')}"
    return f"learning: {samples}; {needed}, {then}"
