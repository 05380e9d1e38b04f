"""Detectors of change over retrains, side by side: how often right, how often they cry wolf, how late, how fast.

`python -m benchmarks.drift_detectors [--repeats 40] [--rival-repeats 20] [--otava-python PATH]` asks each detector
after every new value of simulated histories (benchmarks/drift_series.py), as after every retrain. PATH is a Python with
apache-otava and ruptures; without it one is made in a temporary folder (pip, some 330 MB). One process.

A step is found where it is told within 20 values and placed within 10 of the truth; a ramp where it is told before ten
values after its end. Precision is over strong and weak steps; false alarms are a hundred values of clean histories.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.drift_series import RAMP_LENGTH, SCENARIOS, Scenario, for_a_while, noisier
from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_BYTES, ENGINE_SCORE, Better, Metric, Scale
from plaster_ops.domain.scan import scan
from plaster_ops.domain.watch import least_change

SEED = 91_157
NEWER, NEAR, AFTER_RAMP, SAME = 20, 10, 10, 5
LENGTHS = (50, 500, 5000)
METRICS: dict[str, tuple[Metric, Better]] = {
    "latency": (E2E_P50_MS, Better.LOWER),
    "accuracy": (ENGINE_SCORE, Better.HIGHER),
    "bytes": (ENGINE_BYTES, Better.LOWER),
}
RIVALS = (
    "otava p=.001 (default)",
    "otava p=1e-4",
    "otava p=1e-4, 3 after",
    "PELT l2, 3 log n",
    "PELT l2, 6 log n",
    "robust z > 3.5, 20 runs",
)

Told = list[tuple[int, int]]
Detector = Callable[[Scenario, Sequence[float]], Told]


def ours(*, with_margins: bool) -> Detector:
    """The scan, alone or with the margins and the look for creep that a retrain uses."""

    def detect(scenario: Scenario, series: Sequence[float]) -> Told:
        metric, better = METRICS[scenario.metric]
        least = least_change(metric, {}) if with_margins else 0.0
        margin = metric.margin if with_margins else None
        told: Told = []
        start = 0
        for newest in range(len(series)):
            found = scan(
                series[: newest + 1], scale=metric.scale, start=start, least=least, margin=margin, better=better
            )
            if found.change is not None:
                told.append((found.change.at, newest))
                start = found.change.at
        return told

    return detect


class Rivals:
    """The process that runs them."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def ask(self, detector: str, series: Sequence[float], *, is_ratio: bool, once: bool = False) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        logs = [math.log(value) for value in series] if is_ratio else list(series)
        asked = {"detector": detector, "series": list(series), "logs": logs, "once": once}
        self._child.stdin.write(json.dumps(asked) + "\n")
        self._child.stdin.flush()
        answer: dict[str, Any] = json.loads(self._child.stdout.readline())
        return answer

    def detector(self, name: str) -> Detector:
        def detect(scenario: Scenario, series: Sequence[float]) -> Told:
            is_ratio = METRICS[scenario.metric][0].scale is not Scale.DIFFERENCE
            return [(place, newest) for place, newest in self.ask(name, series, is_ratio=is_ratio)["told"]]

        return detect


