"""Kills at random moments of a fit: does one finished run come of it, with the weights of a fit that nobody disturbed?

`python -m benchmarks.kills [--each 10] [--seed N]` makes a project of its own with a small model (dropout, batch norm,
shuffled order, noise on the data; two ranks), retrains it once undisturbed, and then once a kill: SIGKILL to rank 0, to
rank 1, to the parent, to all of them, and SIGTERM to the parent, `--each` times at moments drawn at random between the
start of the ranks and the end of the fit. A run that a kill has ended is continued once with `--resume`. Prints a table
in Markdown and exits 1 unless every trial ended as it should: one finished run, no process left, equal weights.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kills_project import Project, wait_until

KINDS = ("SIGKILL rank 0", "SIGKILL rank 1", "SIGKILL parent", "SIGKILL all", "SIGTERM parent")
IN_TRAINING = 0.8
"""This share of the moments is drawn from the training, the rest from the start of its processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One kill. `after_s`: seconds since the ranks were started, or since they train. `newest`: the checkpoint then."""

    kind: str
    moment: "Moment"
    newest: str
    codes: tuple[int, ...]
    left: int
    equal: bool
    finished: bool

    @property
    def is_good(self) -> bool:
        """Whether it ended as it should."""
        return self.equal and self.finished and not self.left and self.codes[-1] == 0 and len(self.codes) <= 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Seconds since the ranks were started, or since rank 0 trains."""

    trains: bool
    after_s: float

    def __str__(self) -> str:
        return f"{'training' if self.trains else 'start-up'} + {self.after_s:.2f} s"


def prepare(project: Project) -> tuple[str, float, float]:
    """One undisturbed retrain, and a second one that stops as its ranks start: there every trial sets out.

    Returns the weights' digest, and the seconds of the ranks' start and of the training.
    """
    whole = project.start()
    wait_until(lambda: project.attempts(1), 120)
    began_s = time.monotonic()
    wait_until(project.trains, 120)
    trains_s = time.monotonic()
    wait_until(lambda: project.weights(1), 120)
    fit_s = time.monotonic() - trains_s
    digest = project.weights(1)
    if whole.wait(300) != 0 or digest is None:
        raise SystemExit((project.folder / "said.txt").read_text(encoding="utf-8"))
    second = project.start()
    wait_until(lambda: project.attempts(2), 120)
    second.kill()
    second.wait()
    wait_until(lambda: not project.processes(), 10)
    for mark in project.folder.glob("trains-*"):
        mark.unlink()
    project.keep()
    return digest, trains_s - began_s, fit_s


def strike(project: Project, kind: str, parent: subprocess.Popen[bytes]) -> bool:
    """Sends the signals; False where there is nobody to send them to any more."""
    number = signal.SIGTERM if kind.startswith("SIGTERM") else signal.SIGKILL
    ranks = {rank: project.processes(f"/rank{rank}\0") for rank in (0, 1)}
    if not all(ranks.values()):
        return False
    targets = {"parent": [parent.pid], "rank 0": ranks[0][:1], "rank 1": ranks[1][:1]}
    chosen = (
        [pid for pids in targets.values() for pid in pids] if kind.endswith("all") else targets[kind.partition(" ")[2]]
    )
    for pid in chosen:
        os.kill(pid, number)
    return True


def attempt(project: Project, kind: str, moment: Moment, digest: str) -> Trial | None:
    """One trial; None where the fit had ended before its moment came."""
    project.bring_back()
    before = project.attempts(2)
    parent = project.start("--resume", "2")
    wait_until(project.trains if moment.trains else lambda: project.attempts(2) > before, 120)
    time.sleep(moment.after_s)
    newest = project.newest(2)
    struck = strike(project, kind, parent)
    codes = [parent.wait(300)]
    gone = wait_until(lambda: not project.processes(), 3)
    if not struck:
        return None
    if codes[0] != 0 and gone:
        codes.append(project.start("--resume", "2").wait(300))
        wait_until(lambda: not project.processes(), 3)
    return Trial(
        kind=kind,
        moment=moment,
        newest=newest,
        codes=tuple(codes),
        left=len(project.processes()),
        equal=project.weights(2) == digest,
        finished=project.runs() == [(1, "finished"), (2, "finished")],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    draw = random.Random(given.seed)
    print(f"seed {given.seed}", flush=True)
    good = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        project = Project(Path(place).resolve())
        digest, start_s, fit_s = prepare(project)
        print(f"undisturbed: ranks up after {start_s:.1f} s, weights {digest[:12]} {fit_s:.1f} s later\n")
        print("| kill | moment | checkpoint then | exit codes | processes left | weights | as it should |")
        print("|-|-|-|-|-|-|-|", flush=True)
        for kind in KINDS * given.each:
            while True:
                trains = draw.random() < IN_TRAINING
                moment = Moment(trains=trains, after_s=draw.uniform(0.0, fit_s if trains else start_s))
                trial = attempt(project, kind, moment, digest)
                if trial is None:
                    continue
                good += trial.is_good
                codes = ", ".join(map(str, trial.codes))
                weights, verdict = ("equal" if trial.equal else "other"), ("yes" if trial.is_good else "no")
                print(
                    f"| {kind} | {trial.moment} | {trial.newest} | {codes} | {trial.left} | {weights} | {verdict} |",
                    flush=True,
                )
                break
    total = given.each * len(KINDS)
    print(f"\n{good} of {total} ended in one finished run with the undisturbed weights and no process left.")
    raise SystemExit(0 if good == total else 1)


if __name__ == "__main__":
    main()
