"""Lengths of time and look-backs as a person writes them: `7d`, `36h`, `last 50000`."""

import re
from dataclasses import dataclass

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w)")
_LAST = re.compile(r"last ([1-9]\d*)")


def duration_us(text: str) -> int:
    """Microseconds of `30m`, `36h`, `7d`, `1.5 d`; units ms, s, m, h, d, w. Raises `ValueError` for any other text."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration such as '30m', '36h' or '7d'")
    return round(float(found[1]) * _UNITS_S[found[2]] * 1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookback:
    """How much of the old data is trained on again: all of it (both None), what is younger, or the newest rows."""

    age_us: int | None = None
    rows: int | None = None


def parse_lookback(text: str) -> Lookback:
    """`all`, a duration (`90d`), or `last 50000`. Raises `ValueError` for any other text."""
    wanted = text.strip()
    if wanted == "all":
        return Lookback()
    last = _LAST.fullmatch(wanted)
    if last is not None:
        return Lookback(rows=int(last[1]))
    try:
        return Lookback(age_us=duration_us(wanted))
    except ValueError:
        raise ValueError(f"{text!r} is none of 'all', a duration such as '90d', or 'last 50000'") from None
