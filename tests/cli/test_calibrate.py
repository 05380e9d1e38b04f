"""`plaster-ops calibrate` on the command line: what it asks for, and the three forms of its answer."""

import json
from typing import Any

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS, SLO_SAMPLES_PER_S
from plaster_ops.flow import calibrate
from plaster_ops.flow.calibrate import Calibration, Floor
from tests.cli.conftest import Command

FLOORS = (
    Floor(key=E2E_P50_MS.key, half_width=0.021, margin=0.05, largest=0.013, comparisons=3),
    Floor(key=SLO_SAMPLES_PER_S.key, half_width=0.084, margin=0.05, largest=0.06, comparisons=3),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of the flow, which answers with two floors."""
    seen: dict[str, Any] = {}

    def answer(_settings: Any, name: str | None, **more: Any) -> Calibration:
        seen.update(more, name=name)
        return Calibration(
            pipeline="digits",
            run=4,
            profile=more["profile"],
            device="a CPU",
            fingerprint="f" * 16,
            floors=FLOORS,
            seconds=61.5,
        )

    monkeypatch.setattr(calibrate, "calibrate", answer)
    return seen


def test_by_default_the_champion_is_compared_three_times_under_the_settings_profile(
    command: Command, asked: dict[str, Any]
) -> None:
    assert command("calibrate", "--quiet").out == ""
    assert {k: asked[k] for k in ("name", "run", "profile", "comparisons")} == {
        "name": None,
        "run": "champion",
        "profile": "standard",
        "comparisons": 3,
    }
    command("calibrate", "power", "--run", "last", "--profile", "smoke", "-n", "5")
    assert (asked["name"], asked["run"], asked["profile"], asked["comparisons"]) == ("power", "last", "smoke", 5)


def test_the_table_says_which_verdicts_can_be_had(command: Command, asked: dict[str, Any]) -> None:
    del asked
    lines = command("calibrate").out.splitlines()
    p50 = next(line for line in lines if "e2e_p50_ms" in line)
    rate = next(line for line in lines if line.startswith("T "))
    assert [word for word in p50.split() if word.endswith("%")] == ["2.10%", "1.30%", "5.00%"]
    assert p50.rstrip().endswith("can be had")
    assert rate.rstrip().endswith("inconclusive (too_noisy)")
    assert "too noisy to judge throughput/slo_samples_per_s" in lines[-1]


def test_json_and_markdown_hold_the_same(command: Command, asked: dict[str, Any]) -> None:
    del asked
    told = json.loads(command("calibrate", "--json").out)
    assert [floor["verdict"] for floor in told["floors"]] == ["quiet", "too_noisy"]
    assert told["floors"][1]["half_width_ratio"] == 0.084
    assert "| T | throughput/slo_samples_per_s | 8.40% | 6.00% | 5.00% |" in command("calibrate", "--md").out


@pytest.mark.parametrize(("words", "named"), [(("-n", "0"), "--times"), (("--profile", "quick"), "quick")])
def test_what_makes_no_sense_is_named(
    command: Command, asked: dict[str, Any], words: tuple[str, str], named: str
) -> None:
    ended = command("calibrate", *words)
    assert (ended.code, asked) == (2, {})
    assert named in ended.err
