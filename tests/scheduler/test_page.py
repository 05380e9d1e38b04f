"""The status page: what stands where, and that nothing from outside is markup."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from plaster_ops.domain.slots import SlotState
from plaster_ops.tracking.slots import Pause
from scheduler.findings import Finding, Kind
from scheduler.page import POLICY, render
from scheduler.snapshot import collect
from scheduler.status import Condition, PipelineStatus, Snapshot
from tests.scheduler.filled import NOW_S, filled

EVIL = "<script>alert('x')</script>\"&\x1b[31m"
VOID = {"meta", "link", "!doctype"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    with filled(tmp_path_factory.mktemp("page")) as project:
        yield collect(project.ledger, project.journal, project.settings, NOW_S)


class Tags(HTMLParser):
    """Every tag closes, in order; `found` has them all, `attributes` the names of what stood in them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    tags.close()
    return tags


def sections(text: str) -> dict[str, list[str]]:
    """Names of the pipelines of each section."""
    parts = re.findall(r"<section><h2>(.*?) <small>.*?</h2>(.*?)</section>", text, re.DOTALL)
    return {name: re.findall(r'<td class="c1"><b>(.*?)</b>', body) for name, body in parts}


def test_every_tag_closes_and_none_is_a_script(told: Snapshot) -> None:
    tags = read(render(told))
    assert tags.open == []
    assert {"table", "style", "progress"} <= set(tags.found)
    assert not {"script", "iframe", "img", "form", "a"} & set(tags.found)


def test_no_tag_has_a_style_or_a_handler_that_the_policy_forbids(told: Snapshot) -> None:
    names = read(render(told)).attributes
    assert [name for name in names if name == "style" or name.startswith("on")] == []
    assert "unsafe" not in POLICY


def test_what_needs_a_look_comes_first_the_most_urgent_on_top(told: Snapshot) -> None:
    assert sections(render(told)) == {
        "Needs a look": ["stock", "ranking", "prices", "speech", "churn"],
        "Running": ["fraud"],
        "Paused": ["search"],
        "All the others, by their next slot": ["vision"],
    }


def test_a_row_says_why_and_what_to_do(told: Snapshot) -> None:
    text = render(told)
    assert "the slot of 2026-11-27 12:00 UTC has waited for 40 min: the service has not taken it up" in text
    assert "see plaster-ops history ranking, then try: plaster-ops retrain ranking" in text
    assert "drifting for 2 d: accuracy fell by 0.012 over six retrains" in text


def test_the_title_says_whether_all_is_well(told: Snapshot) -> None:
    assert "<title>5 to look at · " in render(told)
    well = replace(told, pipelines=tuple(p for p in told.pipelines if p.name in ("vision", "fraud")))
    assert "<title>all is well · " in render(well)


def test_a_run_past_its_usual_time_is_marked(told: Snapshot) -> None:
    assert 'class="bar over"' in render(told)
    early = [replace(p, usual_s=7200.0) for p in told.pipelines]
    assert 'class="bar" max="1" value="0.333"' in render(replace(told, pipelines=tuple(early)))


def test_nothing_from_outside_is_markup(told: Snapshot) -> None:
    first = next(p for p in told.pipelines if p.name == "ranking")
    slot = replace(first.strip[0], reason=EVIL, verdict=EVIL)
    evil: PipelineStatus = replace(
        first,
        name=EVIL,
        cadence=EVIL,
        triggers=EVIL,
        last=slot,
        strip=(slot,),
        findings=(Finding(kind=Kind.LATE, pipeline=EVIL, since_s=0.0, message=EVIL, next_step=EVIL),),
        conditions=(Condition(name=EVIL, since_s=0.0, reason=EVIL),),
    )
    paused = replace(evil, findings=(), pause=Pause(at_s=0.0, by=EVIL, reason=EVIL))
    service = replace(told.service, reason=EVIL)
    page = render(replace(told, project=EVIL, service=service, pipelines=(evil, paused)))
    tags = read(page)
    assert (tags.open, "script" in tags.found) == ([], False)
    assert page.count("&lt;script&gt;") > 12
    assert "\x1b" not in page


def test_what_alerts_hold_is_a_note_but_for_what_the_page_itself_knows(told: Snapshot) -> None:
    vision = next(p for p in told.pipelines if p.name == "vision")
    held = tuple(
        Condition(name=name, since_s=NOW_S - 60.0, reason=f"because of {name}")
        for name in ("late", "failing", "over_budget")
    )
    page = render(replace(told, pipelines=(replace(vision, conditions=held),)))
    assert re.findall(r'<span class="badge note">(.*?)</span>', page) == ["over budget"]
    assert "over budget for 1 min: because of over_budget" in page
    assert "because of late" not in page


def test_a_thousand_pipelines_are_one_page_with_those_in_trouble_on_top(told: Snapshot) -> None:
    well = next(p for p in told.pipelines if p.name == "vision")
    bad = next(p for p in told.pipelines if p.name == "stock")
    strip = tuple(replace(well.strip[0], planned_s=NOW_S - n) for n in range(20))
    many = [replace(well, name=f"model{n:03}", strip=strip) for n in range(999)]
    page = render(replace(told, pipelines=(*many, bad)))
    assert len(page) < 1_000_000
    found = sections(page)
    assert found["Needs a look"] == ["stock"]
    assert len(found["All the others, by their next slot"]) == 999


def test_cells_tell_by_class_what_became_of_a_slot(told: Snapshot) -> None:
    churn = next(p for p in told.pipelines if p.name == "churn")
    page = render(replace(told, pipelines=(churn,)))
    assert (page.count('<i class="ran"'), page.count('<i class="held"'), page.count('<i class="nothing"')) == (15, 1, 4)
    assert 'aria-label="4 nothing new, 15 ran, 1 ran, and was held by a gate"' in page


def test_every_state_has_a_cell_and_a_mark() -> None:
    from scheduler.page import _CELLS
    from scheduler.tables import MARKS

    assert set(MARKS) == set(SlotState)
    assert set(SlotState) <= set(_CELLS)


def test_a_project_without_pipelines_says_so(told: Snapshot) -> None:
    assert "No pipeline is declared" in render(replace(told, pipelines=()))


def test_the_style_is_the_one_that_the_policy_allows(told: Snapshot) -> None:
    import base64
    import hashlib

    (style,) = re.findall(r"<style>(.*?)</style>", render(told), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY
    assert "url(" not in style
