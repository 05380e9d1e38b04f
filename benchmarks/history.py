"""How long `plaster-ops history` takes on a journal of many retrains, beside importing what it needs.

`python benchmarks/history.py [--retrains 1000]` writes a scratch journal and times whole processes, median of seven.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_BYTES
from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.journal import Journal

ROOT = Path(__file__).parents[1]
IMPORTS = "import plaster_ops.cli.app, plaster_ops.flow.history"


def fill(memory: Path, retrains: int) -> None:
    memory.mkdir(parents=True)
    card = Card.of([Reading(metric=E2E_P50_MS, value=0.05), Reading(metric=ENGINE_BYTES, value=97725)])
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
            record = RunRecord(
                uid=row.uid,
                pipeline="digits",
                index=row.index or 0,
                trigger="cron",
                started_at=row.started_at,
                ended_at=row.started_at,
                verdict="held",
                exit_code=0,
                card=tuple(card.to_json()),
            )
            journal.finish_run(row.uid, record)


def median_s(project: Path, *arguments: str) -> float:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    taken = []
    for _ in range(7):
        began_s = time.monotonic()
        subprocess.run([sys.executable, *arguments], cwd=project, env=env, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.monotonic() - began_s)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=1000)
    with tempfile.TemporaryDirectory(prefix="plaster-history-") as folder:
        project = Path(folder)
        (project / "plaster.toml").write_text('default = "digits"\n[pipelines.digits]\nref = "m:p"\n', encoding="utf-8")
        fill(project / "mlruns", parser.parse_args().retrains)
        print(f"imports alone          {median_s(project, '-c', IMPORTS):.2f} s")
        print(f"history                {median_s(project, '-m', 'plaster_ops', 'history'):.2f} s")
        everything = ("-m", "plaster_ops", "history", "-n", "1000", "--json")
        print(f"history -n 1000 --json {median_s(project, *everything):.2f} s")


if __name__ == "__main__":
    main()
