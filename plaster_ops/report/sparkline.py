"""A series of numbers as one short line of signs."""

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=*#"
MOST = 20


def sparkline(values: Sequence[float | None], *, unicode: bool = True) -> str:
    """The newest 20 values between their smallest and largest, a sign each; a gap where there is none.

    Without `unicode` in ASCII. A constant series stands in the middle.
    """
    signs = _BLOCKS if unicode else _ASCII
    newest = list(values)[-MOST:]
    known = [value for value in newest if value is not None and value - value == 0]
    if not known:
        return ""
    low, high = min(known), max(known)
    return "".join(_sign(value, low, high, signs) for value in newest)


def _sign(value: float | None, low: float, high: float, signs: str) -> str:
    if value is None or value - value != 0:
        return " "
    if high == low:
        return signs[len(signs) // 2]
    return signs[min(len(signs) - 1, int((value - low) / (high - low) * len(signs)))]


def can_show(encoding: str | None) -> bool:
    """Whether a stream of that encoding can show the signs of a sparkline."""
    try:
        _BLOCKS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
