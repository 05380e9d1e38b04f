"""The schedule as a terminal shows it; without colour and lines where nobody looks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plaster_ops.domain.slots import Cause, Slot, SlotState
from scheduler.coming import Coming
from scheduler.spans import ago, local_text, short_text, show_span
from scheduler.status import PipelineStatus, Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MARKS = {
    SlotState.DUE: "…",
    SlotState.RUNNING: ">",
    SlotState.RAN: "+",
    SlotState.SKIPPED: "-",
    SlotState.MISSED: "o",
    SlotState.FAILED: "x",
    SlotState.TIMED_OUT: "!",
}
LEGEND = "+ ran  - skipped  o missed  x failed  ! timed out  > running  … waiting"
_STYLES = {
    "late": "bold red",
    "failing": "bold red",
    "missed": "bold red",
    "unkept": "yellow",
    "paused": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "waiting": "cyan",
    "ok": "green",
    SlotState.RAN: "green",
    SlotState.SKIPPED: "dim",
    SlotState.MISSED: "red",
    SlotState.FAILED: "bold red",
    SlotState.TIMED_OUT: "bold red",
    SlotState.RUNNING: "cyan",
    SlotState.DUE: "cyan",
}
_TERMINAL_MARKS = 12


def list_view(told: Snapshot, *, plain: bool) -> "RenderableType":
    """Every pipeline, a line each: next, last, state, the newest slots, and why."""
    from rich.console import Group
    from rich.text import Text

    table = _table(("pipeline", "state", "next", "last", "newest slots", "why"), plain=plain)
    for pipeline in told.pipelines:
        table.add_row(
            Text(pipeline.name),
            _styled(pipeline.words, plain=plain),
            Text(_lines(_next(pipeline, told.at_s), plain=plain)),
            Text(_lines(_last(pipeline, told.at_s), plain=plain)),
            _strip(pipeline.strip[-_TERMINAL_MARKS:], plain=plain),
            Text(why(pipeline, told.at_s)),
        )
    return Group(Text(headline(told)), table, Text(LEGEND, style="" if plain else "dim"))


def headline(told: Snapshot) -> str:
    """The whole in a sentence."""
    counts = [f"{told.count(word)} {word}" for word in ("late", "failing", "missed", "unkept", "paused", "running")]
    shown = [text for text in counts if not text.startswith("0 ")]
    one = "pipeline" if len(told.pipelines) == 1 else "pipelines"
    return (
        f"{told.project}: {len(told.pipelines)} {one}{''.join(f', {text}' for text in shown)};"
        f" {told.busy} of {told.devices} devices busy; {told.service.reason}"
    )


def why(pipeline: PipelineStatus, now_s: float) -> str:
    """The sentence that matters most: a pause, what is wrong, what runs, what came of the last slot."""
    if pipeline.pause is not None:
        pause = pipeline.pause
        because = f": {pause.reason}" if pause.reason else ""
        return one_line(f"paused by {pause.by} {ago(pause.at_s, now_s)}{because}")
    if pipeline.findings:
        return one_line(pipeline.findings[0].message)
    if pipeline.running is not None:
        return one_line(running_words(pipeline, now_s))
    if pipeline.waiting:
        return one_line(pipeline.waiting[0].reason or "waits for a device")
    return one_line(pipeline.last.reason) if pipeline.last is not None else pipeline.cadence


def running_words(pipeline: PipelineStatus, now_s: float) -> str:
    """`running for 12 min, usually 40 min`."""
    slot = pipeline.running
    if slot is None:
        return ""
    since_s = slot.planned_s if slot.started_s is None else slot.started_s
    usual = "" if pipeline.usual_s is None else f", usually {show_span(pipeline.usual_s)}"
    again = f", attempt {slot.attempts}" if slot.attempts > 1 else ""
    return f"running for {show_span(now_s - since_s)}{usual}{again}"


def state_words(slot: Slot) -> str:
    """`promoted` for a slot that ran so; else its state in words."""
    if slot.state is SlotState.RAN and slot.verdict:
        return "nothing new" if slot.verdict == "skipped" else slot.verdict
    return slot.state.value.replace("_", " ")


def next_view(
    slots: Sequence[Coming], zones: dict[str, str], paused: set[str], *, now_s: float, plain: bool
) -> "Table":
    """Slots to come, earliest first."""
    from rich.text import Text

    table = _table(("pipeline", "local time", "UTC", "due", "jitter", "note"), plain=plain)
    for slot in slots:
        table.add_row(
            Text(slot.pipeline),
            Text(local_text(slot.planned_s, zones[slot.pipeline])),
            Text(local_text(slot.planned_s, "UTC").removesuffix(" UTC").partition(" ")[2]),
            Text(ago(slot.due_s, now_s)),
            Text(f"+{show_span(slot.jitter_s)}" if slot.jitter_s else ""),
            Text("paused: will be skipped" if slot.pipeline in paused else ""),
        )
    return table


def history_view(slots: Sequence[Slot], *, now_s: float, plain: bool) -> "Table":
    """Rows of the ledger in the order given."""
    from rich.text import Text

    table = _table(
        ("planned (UTC)", "pipeline", "by", "state", "verdict", "started", "took", "tries", "why"), plain=plain
    )
    for slot in slots:
        style = "" if plain else _STYLES.get(slot.state, "")
        table.add_row(
            Text(local_text(slot.planned_s, "UTC").removesuffix(" UTC").partition(" ")[2]),
            Text(slot.pipeline),
            Text(slot.cause.value),
            Text(f"{MARKS[slot.state]} {slot.state.value.replace('_', ' ')}", style=style),
            Text(slot.verdict or ""),
            Text(_lateness(slot)),
            Text(_took(slot, now_s)),
            Text(str(slot.attempts) if slot.attempts > 1 else ""),
            Text(one_line(_reason(slot))),
        )
    return table


def one_line(text: str) -> str:
    """The text without line breaks and without what a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _next(pipeline: PipelineStatus, now_s: float) -> tuple[str, str]:
    if pipeline.next is None:
        return pipeline.triggers or pipeline.cadence, ""
    return short_text(pipeline.next.planned_s, pipeline.zone, now_s), ago(pipeline.next.due_s, now_s)


