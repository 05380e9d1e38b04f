"""What questions, a retrain's bookkeeping and `rebuild` cost on a store of many retrains.

`python benchmarks/scale.py --retrains 10000 --pipelines 20` fills a scratch project (minutes, some 2 GB), then times
whole processes: CPU seconds and peak memory beyond an interpreter that imports the same. `--keep FOLDER` fills that
folder, or takes it as it is.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
URI = "sqlite:///mlruns/mlflow.db"
NAME = "pipeline00"
CLI = "import plaster_ops.cli.app, plaster_ops.settings, plaster_ops.flow"
QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "history": (("history", NAME), "history, plaster_ops.report.history_table"),
    "history -n 500 --json": (("history", NAME, "-n", "500", "--json"), "history"),
    "drift": (("drift", NAME), "drift, plaster_ops.report.drift_table, numpy, scipy.special, plaster_ops.domain.scan"),
    "compare 300 299": (
        ("compare", "300", "299", "--pipeline", NAME),
        "comparison, plaster_ops.report.table, numpy, scipy.special",
    ),
    "explain 250 --metric p50": (
        ("explain", "250", "--pipeline", NAME, "--metric", "p50"),
        "explain, plaster_ops.report.explain_text",
    ),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process: CPU and wall seconds, and the most memory it held."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def cost(project: Path, *arguments: str, times: int = 3) -> Cost:
    """The run of several that took least CPU: what else the machine does adds to the others."""
    return min((_once(project, arguments) for _ in range(times)), key=lambda each: each.cpu_s)


def _once(project: Path, arguments: Sequence[str]) -> Cost:
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    began_s = time.monotonic()
    child = subprocess.Popen([sys.executable, *arguments], cwd=project, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - began_s, used.ru_maxrss / 1024)


def fill(project: Path, retrains: int, pipelines: int, most_s: float) -> None:
    """In a process of its own, so that its memory is no other's."""
    from benchmarks.scale_store import fill as fill_store
    from plaster_ops.tracking.connection import resolve_uri

    (project / "mlruns").mkdir(parents=True)
    text = f'default = "{NAME}"\n' + "".join(f'[pipelines.pipeline{i:02d}]\nref = "m:p"\n' for i in range(pipelines))
    (project / "plaster.toml").write_text(text, encoding="utf-8")
    found, made = fill_store(project, resolve_uri(URI, project), retrains, pipelines, most_s)
    print(f"{made} retrains of {pipelines} pipelines")
    print(f"bulk rows beside those of the real tracker: {len(found)} differences {found[:3]}")


def questions(project: Path) -> None:
    print(f"{'question':28} {'CPU s':>7} {'beyond imports':>15} {'wall s':>7} {'peak MB':>8}")
    for name, (arguments, modules) in QUESTIONS.items():
        bare = cost(project, "-c", f"{CLI}, plaster_ops.flow.{modules}")
        asked = cost(project, "-m", "plaster_ops", *arguments)
        beyond = asked.cpu_s - bare.cpu_s
        print(f"{name:28} {asked.cpu_s:7.2f} {beyond:15.2f} {asked.wall_s:7.2f} {asked.peak_mb:8.0f}")


@contextmanager
def _timed(what: str, told: dict[str, list[float]]) -> Iterator[None]:
    cpu_s, wall_s = time.process_time(), time.monotonic()
    yield
    told[what] = [time.process_time() - cpu_s, time.monotonic() - wall_s]


