"""One number explained, as a terminal shows it and as Markdown. Takes the `--json` object of `explain`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaster_ops.domain.metric import Metric
from plaster_ops.domain.metrics import find_metric
from plaster_ops.report.numbers import show_change, show_interval, show_limit, show_value
from plaster_ops.report.safe_text import markdown_text, one_line
from plaster_ops.report.sparkline import sparkline

_WIDTH = 32
_EIGHTHS = "▏▎▍▌▋▊▉█"
_TIMED = ("restart", "block", "n", "value", "p50 ms", "p99 ms", "max ms", "samples/s", "J")

Table = tuple[Sequence[str], list[list[str]]]


def explain_text(found: Mapping[str, Any], *, unicode: bool = True) -> str:
    """Sections with a heading each; `unicode` False draws in ASCII."""
    parts = []
    for title, body in _sections(found, unicode=unicode):
        lines = [line if drawn else one_line(line) for line, drawn in _plain(body)]
        parts.append(f"{title}\n" + "\n".join(f"  {line}".rstrip() for line in lines) if title else "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def explain_markdown(found: Mapping[str, Any]) -> str:
    """The same as GitHub Markdown; drawings stand in code."""
    parts = []
    for title, body in _sections(found, unicode=True):
        parts.append(f"### {title}" if title else "")
        for each in body:
            if isinstance(each, str):
                parts.append(markdown_text(each))
            elif isinstance(each, list):
                parts.append("```\n" + "\n".join(each) + "\n```")
            else:
                head, rows = each
                table = [list(head), ["-"] * len(head), *rows]
                parts.append("\n".join("| " + " | ".join(map(markdown_text, row)) + " |" for row in table))
    return "\n\n".join(part for part in parts if part) + "\n"


Body = list[str | list[str] | Table]


def _sections(found: Mapping[str, Any], *, unicode: bool) -> Iterator[tuple[str, Body]]:
    metric = find_metric(found["metric"]["key"])
    yield "", [*_head(found, metric)]
    if found["restarts"]:
        yield "Restarts and their time blocks", [_restarts(found["restarts"], metric), *_notes(found["restarts"])]
    if found["histogram"]:
        yield "All queries", [_bars(found["histogram"], unicode=unicode)]
    if found["samples"]:
        yield "Samples", [_samples(found["samples"])]
    if found["curve"]:
        yield "Learning curve", [_curve(found["curve"])]
    if found["comparison"]:
        yield "Comparison", [*_comparison(found["comparison"], metric)]
    yield "Beside its history", [*_series(found["series"], metric, unicode=unicode)]
    yield "Environment", [*_environment(found["environment"])]
    yield "Records", [*_records(found["records"], found["again"], metric)]


def _head(found: Mapping[str, Any], metric: Metric) -> Iterator[str]:
    reading, run = found["reading"], found["run"]
    yield f"{metric.key} of {found['pipeline']} #{run['index']} ({run['verdict']}, {run['started_at'][:16]})"
    value = show_value(reading["value"], metric.unit)
    interval = reading.get("ci95")
    bounds = (
        f", 95 % CI {show_value(interval[0], metric.unit)} to {show_value(interval[1], metric.unit)}"
        if interval
        else ""
    )
    count = f", n {reading['n']}" if reading.get("n") is not None else ""
    yield f"{value}{bounds}{count}; {reading['status']}{': ' + reading['reason'] if reading.get('reason') else ''}"
    better = f"better {reading['better']}" if reading["better"] in ("higher", "lower") else "neither way is better"
    margin = (
        f", judged with margin {show_limit(metric.margin, metric)}" if metric.margin is not None else ", never judged"
    )
    yield f"{metric.meaning} ({metric.letter.value}, {metric.unit}, {better}{margin}; measured as {reading['method']})"


def _restarts(restarts: Sequence[Mapping[str, Any]], metric: Metric) -> Table:
    rows = []
    for restart in restarts:
        rows.append(_figures(str(restart["process"]), "all", restart, metric))
        rows += [_figures("", str(at), block, metric) for at, block in enumerate(restart["blocks"])]
    used = [place for place in range(len(_TIMED)) if place < 3 or any(row[place] for row in rows)]
    return [_TIMED[place] for place in used], [[row[place] for place in used] for row in rows]


def _figures(restart: str, block: str, figures: Mapping[str, Any], metric: Metric) -> list[str]:
    numbers = (figures[name] for name in ("p50_ms", "p99_ms", "max_ms", "samples_per_s", "joules"))
    value = "" if figures["value"] is None else show_value(figures["value"], metric.unit)
    return [restart, block, str(figures["n"]), value, *("" if each is None else f"{each:.4g}" for each in numbers)]


def _notes(restarts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for restart in restarts:
        steady = {True: "settled", False: "not settled"}.get(restart["is_steady"], "")
        warm = (
            f"{restart['warmup_queries']} queries dropped as warm-up" if restart["warmup_queries"] is not None else ""
        )
        said = [warm, steady, f"batch {restart['batch']}", f"{restart['turns']} turns", *restart["notes"]]
        if restart["sensor"] not in (None, "none"):
            said.append(f"sensor {restart['sensor']}")
        if restart["suspect"]:
            said.append(f"suspect: {restart['suspect']}")
        yield f"restart {restart['process']}: {', '.join(part for part in said if part)}"


def _bars(histogram: Mapping[str, Any], *, unicode: bool) -> list[str]:
    counts, edges, most = histogram["counts"], histogram["edges_ms"], max(histogram["counts"])
    lines = []
    for place, count in enumerate(counts):
        mark = "<- value" if place == histogram["value_bar"] else ""
        span = f"{edges[place]:>9.4g} to {edges[place + 1]:<9.4g} ms"
        lines.append(f"{span} {count:>8} {_bar(count / most, unicode=unicode)} {mark}".rstrip())
    return lines


def _bar(share: float, *, unicode: bool) -> str:
    if not unicode:
        return "#" * round(share * _WIDTH)
    whole, rest = divmod(round(share * _WIDTH * 8), 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else "")


def _samples(samples: Mapping[str, Any]) -> str:
    return (
        f"{samples['set']} set, {samples['n']} samples (digest {samples['holdout'][:12]}): {samples['right']} scored 1"
    )


def _curve(curve: Mapping[str, Any]) -> Table:
    names = ("epoch", "step", "samples", "fit_s", "score")
    return names, [["" if point[name] is None else f"{point[name]:.6g}" for name in names] for point in curve["points"]]


def _comparison(section: Mapping[str, Any], metric: Metric) -> Iterator[str]:
    row, against = section["row"], section["against"] or {}
    change = row["change_ratio"] if row["change_ratio"] is not None else row["change_difference"]
    against_run = f"#{against['index']}" if against.get("index") is not None else "an earlier run"
    yield f"against {against_run} ({row['how']}): {row['verdict']}" + (
        f": {row['reason']}" if row.get("reason") else ""
    )
    shown = [
        f"now {show_value(row['now'], metric.unit)}, then {show_value(row['then'], metric.unit)}",
        f"change {show_change(change, metric)}" if change is not None else "",
        f"95 % CI {show_interval(row['ci95'], metric)}" if row["ci95"] else "",
        f"margin {show_limit(row['limit'], metric)}",
        f"p {row['p_value']:.3g}" if row["p_value"] is not None else "",
        f"adjusted p {row['p_adjusted']:.3g}" if row["p_adjusted"] is not None else "",
    ]
    yield ", ".join(part for part in shown if part)
    yield from _arithmetic(section["arithmetic"] or {}, metric)
    if section["noise_half_width"] is not None:
        yield f"two copies of one engine differ by up to {section['noise_half_width']:.2%} here"
    yield from section["what_would_change"]
    yield from _against_history(row.get("history"), metric)


def _against_history(told: Mapping[str, Any] | None, metric: Metric) -> Iterator[str]:
    """The other question: is this retrain out of the ordinary?"""
    if not told:
        return
    change = f", {show_change(told['change'], metric)}" if told["change"] is not None else ""
    interval = f" {show_interval(told['ci95'], metric)}" if told["ci95"] else ""
    reason = f": {told['reason']}" if told["reason"] else ""
    yield f"against {told['n']} earlier retrains: {told['verdict']}{change}{interval}{reason}"


def _arithmetic(steps: Mapping[str, Any], metric: Metric) -> Iterator[str]:
    kind = steps.get("kind")
    if kind == "paired_ratios":
        logs = ", ".join(f"{value:+.4f}" for value in steps["per_process_log_ratio"])
        yield f"log(now / then) by restart: {logs} (pairs of blocks: {', '.join(map(str, steps['pairs']))})"
        spread = steps["sd_between_processes"]
        between = "one restart" if spread is None else f"sd between restarts {spread:.4f}"
        yield (
            f"mean {steps['estimate_log_ratio']:+.4f}; {between}, prior {steps['prior_sd']:.4f}, together"
            f" {steps['moderated_sd']:.4f}; standard error {steps['standard_error']:.4f} on"
            f" {steps['degrees_of_freedom']} degrees of freedom"
        )
    elif kind == "paired_samples":
        counts = f": {steps['gained']} gained, {steps['lost']} lost" if steps["gained"] is not None else ""
        yield f"{steps['n']} samples that both answered{counts}; {steps['method']}, estimate {steps['estimate']:+.4f}"
    elif kind == "history":
        yield (
            f"{steps['earlier']} earlier retrains around {show_value(steps['level'], metric.unit)}, sd of logs"
            f" {steps['sd_of_logs']:.4f}; standard error {steps['standard_error']:.4f} on"
            f" {steps['degrees_of_freedom']} degrees of freedom"
        )


def _series(series: Mapping[str, Any], metric: Metric, *, unicode: bool) -> Iterator[str]:
    values = [point["value"] for point in series["points"]]
    if len(values) > 1:
        ends = f"#{series['points'][0]['index']} to #{series['points'][-1]['index']}"
        yield f"{sparkline(values, unicode=unicode)}  {ends}"
    if series["level"] is None:
        yield "no earlier retrain of this kind of machine and method has this value"
    else:
        level, mad = show_value(series["level"], metric.unit), show_value(series["mad"], metric.unit)
        yield f"{series['runs_before']} alike before it; median of the last 20: {level}, usual distance from it {mad}"
    if series["rank_from_best"] is not None:
        yield f"number {series['rank_from_best']} from the best, of those before it and the next few"
    for alarm in series["alarms"]:
        yield (
            f"alarm {alarm['id']} ({alarm['state']}): {alarm['shape']} at #{alarm['index']},"
            f" {show_value(alarm['before'], metric.unit)} -> {show_value(alarm['after'], metric.unit)}"
        )


def _environment(environment: Mapping[str, Any]) -> Iterator[str]:
    shapes = ", ".join(environment["input_shapes"] or ())
    yield f"{environment['device']} x {environment['device_count']}, {environment['threads']} threads, inputs {shapes}"
    yield ", ".join(f"{name} {value}" for name, value in environment["environment"].items() if value)


def _records(records: Mapping[str, Any], again: Mapping[str, Any] | None, metric: Metric) -> Iterator[str]:
    raw = "raw samples are there" if records["raw_samples"] else "raw samples were pruned, or nothing was timed"
    yield f"{records['artifacts'] or 'no artifacts'}: {raw}"
    yield f"kept for ever: {records['compact_rows']} compact rows, {records['compact_bytes']} bytes"
    if again is not None:
        off = f" (at most {again['error_ratio']:.1%} off)" if again["error_ratio"] else " (exact)"
        yield f"from them: {show_value(again['value'], metric.unit)}{off}"
    yield f"{records['recompute']}: {records['recompute_gives']}"


def _plain(body: Body) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is drawn: blanks in it count."""
    for each in body:
        if isinstance(each, str):
            yield each, False
        elif isinstance(each, list):
            yield from ((line, True) for line in each)
        else:
            head, rows = each
            widths = [max(len(line[i]) for line in (list(head), *rows)) for i in range(len(head))]
            for line in (list(head), *rows):
                yield "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), True
