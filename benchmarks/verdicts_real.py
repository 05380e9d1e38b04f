"""Real comparisons with a known answer: an engine and a copy of it, and one whose calls last 15 % longer.

Imported by `verdicts.py --real`. A scratch project retrains `digits` into an OpenVINO engine. Its folder is copied and
registered as the engine of a second run. The third run's engine is the same OpenVINO engine behind
`tests.engines.doubles:SpinningBackend`, which spins on the same core after each call for a share of what the call took;
the share is chosen by timing both in turn so that the median call lasts as much longer as was asked for. Every
comparison is `plaster-ops compare A B --json`, profile smoke, in a process of its own, as a user runs it.
"""

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
P50 = "latency/e2e_p50_ms"
LIMIT_S = 40.0
SETTINGS = """
default = "digits"
[pipelines.digits]
ref = "pipelines.digits:pipeline"
train = {{ max_epochs = 2 }}
engine = {{ backends = ["{backend}"], precisions = ["fp32"], options = {{ {options} }} }}
gates = {{ accuracy = {{ max_drop = 0.5 }}, latency = {{ max_rise_ratio = 0.05 }} }}
"""
CALIBRATE = """
import statistics, sys, time
import torch
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.engines.registry import load_engine
from plaster_ops.plaster.pinning import pinned
from tests.engines.doubles import SpinningEngine
from pathlib import Path
folder, wanted = Path(sys.argv[1]), float(sys.argv[2])
plain, inputs = load_engine(folder), []
for spec in read_manifest(folder).spec.inputs:
    inputs.append(torch.rand([1, *(axis or 1 for axis in spec.shape)]))
def median_s(engine, calls=40):
    taken = []
    for _ in range(calls):
        began = time.perf_counter(); engine.run(*inputs); taken.append(time.perf_counter() - began)
    return statistics.median(taken)
def slower(share):
    slow = SpinningEngine(plain, share)
    return statistics.median(median_s(slow) / median_s(plain) for _ in range(120)) - 1
with pinned(1):
    median_s(plain, 4000)
    low, high = 0.0, 2 * wanted
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (middle, high) if slower(middle) < wanted else (low, middle)
    print((low + high) / 2, slower((low + high) / 2))
"""
BURNER = (
    "import time\nwhile True:\n until=time.perf_counter()+.05\n while time.perf_counter()<until: pass\n time.sleep(.05)"
)


@dataclass(slots=True)
class Tally:
    """What a round of comparisons said."""

    p50: Counter[str] = field(default_factory=Counter)
    decided: list[str] = field(default_factory=list)
    wrong: int = 0
    """Comparisons with a tested row that is better or worse."""
    tested: int = 0
    changes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def plaster(project: Path, *arguments: str) -> dict[str, Any]:
    """One command, its `--json` object."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "plaster_ops", *arguments, "--json"]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr.decode()[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def settings(project: Path, backend: str, options: str = "") -> None:
    """The project's settings, with that backend."""
    (project / "plaster.toml").write_text(SETTINGS.format(backend=backend, options=options), encoding="utf-8")