def bookkeeping(project: Path) -> None:
    """One whole retrain whose stages are doubles: what is left is what the parent asks and writes."""
    from plaster_ops.flow import context, session, train, wiring
    from plaster_ops.flow.retrain import Request
    from plaster_ops.flow.session import Start, run_retrain
    from plaster_ops.settings import load_settings
    from tests.conftest import SteppedClock
    from tests.flow.walk import BACKEND, Walk

    told: dict[str, list[float]] = {}
    settings = load_settings(project)
    plain = settings.pipelines[NAME].model_copy(
        update={
            "engine": settings.pipelines[NAME].engine.model_copy(
                update={"backends": (BACKEND,), "precisions": ("fp32",)}
            )
        }
    )
    settings = settings.model_copy(update={"pipelines": {**settings.pipelines, NAME: plain}})
    with wiring.open_ports(settings) as ports, _timed("importing mlflow, scipy and opening the store", told):
        import scipy.special  # noqa: F401

        ports.tracker()._open().search_experiments(max_results=1)
    clock = SteppedClock()
    walk: Any = Walk(clock, arrived=int(time.time()))
    context.run_stage, train.fit, wiring.SystemClock = walk.run_stage, walk.fit, lambda: clock  # type: ignore[assignment,misc]
    start = Start(monotonic_s=clock.monotonic, epoch_s=clock.epoch)
    send = session.publish

    def timed_send(ctx: Any, ports: Any) -> dict[str, Any]:
        with _timed("to MLflow of it", told):
            return send(ctx, ports)

    session.publish = timed_send
    with _timed("one retrain but for its stages", told):
        run_retrain(settings, NAME, Request(measure=True), start=start, tell=lambda _: None)
    told["peak MB"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    print(json.dumps(told))


def in_child(project: Path, what: str) -> Any:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__)), "--only", what, "--keep", str(project)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def search(project: Path) -> None:
    """MLflow's own answer to `history`: the newest twenty retrains of one pipeline."""
    from plaster_ops.tracking.connection import open_client, resolve_uri

    told: dict[str, list[float]] = {}
    client = open_client(resolve_uri(URI, project))
    experiment = client.get_experiment_by_name(f"plaster/{NAME}").experiment_id
    with _timed("MLflow's search_runs for the same", told):
        found = client.search_runs(
            [experiment], "tags.`plaster.kind` = 'retrain'", max_results=20, order_by=["attributes.start_time DESC"]
        )
    assert len(found) == 20
    told["peak MB"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    print(json.dumps(told))


def rebuilt(project: Path) -> None:
    """Takes the journal away, makes it anew, and holds `history --json` against what it was."""
    asked = (sys.executable, "-m", "plaster_ops", "history", "--all", "-n", "1000000", "--json")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    before = subprocess.run(asked, cwd=project, env=env, check=True, capture_output=True).stdout
    for file in (project / "mlruns").glob("plaster.db*"):
        file.unlink()
    taken = cost(project, "-m", "plaster_ops", "rebuild", "--quiet", times=1)
    after = subprocess.run(asked, cwd=project, env=env, check=True, capture_output=True).stdout
    same = "the same" if before == after else "NOT the same"
    print(f"rebuild: {taken.wall_s:.0f} s, CPU {taken.cpu_s:.0f} s, peak {taken.peak_mb:.0f} MB; history is {same}")


def measure(project: Path) -> None:
    for file in sorted((project / "mlruns").glob("*.db")):
        print(f"{file.name}: {file.stat().st_size / 1e6:.0f} MB")
    questions(project)
    with tempfile.TemporaryDirectory(prefix="plaster-scale-empty-") as empty:
        (Path(empty) / "plaster.toml").write_text((project / "plaster.toml").read_text("utf-8"), encoding="utf-8")
        print("an empty store:", _shown(in_child(Path(empty), "bookkeeping")))
    print("this store:    ", _shown(in_child(project, "bookkeeping")))
    print("beside it:     ", _shown(in_child(project, "search")))
    rebuilt(project)


def _shown(told: dict[str, list[float]]) -> str:
    return "; ".join(
        f"{what} {numbers[0]:.0f}" if len(numbers) == 1 else f"{what}: CPU {numbers[0]:.2f} s, {numbers[1]:.2f} s"
        for what, numbers in told.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=10_000)
    parser.add_argument("--pipelines", type=int, default=20)
    parser.add_argument("--fill-s", type=float, default=float("inf"), help="stop filling after so many seconds")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", choices=("fill", "bookkeeping", "search", "questions", "rebuilt"))
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    steps = {"bookkeeping": bookkeeping, "search": search, "questions": questions, "rebuilt": rebuilt}
    if asked.only == "fill":
        fill(asked.keep, asked.retrains, asked.pipelines, asked.fill_s)
    elif asked.only:
        steps[asked.only](asked.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="plaster-scale-") as scratch:
            project = asked.keep or Path(scratch) / "project"
            if not (project / "mlruns" / "plaster.db").is_file():
                size = ("--retrains", str(asked.retrains), "--pipelines", str(asked.pipelines))
                size = (*size, "--fill-s", str(asked.fill_s))
                command = [sys.executable, str(Path(__file__)), "--only", "fill", "--keep", str(project), *size]
                subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
            measure(project)


if __name__ == "__main__":
    main()
