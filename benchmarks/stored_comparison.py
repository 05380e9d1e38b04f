"""How long `plaster-ops compare A B --stored` takes on a journal of many retrains, beside importing what it needs.

`python benchmarks/stored_comparison.py [--retrains 10000]` writes a scratch journal whose runs all measured what is
judged, and takes the CPU seconds (user and system) of whole processes, median of seven: the newest two, the newest
against the first, and two old ones.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.metrics import CATALOGUE, Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.journal import Journal

ROOT = Path(__file__).parents[1]
IMPORTS = (
    "import plaster_ops.cli.app, plaster_ops.cli.compare, plaster_ops.cli.progress, plaster_ops.flow.comparison,"
    " plaster_ops.report.json_text, scipy.special"
)


def fill(memory: Path, retrains: int) -> None:
    """Runs with a value for every judged metric, within 2 % of each other."""
    memory.mkdir(parents=True)
    judged = [metric for metric in CATALOGUE.values() if metric.margin is not None]
    fingerprint = Fingerprint(device="cpu", device_count=1, threads=1).to_json()
    draw = random.Random(1)
    with Journal.open(memory) as journal:
        for _ in range(retrains):
            row = journal.start_run(
                "digits",
                trigger="cron",
                slot=None,
                reference="m:p",
                settings_json="{}",
                pid=1,
                host="h",
                pid_started=None,
            )
            card = Card.of(
                Reading(
                    metric=metric,
                    value=draw.uniform(0.98, 1.0),
                    better=Better.HIGHER if metric.better is Better.DECLARED else None,
                )
                for metric in judged
            )
            record = RunRecord(
                uid=row.uid,
                pipeline="digits",
                index=row.index or 0,
                trigger="cron",
                started_at=row.started_at,
                ended_at=row.started_at,
                verdict="held",
                exit_code=0,
                fingerprint=fingerprint,
                card=tuple(card.to_json()),
                engine_folder=str(memory / "gone"),
            )
            journal.finish_run(row.uid, record)


def median_cpu_s(project: Path, *arguments: str) -> float:
    """CPU seconds of that Python process: a busy machine stretches the clock, and these hardly."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    taken = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], cwd=project, env=env, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=10_000)
    retrains = parser.parse_args().retrains
    with tempfile.TemporaryDirectory(prefix="plaster-stored-") as folder:
        project = Path(folder)
        (project / "plaster.toml").write_text('default = "digits"\n[pipelines.digits]\nref = "m:p"\n', encoding="utf-8")
        fill(project / "mlruns", retrains)
        print(f"imports alone            {median_cpu_s(project, '-c', IMPORTS):.2f} s")
        for now, then in (("last", str(retrains - 1)), ("last", "1"), (str(retrains // 2), "1")):
            taken = median_cpu_s(project, "-m", "plaster_ops", "compare", now, then, "--stored", "--json")
            print(f"compare {now} {then} --stored  {taken:.2f} s")


if __name__ == "__main__":
    main()
