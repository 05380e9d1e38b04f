"""The service with many pipelines due in the same minute, each retrain a job that does nothing.

`python -m benchmarks.schedule_load [--pipelines 1000] [--rounds 10] [--idle-s 60]` starts the real service on a project
with that many pipelines, all due at the same second, two devices, `plaster-ops --version` as the job. Measured: from
due to spawned of the first two, in each of the rounds (a fresh project and service each); then one whole queue beside
jobs x seconds of one job alone / devices; the service's memory (peak of RSS) and its CPU at rest.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

DEVICES = 2
LEAD_S = 6.0
"""Between the start of a service and the second at which all are due."""


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    late_ms = [each for _ in range(arguments.rounds) for each in first_two_ms(arguments.pipelines)]
    print(f"due to spawned, the first two of {arguments.pipelines}, {arguments.rounds} rounds: ", end="")
    print(
        f"median {statistics.median(late_ms):.0f} ms, p99 {percentile(late_ms, 0.99):.0f} ms, max {max(late_ms):.0f} ms"
    )
    whole_queue(arguments.pipelines, arguments.idle_s)


def serve(project: Path) -> None:
    """The service of one project; says on stdout when what was spawned, in seconds UTC."""
    from plaster_ops.settings import load_settings
    from scheduler.service import opened_service

    def say(text: str) -> None:
        if ": slot " in text or "keeping" in text:
            print(f"{time.time():.6f} {text}", flush=True)

    with opened_service(load_settings(project), command=lambda _slot: ["--version"], say=say) as service:
        service.run()


def make(folder: Path, pipelines: int) -> float:
    """A project whose pipelines are all due at the second that is returned, and then not for a day."""
    due_s = float(round(time.time() + LEAD_S))
    start = datetime.fromtimestamp(due_s, tz=UTC).isoformat()
    lines = [f"[scheduler]\ndevices = {DEVICES}\nlisten = ''\n"]
    lines += [
        f'[pipelines.p{number:04d}]\nref = "nothing:pipeline"\ncadence = {{ every = "1d", start = {start} }}\n'
        for number in range(pipelines)
    ]
    (folder / "plaster.toml").write_text("\n".join(lines), encoding="utf-8")
    return due_s


def started(project: Path) -> subprocess.Popen[str]:
    """The service in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.schedule_load", "--serve", str(project)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def first_two_ms(pipelines: int) -> list[float]:
    """Milliseconds from due to spawned of the first two jobs; then the service is killed."""
    with tempfile.TemporaryDirectory() as scratch:
        due_s = make(Path(scratch), pipelines)
        service = started(Path(scratch))
        assert service.stdout is not None
        found: list[float] = []
        while len(found) < DEVICES:
            line = service.stdout.readline()
            if not line:
                raise SystemExit("the service ended")
            if " started (" in line:
                found.append((float(line.split()[0]) - due_s) * 1e3)
        service.kill()
        service.wait()
        return found


def whole_queue(pipelines: int, idle_s: float) -> None:
    """One whole queue, memory on the way, CPU afterwards."""
    alone_s = statistics.median(_one_job_s() for _ in range(9))
    with tempfile.TemporaryDirectory() as scratch:
        due_s = make(Path(scratch), pipelines)
        service = started(Path(scratch))
        assert service.stdout is not None
        watched, ended, peak_bytes, at_s = psutil.Process(service.pid), 0, 0, due_s
        while ended < pipelines:
            line = service.stdout.readline()
            if not line:
                raise SystemExit("the service ended")
            if line.rstrip().endswith(" ran"):
                ended, at_s = ended + 1, float(line.split()[0])
                if ended % 20 == 0:
                    peak_bytes = max(peak_bytes, watched.memory_info().rss)
        took_s, ideal_s = at_s - due_s, pipelines * alone_s / DEVICES
        before = watched.cpu_times()
        time.sleep(idle_s)
        after = watched.cpu_times()
        rest_ratio = (after.user + after.system - before.user - before.system) / idle_s
        peak_bytes = max(peak_bytes, watched.memory_info().rss)
        service.terminate()
        service.wait()
    print(f"one job alone {alone_s * 1e3:.0f} ms; {pipelines} on {DEVICES} devices {took_s:.1f} s, ", end="")
    print(f"{took_s / ideal_s:.3f} of jobs x alone / devices; service {peak_bytes / 2**20:.0f} MiB, ", end="")
    print(f"{rest_ratio:.2%} of a core at rest")


def _one_job_s() -> float:
    """Seconds of the job with nothing beside it but another one: as the service runs them, two at once."""
    began_s = time.monotonic()
    children, ends = [], []
    for _ in range(DEVICES):
        alive, end = os.pipe()
        ends += [alive, end]
        children.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "scheduler.job", str(alive), "--version"],
                pass_fds=[alive],
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    for child in children:
        child.wait()
    for fd in ends:
        os.close(fd)
    return time.monotonic() - began_s


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all is not above."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


if __name__ == "__main__":
    main()
