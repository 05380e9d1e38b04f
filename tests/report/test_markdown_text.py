"""A retrain in a pull request: headlines at once, the rest folded, and no text from outside that acts."""

import re

from plaster_ops.report.markdown_text import markdown
from tests.report.payloads import ASSESSMENT, COMPARED, payload

BARS = re.compile(r"(?<!\\)\|")
HOSTILE = "a|b `x` <img src=x onerror=alert(1)> [click](http://evil.example) @team\n| - |\n# title *b* &lt;"


def tables(text: str) -> list[list[str]]:
    return [part.splitlines() for part in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)]


def test_the_headlines_are_one_table_with_limits_and_verdicts() -> None:
    text = markdown(payload())
    first, *_ = tables(text)
    assert text.startswith("**digits** run #2: **held**\n")
    assert first[0] == "|  | metric | now #2 | last #1 | change | 95 % CI | limit | verdict |".replace("now #2", "now")
    assert "| L | `e2e_p50_ms` | 1.234 ms | 1 ms | +9.1 % | [+4.2 %, +14.3 %] | 5 % | **- worse** |" in first
    assert len({len(BARS.findall(line)) for line in first}) == 1


def test_reasons_and_notes_stand_beside_it() -> None:
    text = markdown(payload())
    assert r"- latency gate failed: 9 % slower \| allowed 5 %" in text
    assert r"- `slo_samples_per_s`: too\_noisy: this comparison can show 9 %" in text


def test_what_does_not_decide_is_folded() -> None:
    text = markdown(payload(assessment=ASSESSMENT))
    seen = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "cpu_time_per_inference_s" not in seen
    assert "cpu_time_per_inference_s" in text
    assert text.count("<details>") == text.count("</details>") == 3
    assert "trade-off: trades L for A" in seen
    assert r"environment: torch none -\> 2.12".replace(r"\>", "&gt;") in text


def test_without_a_baseline_there_are_three_columns() -> None:
    text = markdown(payload(baseline=None, comparison=[]))
    assert "|  | metric | now |\n| - | - | -: |" in text


def test_text_from_outside_is_text() -> None:
    changed = [{"kind": "params", "name": HOSTILE, "then": HOSTILE, "now": None}]
    text = markdown(
        payload(
            pipeline=HOSTILE,
            reasons=[HOSTILE],
            baseline={"index": 1, "id": "d", "which": HOSTILE, "how": "stored"},
            assessment={"tradeoff": HOSTILE, "changed": changed},
        )
    )
    assert set(re.findall(r"<[^>]*>", text)) == {"<details>", "<summary>", "</summary>", "</details>", "<!-- -->"}
    for table in tables(text):
        assert len({len(BARS.findall(line)) for line in table}) == 1
    assert "http://" not in text
    assert "@team" not in text
    assert not re.search(r"^# title", text, flags=re.MULTILINE)


def test_a_skip_is_a_title_and_a_reason() -> None:
    nothing = {"from": 5, "to": 5, "new_samples": 0, "train_samples": None, "eval_samples": None}
    text = markdown(
        payload(
            run=None, baseline=None, card=[], comparison=[], engine=None, data=nothing, phases={}, verdict="skipped",
            reasons=["nothing new arrived since 5"],
        )
    )  # fmt: skip
    assert text == "**digits**: **skipped**\n\n- nothing new arrived since 5\n"


def test_a_machine_that_did_not_move_is_not_spoken_of() -> None:
    environment = ASSESSMENT["environment"] | {"cause": "none", "sentence": "it runs as it was logged"}
    assert "environment:" not in markdown(payload(assessment={"environment": environment}))


def test_of_very_many_changes_the_rest_is_counted() -> None:
    def told(count: int) -> str:
        changed = [{"kind": "params", "name": f"p{n}", "then": "1", "now": "2"} for n in range(count)]
        return markdown(payload(assessment={"changed": changed}))

    assert "p29" in told(30)
    assert "more" not in told(30).partition("What changed")[2]
    assert "- and 2 more" in told(32)
    assert "p30" not in told(32)


def test_a_metric_that_is_missing_is_as_loud_as_one_that_is_worse() -> None:
    """A number that was measured last time and is not now: a monitor that died looks like one that is content."""
    vanished = COMPARED[4] | {"then": 900.0}
    lines = markdown(payload(comparison=[vanished])).splitlines()
    assert any("`inferences_per_j`" in line and line.endswith("| **! missing** |") for line in lines)


def test_a_verdict_from_a_damaged_record_is_text_too() -> None:
    assert "**\\*held\\***" in markdown(payload(verdict="*held*"))