def _last(pipeline: PipelineStatus, now_s: float) -> tuple[str, str]:
    slot = pipeline.last
    if slot is None:
        return "none yet", ""
    return state_words(slot), ago(slot.planned_s if slot.ended_s is None else slot.ended_s, now_s)


def _lines(pair: tuple[str, str], *, plain: bool) -> str:
    """One above the other on a terminal, which is narrow; side by side where a program reads lines."""
    return (", " if plain else "\n").join(part for part in pair if part)


def _lateness(slot: Slot) -> str:
    if slot.started_s is None:
        return ""
    late_s = slot.started_s - slot.due_s
    return "on time" if late_s < 1 else f"+{show_span(late_s)}"


def _took(slot: Slot, now_s: float) -> str:
    if slot.started_s is None:
        return ""
    return show_span((now_s if slot.ended_s is None else slot.ended_s) - slot.started_s)


def _reason(slot: Slot) -> str:
    code = "" if slot.exit_code in (None, 0) else f"exit {slot.exit_code}"
    asked = "" if slot.cause is Cause.CLOCK or slot.reason else f"asked by {slot.cause.value}"
    return "; ".join(text for text in (code, slot.reason, asked) if text)


def _table(head: Sequence[str], *, plain: bool) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold", no_wrap=plain)
    return table


def _styled(words: Sequence[str], *, plain: bool) -> "RenderableType":
    from rich.text import Text

    text = Text()
    for place, word in enumerate(words):
        text.append(", " if place else "")
        text.append(word, style="" if plain else _STYLES.get(word, ""))
    return text


def _strip(slots: Sequence[Slot], *, plain: bool) -> "RenderableType":
    from rich.text import Text

    text = Text()
    for slot in slots:
        text.append(MARKS[slot.state], style="" if plain else _STYLES.get(slot.state, ""))
    return text
