"""Numbers as a person reads them, with their unit."""

from plaster_ops.domain.metric import Metric, Scale

_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def show_value(value: float | None, unit: str) -> str:
    """`1.92 ms`, `48.7 MB`, `8 214 /s`; "n/a" where there is no value."""
    if value is None:
        return "n/a"
    if unit == "bytes":
        return _bytes(value)
    if unit == "count":
        return f"{value:,.0f}".replace(",", " ")
    if unit == "macs":
        return _thousands(value) + " MAC"
    if unit == "ratio":
        return f"{value:.3f}"
    if unit in ("score", "pvalue"):
        return f"{value:.4f}"
    if unit == "per_s":
        return f"{_thousands(value)} /s"
    if unit == "per_j":
        return f"{_significant(value)} /J"
    if unit == "s":
        return _seconds(value)
    return f"{_significant(value)} {unit}"


def show_change(value: float | None, metric: Metric) -> str:
    """`+1.2 %`, or a difference of scores `+0.0042`."""
    if value is None:
        return ""
    if metric.scale is Scale.DIFFERENCE:
        return f"{value:+.4f}"
    return f"{value * 100:+.1f} %"


def show_limit(value: float | None, metric: Metric) -> str:
    """The margin beyond which a change counts."""
    if value is None:
        return ""
    return f"{value:g}" if metric.scale is Scale.DIFFERENCE else f"{value * 100:g} %"


def show_interval(ci95: tuple[float, float] | list[float] | None, metric: Metric) -> str:
    """The 95 % interval of a change."""
    if not ci95:
        return "exact" if metric.scale is Scale.EXACT else ""
    return f"[{show_change(ci95[0], metric)}, {show_change(ci95[1], metric)}]"


def _significant(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else _thousands(value)


def _thousands(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def _bytes(value: float) -> str:
    for name, size in _BYTES:
        if abs(value) >= size:
            return f"{value / size:.1f} {name}"
    return f"{value:.0f} B"


def _seconds(value: float) -> str:
    if abs(value) >= 120:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds:02d} s"
    if abs(value) < 1e-3:
        return f"{value * 1e6:.3g} us"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.1f} s"
