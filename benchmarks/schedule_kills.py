"""`kill -9` of the service at random moments while retrains are at work: is every slot accounted for, once?

`python -m benchmarks.schedule_kills [--kills 20] [--seed N]` keeps the schedule of a project whose one pipeline is due
every 30 s (a real `retrain --no-measure` on two ranks) and kills the service with SIGKILL so often, at moments drawn at
random, each time starting it again at once. At the end the ledger is held against the slots that there were and the
runs in the journal. Prints what it found and exits 1 unless all of it is as it should be.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kills_project import ROOT, Project, wait_until
from plaster_ops.domain.slots import OPEN, Slot, SlotState
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.slots import SlotLedger

EVERY_S = 30
BETWEEN_S = (4.0, 45.0)


def main() -> int:
    """0 where nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        return try_it(Project(Path(scratch)), arguments.kills, arguments.seed)


def serve(folder: Path) -> None:
    """The service; its retrains are not timed, as that takes longer than it tells here."""
    from plaster_ops.settings import load_settings
    from scheduler.jobs import retrain_command
    from scheduler.service import opened_service

    command = retrain_command(folder, "service")
    with opened_service(
        load_settings(folder),
        command=lambda slot: [*command(slot), "--no-measure"],
        say=lambda text: print(text, flush=True),
    ) as service:
        service.run()


def start(project: Project) -> subprocess.Popen[bytes]:
    """The service in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "benchmarks.schedule_kills", "--serve", str(project.folder)]
    with (project.folder.parent / "said.txt").open("ab") as said:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said)


def try_it(project: Project, kills: int, seed: int) -> int:
    """The kills, then the end in order, then the books."""
    draw, wrong = random.Random(seed), list[str]()
    with (project.folder / "plaster.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'cadence = {{ every = "{EVERY_S}s" }}\n[scheduler]\nlisten = ""\n')
    service = start(project)
    wait_until(lambda: project.processes("retrain"), 2 * EVERY_S)
    at_work = 0
    for number in range(1, kills + 1):
        time.sleep(draw.uniform(*BETWEEN_S))
        running = bool(project.processes("retrain"))
        at_work += running
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        if not wait_until(lambda: not project.processes(), 5.0):
            wrong.append(f"kill {number}: processes are left: {project.processes()}")
        print(f"kill {number}: {'at work' if running else 'idle'}", file=sys.stderr, flush=True)
        service = start(project)
    journal = Journal.open(project.folder / "mlruns")
    ledger = SlotLedger(journal.file)
    wait_until(lambda: project.processes("retrain"), 2 * EVERY_S)
    wait_until(lambda: not project.processes("retrain"), 120.0)
    service.terminate()
    if service.wait(180) != 0 or project.processes():
        wrong.append(f"the service ended with {service.returncode}, {len(project.processes())} processes are left")
    wrong += check(ledger.newest(limit=100_000), journal.history("noisy", 100_000))
    told = Counter(slot.state for slot in ledger.newest(limit=100_000))
    twice = sum(slot.attempts > 1 for slot in ledger.newest(limit=100_000))
    print(f"seed {seed}: {kills} kills, {at_work} of them while a retrain was at work; slots {dict(told)}; ", end="")
    print(f"{twice} went on after a kill; {'; '.join(wrong) or 'nothing is wrong'}")
    return int(bool(wrong))


def check(slots: list[Slot], runs: Sequence[RunRow]) -> list[str]:
    """What is wrong with the ledger: a slot that is missing, there twice, or open, or that ran more than once."""
    wrong = []
    planned = sorted(slot.planned_s for slot in slots)
    wanted = [planned[0] + EVERY_S * number for number in range(round((planned[-1] - planned[0]) / EVERY_S) + 1)]
    if planned != wanted:
        wrong.append(f"{len(planned)} slots, not {len(wanted)}")
    bad = (SlotState.FAILED, SlotState.TIMED_OUT, *OPEN)
    wrong += [f"{slot.planned_s:.0f} {slot.state} {slot.reason}" for slot in slots if slot.state in bad]
    finished = sum(run.state is RunState.FINISHED for run in runs)
    ran = sum(slot.state is SlotState.RAN for slot in slots)
    if finished != ran:
        wrong.append(f"{ran} slots ran, {finished} of {len(runs)} runs are finished")
    fine = (RunState.FINISHED, RunState.INTERRUPTED)
    for run in runs:  # one that was continued so often already gives way to a new one
        if run.state not in fine and not any("train.max_resumes" in reason for reason in run.reasons):
            wrong.append(f"run {run.index} is {run.state}: {run.reasons}")
    named = [slot.run for slot in slots if slot.run is not None]
    if len(named) != len(set(named)):
        wrong.append("one run stands for two slots")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
