"""A retrain as one HTML page: no script, nothing loaded from anywhere, light and dark, on a screen and on paper.

jinja2 escapes every text; what is handed to it as markup is this room's own: the style sheet, and the charts, whose
texts are escaped where they are made.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from plaster_ops.report.page_charts import fit_panels, letter_cards
from plaster_ops.report.page_facts import (
    data_facts,
    engine_facts,
    head_facts,
    provenance_facts,
    questions,
)
from plaster_ops.report.page_rows import (
    alarm_rows,
    card_rows,
    change_rows,
    comparison_rows,
    environment_rows,
    gate_rows,
    ladder_rows,
    phase_rows,
)
from plaster_ops.report.safe_text import cut_line

_HERE = Path(__file__).parent


def render_page(sheet: Mapping[str, Any]) -> str:
    """The page of one retrain.

    `sheet`: `payload`, the `--json` object; `record`, the fields of its `RunRecord`; `trends`, by key rows of `index`,
    `value`, `verdict`, `regime`, `is_settled`, `is_measured`; `alarms`, as in `drift --json`.
    """
    payload, record = sheet["payload"], sheet["record"]
    alarms, assessment = sheet["alarms"], payload.get("assessment") or {}
    head = head_facts(payload, record)
    environment = assessment.get("environment") or {}
    tried = (payload.get("engine") or {}).get("tried") or ()
    text: str = _template().render(
        style=_style(),
        head=head,
        overall=assessment.get("overall"),
        cards=letter_cards(payload, sheet["trends"], alarms),
        rows=comparison_rows(payload, headlines=True) if payload["card"] else [],
        more_rows=comparison_rows(payload, headlines=False),
        gates=gate_rows(payload.get("gates")),
        gated_against=((payload.get("gates") or {}).get("against") or {}).get("index"),
        questions=questions(payload, alarms) if payload["card"] else [],
        tradeoff=cut_line(assessment.get("tradeoff") or "", 600),
        changed=change_rows(assessment.get("changed")),
        environment=environment,
        environment_rows=environment_rows(environment.get("rows") or ()),
        phases=phase_rows(payload["phases"]),
        total=payload["phases"].get("cycle_s"),
        ladder=ladder_rows(tried) if len(tried) > 1 else [],
        fit=fit_panels(record.get("curves") or ()),
        alarms=alarm_rows(alarms, head["index"] or 0),
        data=data_facts(payload["data"]),
        engine=engine_facts(payload),
        provenance=provenance_facts(payload, record),
        card=card_rows(payload),
        baseline=payload["baseline"],
    )
    return text.lstrip()


@cache
def _template() -> Any:
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    from plaster_ops.report.numbers import show_value
    from plaster_ops.report.safe_text import one_line

    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["line"] = one_line
    made.filters["seconds"] = lambda value: show_value(value, "s")
    return made.get_template("page.html.j2")


@cache
def _style() -> str:
    return (_HERE / "page.css").read_text(encoding="utf-8")
