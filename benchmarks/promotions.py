"""Promotions that race, that are killed, and that are taken back: does MLflow's alias follow the ledger?

    python -m benchmarks.promotions [--processes 20] [--rounds 50] [--kills 50] [--rollbacks 10]

Race: in every round all processes promote runs of their own at once, by the function behind `plaster-ops promote`.
Kills: real `plaster-ops promote` processes, each killed by SIGKILL at a random moment of what one takes. The canary is
left out (`--no-canary`): it changes nothing, and would be what nearly every kill hits.
"""

import argparse
import json
import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from benchmarks.promotions_store import NAME, make_project
from plaster_ops.flow.promotion import Wish, promote
from plaster_ops.flow.wiring import open_ports
from plaster_ops.settings import Settings
from plaster_ops.tracking.outbox import sync

TIMED = """
import json, sys, time
began_s = time.perf_counter()
from pathlib import Path
from plaster_ops.flow.rollback import rollback
from plaster_ops.flow.wiring import open_ports
from plaster_ops.settings import load_settings
settings = load_settings(Path("."))
with open_ports(settings) as ports, ports.tracker() as tracker:
    tracker._open().get_registered_model("digits")
opened_s = time.perf_counter()
changed = rollback(settings, None, to=None, reason="benchmark", canary=False, tell=lambda _: None)
assert changed.waits is None, changed.waits
print(json.dumps([opened_s - began_s, time.perf_counter() - opened_s]))
"""


def alias_and_ledger(settings: Settings) -> tuple[str | None, list[dict]]:
    """The uid that MLflow's alias `champion` means, and the ledger, oldest line first."""
    with open_ports(settings) as ports, ports.tracker() as tracker:
        client = tracker._open()
        version = client.get_registered_model(NAME).aliases.get("champion")
        uid = None if version is None else client.get_model_version(NAME, str(version)).tags["plaster.uid"]
        return uid, ports.journal.ledger_lines(NAME)


def check(settings: Settings, lines_before: int) -> list[dict]:
    """The new lines, after everything that must hold was looked at: no line is lost, each follows the one before."""
    uid, lines = alias_and_ledger(settings)
    assert uid == lines[-1]["uid"], f"alias {uid}, ledger {lines[-1]['uid']}"
    for before, after in pairwise(lines):
        assert after["from"]["uid"] == before["uid"], (before, after)
    assert len(lines) >= lines_before
    return lines[lines_before:]


def racer(settings: Settings, number: int, rounds: int, barrier, verdicts) -> None:
    for round_ in range(rounds):
        barrier.wait()
        wish = Wish(run=str(number), force=True, reason=f"round {round_}", canary=False)
        try:
            verdict = promote(settings, None, wish, tell=lambda _: None)
            verdicts.put((verdict.verdict, verdict.waits))
        except Exception as error:  # counted by the parent
            verdicts.put((f"{type(error).__name__}: {error}", None))
        barrier.wait()
        barrier.wait()


def race(settings: Settings, processes: int, rounds: int) -> None:
    context = multiprocessing.get_context("fork")
    barrier, verdicts = context.Barrier(processes + 1), context.Queue()
    children = [
        context.Process(target=racer, args=(settings, number, rounds, barrier, verdicts), daemon=True)
        for number in range(1, processes + 1)
    ]
    for child in children:
        child.start()
    total, known, began_s = Counter(), 1, time.perf_counter()
    for _ in range(rounds):
        barrier.wait()
        barrier.wait()
        found = [verdicts.get(timeout=60) for _ in range(processes)]
        new = check(settings, known)
        told = Counter(verdict for verdict, _ in found)
        assert len(new) == told["promoted"], (len(new), told)
        total += told
        total["waits"] += sum(waits is not None for _, waits in found)
        known += len(new)
        barrier.wait()
    for child in children:
        child.join()
    took_s = time.perf_counter() - began_s
    print(f"race: {processes} processes, {rounds} rounds, {dict(total)}, {known} lines in the ledger, {took_s:.0f} s")


def kills(settings: Settings, processes: int, count: int, seed: int) -> None:
    drawn, command = random.Random(seed), [sys.executable, "-m", "plaster_ops", "promote"]
    rest = ["--force", "--reason", "killed", "--no-canary", "--quiet"]

    def other() -> str:
        return str(drawn.choice([n for n in range(1, processes + 1) if n != last[0]["index"]]))

    last = alias_and_ledger(settings)[1][-1:]
    began_s = time.perf_counter()
    subprocess.run([*command, other(), *rest], cwd=settings.project, check=True)
    whole_s = time.perf_counter() - began_s
    seen: Counter[str] = Counter()
    longest_s = whole_s
    while seen["killed"] < count:
        alias, lines = alias_and_ledger(settings)
        last = lines[-1:]
        wanted = other()
        child, start_s = subprocess.Popen([*command, wanted, *rest], cwd=settings.project), time.perf_counter()
        with suppress(subprocess.TimeoutExpired):
            child.wait(drawn.uniform(0.05, longest_s))
            longest_s = time.perf_counter() - start_s  # the machine is quieter, or busier, than before
        child.send_signal(signal.SIGKILL)
        seen["killed" if child.wait() == -signal.SIGKILL else "ended before"] += 1
        at, after = alias_and_ledger(settings)
        new = after[len(lines) :]
        assert after[: len(lines)] == lines
        assert len(new) <= 1
        assert all(str(line["index"]) == wanted for line in new)
        assert at in {alias, after[-1]["uid"]}
        seen["ledger has the new one" if new else "ledger has the old one"] += 1
        seen["alias was behind"] += at != after[-1]["uid"]
        with open_ports(settings) as ports, ports.tracker() as tracker:
            assert sync(ports.journal, tracker).reason is None
        check(settings, len(lines))
        if sum(seen[ending] for ending in ("killed", "ended before")) % 10 == 0:
            print(f"kills: {dict(seen)}", flush=True)
    print(f"kills: {dict(seen)}; one promote takes {whole_s:.1f} s; alias and ledger agreed after the next sync")


def rollbacks(settings: Settings, count: int) -> None:
    opened, took, whole = [], [], []
    for _ in range(count):
        began_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", TIMED], cwd=settings.project, check=True, capture_output=True, text=True
        )
        whole.append(time.perf_counter() - began_s)
        first, second = json.loads(done.stdout.splitlines()[-1])
        opened.append(first)
        took.append(second)
        check(settings, 0)
    median = sorted(took)[len(took) // 2]
    print(
        f"rollback: {median:.2f} s (most {max(took):.2f} s) beyond importing MLflow and opening the store"
        f" ({min(opened):.1f} to {max(opened):.1f} s); a whole process {min(whole):.1f} to {max(whole):.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rollbacks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    import mlflow  # noqa: F401  before the processes are forked, so that they share it

    with tempfile.TemporaryDirectory() as place:
        settings = make_project(Path(place) / "project", asked.processes)
        with open_ports(settings) as ports, ports.tracker() as tracker:
            assert sync(ports.journal, tracker).reason is None
        race(settings, asked.processes, asked.rounds)
        kills(settings, asked.processes, asked.kills, asked.seed)
        rollbacks(settings, asked.rollbacks)


if __name__ == "__main__":
    main()