def retrain(project: Path) -> dict[str, Any]:
    """One more retrain, on newly arrived data."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipelines.digits", "arrive"], cwd=project, env=env, check=True)
    return plaster(project, "retrain", "--no-measure")


def prepare(project: Path, slow: float) -> None:
    """Run 1; run 2, whose engine is a copy of run 1's; run 3, the slowed one."""
    shutil.copytree(ROOT / "pipelines", project / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    settings(project, "openvino")
    plaster(project, "retrain", "--no-measure")
    retrain(project)
    first = register_copy(project)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    script = [sys.executable, "-c", CALIBRATE, str(first), str(slow)]
    found = subprocess.run(script, cwd=project, env=env, capture_output=True, text=True, check=True).stdout.split()
    print(f"slowed engine: spins for {float(found[0]):.3f} of each call, which makes it {float(found[1]):+.1%} slower")
    settings(project, "tests.engines.doubles:SpinningBackend", f'inner = "openvino", slow_ratio = {found[0]}')
    retrain(project)


def register_copy(project: Path) -> Path:
    """A copy of run 1's engine folder in the place of run 2's, its digest in the journal; returns run 1's folder."""
    with sqlite3.connect(project / "mlruns" / "plaster.db") as db:
        rows = db.execute("SELECT uid, manifest_digest, folder FROM engines ORDER BY rowid").fetchall() or []
        order = [uid for (uid,) in db.execute("SELECT uid FROM runs WHERE number IN (1, 2) ORDER BY number")]
        found = {uid: (digest, folder) for uid, digest, folder in rows}
        (digest, folder), (_, place) = (found[uid] for uid in order)
        first, second = project / folder, project / place
        first, second = (path if path.is_dir() else project / "mlruns" / path for path in (first, second))
        shutil.rmtree(second)
        shutil.copytree(first, second)
        db.execute("UPDATE engines SET manifest_digest = ? WHERE uid = ?", (digest, order[1]))
    return first


@contextmanager
def burning(*, one_core_half: bool) -> Iterator[None]:
    """Another process that keeps one core busy half of the time, 50 ms on and 50 ms off."""
    if not one_core_half:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BURNER]) as burner:
        try:
            yield
        finally:
            burner.kill()


def one(project: Path, name: str, pair: tuple[str, str], tally: Tally, *, load: bool) -> None:
    """One comparison of that pair, into its tally."""
    began_s = time.monotonic()
    with burning(one_core_half=load):
        payload = plaster(project, "compare", *pair)
    tally.seconds.append(time.monotonic() - began_s)
    tested = [row for row in payload["comparison"] if row["how"] == "remeasured" and row["letter"] not in "PS"]
    decided = [row for row in tested if row["verdict"] in ("better", "worse")]
    p50 = next(row for row in tested if row["key"] == P50)
    tally.tested += sum(row["p_value"] is not None for row in tested)
    tally.wrong += bool(decided)
    tally.decided += [f"{row['key']} {row['verdict']}" for row in decided]
    tally.p50[p50["verdict"]] += 1
    tally.changes.append(p50["change_ratio"])
    told = ", ".join(row["key"].partition("/")[2] for row in decided) or "-"
    print(
        f"  {name} {len(tally.seconds):2}: {tally.seconds[-1]:.1f} s  p50 {p50['change_ratio']:+.3f}"
        f" {[round(bound, 3) for bound in p50['ci95'] or ()]} {p50['verdict']}"
        f" {p50['reason_code'] or ''}  decided: {told}  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def summary(name: str, tally: Tally) -> None:
    """One round in two lines."""
    print(
        f"{name}: p50 {dict(tally.p50)}, change {min(tally.changes):+.3f} to {max(tally.changes):+.3f}"
        f" (median {statistics.median(tally.changes):+.3f}); comparisons with a better or worse row:"
        f" {tally.wrong} of {len(tally.seconds)} ({tally.tested} rows tested; {dict(Counter(tally.decided))})"
    )
    late = sum(taken > LIMIT_S for taken in tally.seconds)
    print(f"  seconds: median {statistics.median(tally.seconds):.1f}, longest {max(tally.seconds):.1f}, {late} over 40")


def run(count: int, slow: float, only: str | None) -> None:
    """So many comparisons of each kind, by turns, so that all kinds meet the same mood of the machine."""
    plan = {"A/A": ("2", "1", False), "slowed": ("3", "1", False), "A/A under load": ("2", "1", True)}
    chosen = {name: plan[name] for name in plan if only in (None, name)}
    tallies = {name: Tally() for name in chosen}
    with tempfile.TemporaryDirectory(prefix="plaster-verdicts-") as folder:
        project = Path(folder)
        prepare(project, slow)
        for _ in range(count):
            for name, (now, then, load) in chosen.items():
                one(project, name, (now, then), tallies[name], load=load)
    for name, tally in tallies.items():
        summary(name, tally)