@contextmanager
def rivals(python: Path | None) -> Iterator[Rivals]:
    with tempfile.TemporaryDirectory(prefix="plaster-drift-") as folder:
        if python is None:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            python = Path(folder) / "bin" / "python"
            wanted = ["apache-otava==0.8.0", "ruptures==1.1.10"]
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        script = Path(__file__).with_name("drift_rivals.py")
        with subprocess.Popen([python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            yield Rivals(child)
            assert child.stdin is not None
            child.stdin.close()


@dataclass
class Tally:
    """What a detector made of all scenarios."""

    found: dict[str, list[bool]] = field(default_factory=dict)
    right: int = 0
    wrong: int = 0
    delays: list[int] = field(default_factory=list)
    ramp_delays: list[int] = field(default_factory=list)
    false: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, scenario: Scenario, series: Sequence[float], told: Told) -> None:
        if scenario.kind == "null":
            alarms, values = self.false.get(scenario.name, (0, 0))
            self.false[scenario.name] = (alarms + len(told), values + len(series))
            return
        hit = next((newest for place, newest in told if _is_hit(scenario, place, newest)), None)
        self.found.setdefault(scenario.kind, []).append(hit is not None)
        if scenario.kind == "ramp" and hit is not None:
            self.ramp_delays.append(hit - scenario.at + 1)
        if scenario.kind in ("strong", "weak"):
            self.right += hit is not None
            self.wrong += len(told) - (hit is not None)
        if scenario.kind == "strong" and hit is not None:
            self.delays.append(hit - scenario.at + 1)

    def recall(self, kind: str) -> float:
        return statistics.fmean(self.found[kind])

    def false_rates(self) -> dict[str, float]:
        return {name: 100 * alarms / values for name, (alarms, values) in self.false.items()}

    def cells(self) -> list[str]:
        rates = self.false_rates()
        worst = max(rates, key=lambda name: rates[name])
        told = self.right + self.wrong
        delays = sorted(self.delays)
        p90 = delays[math.ceil(0.9 * len(delays)) - 1] if delays else 0
        return [
            *(f"{self.recall(kind):.2f}" for kind in ("strong", "weak", "tiny", "ramp")),
            f"{self.right / told:.2f}" if told else "-",
            f"{statistics.fmean(rates.values()):.2f}",
            f"{rates[worst]:.2f} ({worst})",
            f"{statistics.median(delays):.0f} ({p90})" if delays else "-",
            f"{statistics.median(self.ramp_delays):.0f}" if self.ramp_delays else "-",
        ]


def _is_hit(scenario: Scenario, place: int, newest: int) -> bool:
    if scenario.kind == "ramp":
        return scenario.at <= newest < scenario.at + RAMP_LENGTH + AFTER_RAMP
    return abs(place - scenario.at) <= NEAR and scenario.at <= newest <= scenario.at + NEWER


def tally(detector: Detector, repeats: int) -> Tally:
    found = Tally()
    for scenario in SCENARIOS:
        for repeat in range(repeats):
            series = scenario.series(SEED, repeat)
            found.add(scenario, series, _new(detector(scenario, series)))
    return found


def _new(told: Told) -> Told:
    """Without those within five places of one told before: they tell of the same change."""
    new: Told = []
    for place, newest in told:
        if all(abs(place - other) > SAME for other, _ in new):
            new.append((place, newest))
    return new


def our_ms() -> list[float]:
    """Milliseconds of CPU time of one look at a history of those lengths, the median of eleven."""
    return [statistics.median(_timed(n) for _ in range(11)) for n in LENGTHS]


def _timed(n: int) -> float:
    series = _clean(n)
    began_s = time.process_time()
    scan(series, least=0.025, margin=0.05, better=Better.LOWER)
    return 1000 * (time.process_time() - began_s)


def _clean(n: int) -> list[float]:
    noise = next(each for each in SCENARIOS if each.name == "400 runs")
    values = [value for repeat in range(math.ceil(n / 400)) for value in noise.series(SEED + 1, repeat)]
    return values[:n]


HEAD = (
    *("detector", "repeats", "strong", "weak", "tiny", "ramp", "precision"),
    *("false/100", "worst kind", "delay (p90)", "ramp delay", "CPU ms at 50/500/5000"),
)
MUST = ("must", "", ">= .97", ">= .70", "", ">= .95", ">= .90", "<= .25", "<= .80", "<= 3 (6)", "", "-/5/50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="0: the others alone")
    parser.add_argument("--rival-repeats", type=int, default=20, help="0: no others")
    parser.add_argument("--otava-python", type=Path, help="a Python with apache-otava and ruptures")
    asked, began_s = parser.parse_args(), time.monotonic()
    for row in (HEAD, ["-"] * len(HEAD), MUST):
        _print(row)
    if asked.repeats:
        _ours(asked.repeats)
    if asked.rival_repeats:
        with rivals(asked.otava_python) as others:
            _others(others, asked.rival_repeats)
    print(f"seed {SEED}, {len(SCENARIOS)} scenarios, {time.monotonic() - began_s:.0f} s")


def _ours(repeats: int) -> None:
    ms = _show(our_ms())
    found = tally(ours(with_margins=False), repeats)
    _print(["scan, no margin", str(repeats), *found.cells(), ms])
    _print(["scan as retrains use it", str(repeats), *tally(ours(with_margins=True), repeats).cells(), ms])
    rates = ", ".join(f"{name} {rate:.2f}" for name, rate in found.false_rates().items())
    print(f"false alarms of the scan, no margin: {rates}", flush=True)
    aside(repeats)


def aside(repeats: int) -> None:
    """What the scan makes of noise that grows at 40 of 80 values, and of +20 % for eight values that goes back."""
    detect, scenario = ours(with_margins=False), SCENARIOS[0]
    for times in (math.sqrt(3), 3.0):
        called = sum(bool(detect(scenario, noisier(SEED, repeat, times))) for repeat in range(repeats))
        print(f"noise {times:.2f} times as wide, called a change of level: {called / repeats:.2f}")
    places = [[place for place, _ in detect(scenario, for_a_while(SEED, repeat))] for repeat in range(repeats)]
    both = sum(all(any(abs(place - edge) <= 3 for place in each) for edge in (40, 48)) for each in places)
    print(
        f"+20 % for eight values, both edges told: {both / repeats:.2f}, alarms {sum(map(len, places)) / repeats:.2f}"
    )


def _others(others: Rivals, repeats: int) -> None:
    for name in RIVALS:
        found = tally(others.detector(name), repeats)
        once = [
            statistics.median(others.ask(name, _clean(n), is_ratio=True, once=True)["ms"] for _ in range(5))
            for n in LENGTHS
        ]
        _print([name, str(repeats), *found.cells(), _show(once)])


def _print(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def _show(ms: Sequence[float]) -> str:
    return "/".join(f"{each:.2g}" if each < 10 else f"{each:.0f}" for each in ms)


if __name__ == "__main__":
    main()
