"""What is concluded beside the table: what changed, whose it is, what was traded, how unusual the retrain is."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

_MOST_CHANGES = 8
_TESTED = ("better", "worse", "same", "inconclusive")


def assessed_lines(payload: Mapping[str, Any]) -> list[str]:
    """One line each, `name   text`; none for what there is nothing to say of."""
    found = payload.get("assessment") or {}
    environment = found.get("environment") or {}
    lines = {
        "changed": _changed(found.get("changed") or ()),
        "whose": str(environment.get("sentence") or "") if environment.get("rows") else "",
        "trade-off": str(found.get("tradeoff") or ""),
        "history": _history(payload.get("comparison") or ()),
    }
    return [f"{name:<10}{text}" for name, text in lines.items() if text]


def _changed(changes: Sequence[Mapping[str, Any]]) -> str:
    """`params: train.seed 0 -> 1 | environment: threads 2 -> 1`, the first eight of them."""
    shown = changes[:_MOST_CHANGES]
    parts = [
        f"{kind}: " + ", ".join(f"{row['name']} {_word(row['then'])} -> {_word(row['now'])}" for row in rows)
        for kind, rows in groupby(shown, key=lambda row: str(row["kind"]))
    ]
    more = len(changes) - len(shown)
    return " | ".join(parts) + (f" | and {more} more" if more else "")


def _word(value: str | None) -> str:
    """As it is; digests shortened."""
    if value is None:
        return "none"
    is_digest = len(value) >= 40 and all(c in "0123456789abcdef" for c in value[:40])
    return value[:12] + value[40:] if is_digest and len(value) < 64 else value[:12] if is_digest else value


def _history(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each headline's verdict against earlier retrains, where there were enough of them."""
    told = [
        (row["letter"], row["history"])
        for row in rows
        if row.get("headline") and row.get("history") and row["history"]["p_value"] is not None
    ]
    if not told:
        return ""
    words = [
        f"{word} {' '.join(letter for letter, found in told if found['verdict'] == word)}"
        for word in _TESTED
        if any(found["verdict"] == word for _, found in told)
    ]
    return f"{', '.join(words)}: this retrain against {max(found['n'] for _, found in told)} before it"
