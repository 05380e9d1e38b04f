"""Spans of time and instants as a person reads them."""

from datetime import datetime

from plaster_ops.domain.schedule import zone_of

_PARTS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def show_span(seconds: float) -> str:
    """The two largest parts: `45 s`, `3 min 30 s`, `3 h 5 min`, `2 d 1 h`; no seconds from ten minutes on."""
    left, counts = round(abs(seconds)), list[tuple[int, str]]()
    for name, size in _PARTS:
        count, left = divmod(left, size)
        counts.append((count, name))
    first = next((place for place, (count, _) in enumerate(counts) if count), 0)
    if counts[2][0] >= 10 and first == 2:
        counts = counts[:3]
    return " ".join(f"{count} {name}" for count, name in counts[first : first + 2] if count) or "0 s"


def ago(at_s: float, now_s: float) -> str:
    """`3 h 5 min ago`, `in 12 min`, `now`."""
    if round(at_s) == round(now_s):
        return "now"
    return f"{show_span(now_s - at_s)} ago" if at_s < now_s else f"in {show_span(at_s - now_s)}"


def local_text(at_s: float, zone: str) -> str:
    """`Sat 2026-11-28 02:00:00 CET`, in that zone."""
    return datetime.fromtimestamp(round(at_s), tz=zone_of(zone)).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def instant_text(at_s: float) -> str:
    """`2026-11-28 01:00 UTC`, for sentences."""
    return datetime.fromtimestamp(round(at_s), tz=zone_of("UTC")).strftime("%Y-%m-%d %H:%M UTC")


def short_text(at_s: float, zone: str, now_s: float) -> str:
    """`02:00 CET` today, `Sat 02:00 CET` within a week, else `2026-11-28 02:00 CET`: in that zone, to the minute."""
    there = zone_of(zone)
    at, now = datetime.fromtimestamp(round(at_s), tz=there), datetime.fromtimestamp(now_s, tz=there)
    days = abs((at.date() - now.date()).days)
    return at.strftime("%H:%M %Z" if days == 0 else "%a %H:%M %Z" if days < 7 else "%Y-%m-%d %H:%M %Z")
