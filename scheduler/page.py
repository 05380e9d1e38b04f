"""The status page: one self-contained HTML text without scripts. What needs a look first, then all the rest.

Every text that comes from outside is escaped on the line that writes it.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Slot, SlotState
from scheduler.findings import Kind
from scheduler.spans import ago, local_text, short_text, show_span
from scheduler.status import Condition, PipelineStatus, Retrain, Snapshot
from scheduler.tables import one_line, running_words, state_words, why

REFRESH_S = 15
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
"""The Content-Security-Policy under which the page is whole."""

_SECTIONS = ("Needs a look", "Running", "Waiting", "Paused", "All the others, by their next slot")
_TITLED_ROWS = 100
"""In longer sections the cells of strips have no text of their own: a thousand pipelines stay a page of some 700 kB."""

_TILES = (
    ("late", "bad"),
    ("failing", "bad"),
    ("missed", "bad"),
    ("unkept", "bad"),
    ("running", "busy"),
    ("waiting", "busy"),
    ("retrying", "warn"),
    ("paused", "warn"),
    ("ok", "good"),
)
_CELLS = {
    "ran": "ran",
    "held": "ran, and was held by a gate",
    "nothing": "nothing new",
    "skipped": "skipped",
    "missed": "missed",
    "failed": "failed",
    "timed_out": "timed out",
    "running": "running",
    "due": "waiting",
}
_ALWAYS = ("late", "failing", "running", "waiting", "ok")
_DOT = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Ccircle cx='4' cy='4' r='4' fill='{}'/%3E%3C/svg%3E"
)


def render(told: Snapshot) -> str:
    """The page."""
    parts = _sorted(told)
    title = f"{f'{len(parts[0])} to look at' if parts[0] else 'all is well'} · {told.project}"
    icon = _DOT.format("%23c62f2f" if told.findings else "%232e8b57")
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="refresh" content="{REFRESH_S}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{_text(title)}</title><link rel="icon" href="{icon}"><style>{_STYLE}</style></head><body>',
            _head(told),
            *(_section(name, rows, told.at_s) for name, rows in zip(_SECTIONS, parts, strict=True)),
            "" if told.pipelines else "<p>No pipeline is declared in the settings yet.</p>",
            _key(),
            "</body></html>\n",
        )
    )


def _text(text: str) -> str:
    """Text from outside: no markup, and nothing that does not print."""
    return escape(one_line(text))


def _sorted(told: Snapshot) -> tuple[list[PipelineStatus], ...]:
    """The pipelines of each section."""
    parts: tuple[list[PipelineStatus], ...] = ([], [], [], [], [])
    for pipeline in told.pipelines:
        tests = (
            pipeline.findings or (_notes(pipeline) and pipeline.pause is None),
            pipeline.running,
            pipeline.waiting and pipeline.pause is None,
            pipeline.pause,
        )
        parts[next((place for place, holds in enumerate(tests) if holds), len(tests))].append(pipeline)
    kinds = tuple(Kind)
    parts[0].sort(key=lambda p: (kinds.index(p.findings[0].kind), p.findings[0].since_s) if p.findings else (9, 0.0))
    parts[2].sort(key=lambda p: p.waiting[0].due_s)
    parts[4].sort(key=lambda p: (p.next is None, 0.0 if p.next is None else p.next.due_s))
    return parts


def _head(told: Snapshot) -> str:
    counts = [(word, told.count(word), tone) for word, tone in _TILES]
    tiles = "".join(
        f'<li class="{tone if count else "zero"}"><b>{count}</b>{word}</li>'
        for word, count, tone in counts
        if count or word in _ALWAYS
    )
    busy = f'<li class="{"busy" if told.busy else "zero"}"><b>{told.busy} of {told.devices}</b>devices busy</li>'
    return (
        f"<header><h1>{_text(told.project)}</h1>"
        f"<small>{_text(iso(told.at_s)[:19].replace('T', ' '))} UTC, renewed every {REFRESH_S} s</small></header>"
        f'<ul class="whole">{tiles}{busy}</ul>'
        f'<p class="service {told.service.state.value}">{_text(told.service.reason)}'
        f"{_since(told)}</p>"
    )


def _since(told: Snapshot) -> str:
    started_s = told.service.started_s
    return f", up for {show_span(told.at_s - started_s)}" if started_s is not None and told.service.is_alive else ""


def _section(name: str, rows: Sequence[PipelineStatus], now_s: float) -> str:
    if not rows:
        return ""
    titled = len(rows) <= _TITLED_ROWS
    body = "".join(_row(pipeline, now_s, titled=titled) for pipeline in rows)
    return (
        f"<section><h2>{name} <small>{len(rows)}</small></h2><table><thead><tr>"
        '<th class="c1">pipeline</th><th class="c2">state</th><th class="c3">next</th><th class="c4">last</th>'
        f'<th class="c5">newest slots</th></tr></thead><tbody>{body}</tbody></table></section>'
    )


def _row(pipeline: PipelineStatus, now_s: float, *, titled: bool) -> str:
    triggers = f"<small>{_text(pipeline.triggers)}</small>" if pipeline.triggers else ""
    return (
        f"<tr{' class=bad' if pipeline.findings else ''}>"
        f'<td class="c1"><b>{_text(pipeline.name)}</b>'
        f"<small>{_text(pipeline.cadence)}</small>{triggers}</td>"
        f'<td class="c2">{_state(pipeline, now_s)}</td>'
        f'<td class="c3" data-name="next">{_next(pipeline, now_s)}</td>'
        f'<td class="c4" data-name="last">{_last(pipeline, now_s)}</td>'
        f'<td class="c5">{_strip(pipeline.strip, titled=titled)}</td></tr>'
    )


def _state(pipeline: PipelineStatus, now_s: float) -> str:
    notes = _notes(pipeline)
    badges = "".join(f'<span class="badge {word}">{word}</span>' for word in pipeline.words)
    badges += "".join(f'<span class="badge note">{_text(each.name.replace("_", " "))}</span>' for each in notes)
    lines = [f"<p>{_text(text)}</p>" for text in _sentences(pipeline, now_s)]
    lines += [f"<p>{_text(f'{each.words} for {show_span(now_s - each.since_s)}: {each.reason}')}</p>" for each in notes]
    lines += [f'<p class="todo">{_text(each.next_step)}</p>' for each in pipeline.findings]
    return f'<span class="badges">{badges}</span>{"".join(lines)}{_progress(pipeline, now_s)}'


def _notes(pipeline: PipelineStatus) -> list[Condition]:
    """What alerts hold against it; of lateness and failures the page itself knows more, and sooner."""
    return [each for each in pipeline.conditions if each.name not in ("late", "failing")]


def _sentences(pipeline: PipelineStatus, now_s: float) -> Iterable[str]:
    """Why it is so."""
    if pipeline.pause is not None or not pipeline.findings:
        text = why(pipeline, now_s)
        return [text] if text != pipeline.cadence else []
    running = [running_words(pipeline, now_s)] if pipeline.running is not None else []
    return [*(one_line(each.message) for each in pipeline.findings), *running]


def _progress(pipeline: PipelineStatus, now_s: float) -> str:
    slot, usual_s = pipeline.running, pipeline.usual_s
    if slot is None or slot.started_s is None or not usual_s:
        return ""
    done = max(0.0, (now_s - slot.started_s) / usual_s)
    kind = "bar over" if done > 1.0 else "bar"
    return f'<progress class="{kind}" max="1" value="{min(1.0, done):.3f}" title="of the usual time"></progress>'


def _next(pipeline: PipelineStatus, now_s: float) -> str:
    if pipeline.next is None:
        return "<small>no slot by the clock</small>"
    at_s = pipeline.next.planned_s
    exact = f"{local_text(at_s, pipeline.zone)}, {iso(at_s)}"
    return (
        f'<span title="{_text(exact)}">{_text(short_text(at_s, pipeline.zone, now_s))}</span>'
        f"<small>{ago(pipeline.next.due_s, now_s)}</small>"
    )


def _last(pipeline: PipelineStatus, now_s: float) -> str:
    slot, newest, champion = pipeline.last, pipeline.newest, pipeline.champion
    if slot is None:
        return "<small>none yet</small>"
    at_s = slot.planned_s if slot.ended_s is None else slot.ended_s
    told = f"<span>{_text(state_words(slot))}</span><small>{ago(at_s, now_s)}</small>"
    if newest is not None and champion is not None and newest.index == champion.index:
        return f"{told}<small>{_text(_retrain(newest))}, champion</small>"
    if newest is not None:
        told += f"<small>{_text(_retrain(newest))}</small>"
    return told if champion is None else f"{told}<small>champion {_text(_retrain(champion))}</small>"


def _retrain(retrain: Retrain) -> str:
    return f"#{retrain.index}" + ("" if retrain.score is None else f" score {retrain.score:.4f}")


def _strip(slots: Sequence[Slot], *, titled: bool) -> str:
    if not slots:
        return "<small>none yet</small>"
    cells = "".join(
        f'<i class="{_cell(slot)}" title="{_text(_cell_title(slot))}"></i>'
        if titled
        else f"<i class={_cell(slot)}></i>"
        for slot in slots
    )
    kinds = [_CELLS[_cell(slot)] for slot in slots]
    spoken = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f'<span class="strip" role="img" aria-label="{_text(spoken)}">{cells}</span>'


def _cell(slot: Slot) -> str:
    """The class of its cell."""
    if slot.state is SlotState.RAN:
        return {"held": "held", "skipped": "nothing"}.get(slot.verdict or "", "ran")
    return slot.state.value


def _cell_title(slot: Slot) -> str:
    took = ""
    if slot.started_s is not None and slot.ended_s is not None:
        took = f", took {show_span(slot.ended_s - slot.started_s)}"
    reason = f": {one_line(slot.reason)}" if slot.reason else ""
    return f"{iso(slot.planned_s)[:16].replace('T', ' ')} UTC {state_words(slot)}{took}{reason}"


def _key() -> str:
    words = "".join(f"<span><i class={name}></i>{words}</span>" for name, words in _CELLS.items())
    return f'<p class="key"><small>newest slots, oldest on the left</small>{words}</p>'
