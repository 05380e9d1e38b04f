"""Drawings of the page: a metric over the retrains, and the curves of a fit. The only file that knows matplotlib
beside `svg_text`; both import it inside functions, half a second of CPU time."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S
from plaster_ops.report.svg_text import INK, svg_of
from plaster_ops.report.trend import Trend, TrendPoint, thinned

TREND, CURVE = (262.0, 108.0), (370.0, 175.0)
"""Width and height in units of the drawing; a page scales it to the width that there is."""

_DOTTED_UP_TO = 60
_STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
_IN_MICROSECONDS_S = 1e-3
"""Seconds below which times are written in us, as beside the chart."""
_HOLLOW = ("held",)


def trend_chart(trend: Trend, *, newest: int, worse: str, label: str) -> str:
    """The metric over the retrains. `newest`: the number of the one that is marked, where it has a value; `worse`: the
    direction that is worse, `up`, `down`, or empty."""
    figure, axes = _axes(TREND, (0.185, 0.17, 0.74, 0.73))
    _draw_changes(axes, trend)
    for stretch in trend.stretches():
        _draw_stretch(axes, stretch)
    _draw_levels(axes, trend)
    _draw_unsettled(axes, trend)
    _draw_newest(axes, [point for point in trend.points if point.index == newest])
    _limits(axes, trend)
    if trend.key == CPU_TIME_PER_INFERENCE_S.key and max(point.value for point in trend.points) < _IN_MICROSECONDS_S:
        _tick_microseconds(axes)
    _draw_alarms(axes, trend)
    if worse:
        _mark_worse(axes, worse)
    return svg_of(figure, name=f"t-{_slug(trend.key)}", label=label)


def curve_chart(curves: Mapping[str, Sequence[tuple[float, float]]], *, name: str, label: str) -> str:
    """Up to six curves of a fit, `(step, value)` each, in the order and with the strokes of the legend beside it."""
    figure, axes = _axes(CURVE, (0.135, 0.115, 0.845, 0.85))
    for place, points in enumerate(list(curves.values())[:6]):
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) <= 12 else ""
        axes.plot(
            steps, values, marker=marker, markersize=3.5, linewidth=1.6,
            color=INK[f"c{place + 1}"], linestyle=_STYLES[place],
        )  # fmt: skip
    axes.xaxis.set_major_locator(_ticks(5, integer=True))
    return svg_of(figure, name=f"c-{_slug(name)}", label=label)


def _axes(size: tuple[float, float], place: tuple[float, float, float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72)
    axes = figure.add_axes(place)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK["line"])
    axes.tick_params(colors=INK["soft"], labelsize=9, length=3, width=0.8, color=INK["line"], pad=2)
    axes.grid(visible=True, axis="y", color=INK["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(_ticks(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    return figure, axes


def _tick_microseconds(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{short_number(round(value * 1e6, 6))} us"))


def _ticks(most: int, *, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most, integer=integer, min_n_ticks=1 if integer else 2)


def _draw_stretch(axes: Any, stretch: Sequence[TrendPoint]) -> None:
    points = thinned(stretch)
    axes.plot(
        [p.index for p in points], [p.value for p in points], color=INK["busy"], linewidth=1.4, zorder=3,
        solid_joinstyle="round",
    )  # fmt: skip
    if len(points) > _DOTTED_UP_TO:
        return
    for hollow in (False, True):
        some = [p for p in points if p.is_settled and (p.verdict in _HOLLOW) == hollow]
        axes.plot(
            [p.index for p in some], [p.value for p in some], "o", markersize=4.2, color=INK["busy"], zorder=4,
            markerfacecolor=INK["card"] if hollow else INK["busy"], markeredgewidth=1.2,
        )  # fmt: skip


def _draw_levels(axes: Any, trend: Trend) -> None:
    """A band behind the dots; a line before a curve that is too dense to see anything behind."""
    dense = len(trend.points) > _DOTTED_UP_TO
    look = {"linewidth": 2.2, "zorder": 4.5} if dense else {"linewidth": 4, "alpha": 0.45, "zorder": 1}
    for level in trend.levels():
        axes.plot([level.first, level.last], [level.value] * 2, color=INK["text" if dense else "level"], **look)


def _draw_newest(axes: Any, points: Sequence[TrendPoint]) -> None:
    for point in points:
        axes.plot([point.index], [point.value], "o", color=INK["busy"], markersize=7, zorder=5)
        axes.plot(
            [point.index], [point.value], "o", markersize=12, markerfacecolor="none", color=INK["busy"], alpha=0.5,
            zorder=5,
        )  # fmt: skip


def _draw_unsettled(axes: Any, trend: Trend) -> None:
    points = thinned([point for point in trend.points if not (point.is_settled and point.is_measured)])
    axes.plot(
        [p.index for p in points], [p.value for p in points], "x", color=INK["soft"], markersize=4.5,
        markeredgewidth=1.2, zorder=3,
    )  # fmt: skip


def _draw_changes(axes: Any, trend: Trend) -> None:
    """Where machine, inputs or method changed: a thin line between two series."""
    stretches = trend.stretches()
    for before, after in pairwise(stretches):
        place = (before[-1].index + after[0].index) / 2
        axes.axvline(place, color=INK["soft"], linewidth=1.0, linestyle=":", zorder=2)


def _draw_alarms(axes: Any, trend: Trend) -> None:
    for index, worse in trend.alarms:
        if not trend.points[0].index <= index <= trend.points[-1].index:
            continue
        colour = INK["bad" if worse else "good"]
        axes.axvline(index, color=colour, linewidth=1.2, linestyle="--", zorder=2)
        axes.plot(
            [index], [1.0], "v" if worse else "^", transform=axes.get_xaxis_transform(), color=colour, markersize=7,
            clip_on=False, zorder=6,
        )  # fmt: skip


def _limits(axes: Any, trend: Trend) -> None:
    values = [point.value for point in trend.points]
    low, high = min(values), max(values)
    room = (high - low) * 0.18 or abs(high) * 0.05 or 1.0
    axes.set_ylim(low - room, high + room)
    first, last = trend.points[0].index, trend.points[-1].index
    side = max(0.5, (last - first) * 0.04)
    axes.set_xlim(first - side, last + side)
    axes.xaxis.set_major_locator(_ticks(6, integer=True))


def _mark_worse(axes: Any, worse: str) -> None:
    up = worse == "up"
    axes.text(
        1.035, 0.98 if up else 0.02, "worse →", transform=axes.transAxes, rotation=90 if up else -90, fontsize=9,
        color=INK["bad"], ha="left", va="top" if up else "bottom", parse_math=False,
    )  # fmt: skip


def short_number(value: float) -> str:
    """A tick in at most some six signs: `98.2k`, `0.00012`, `1.4`."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if name == 'k' else size):.4g}{name}"
    return f"{value:.4g}" if value else "0"


def _slug(text: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in text)
