"""How long `plaster-ops drift` takes in a journal of many retrains, beside importing what it needs.

`python -m benchmarks.drift_command [--pipelines 20] [--retrains 500]` writes a scratch journal with every watched
metric of every retrain, and takes whole processes: the median of seven, seconds of the wall and of the CPU.
"""

import argparse
import random
import tempfile
from pathlib import Path

from benchmarks.filled_journal import begin_run, held_record, write_settings
from benchmarks.whole_process import time_process
from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.metrics import Better, Scale
from plaster_ops.domain.watch import WATCHED
from plaster_ops.flow.watching import with_alarms
from plaster_ops.tracking.journal import Journal

IMPORTS = "import plaster_ops.cli.app, plaster_ops.flow.drift, plaster_ops.report.drift_table"
SCANNED = 30
"""Newest retrains of the pipeline asked for whose histories are scanned as they end; the rest is but written."""


def fill(memory: Path, pipelines: int, retrains: int) -> None:
    memory.mkdir(parents=True)
    noise = random.Random(20)
    with Journal.open(memory) as journal:
        journal.file.rows("PRAGMA synchronous = OFF")
        for place in range(pipelines):
            for night in range(retrains):
                is_scanned = place == 0 and night >= retrains - SCANNED
                _finish(journal, f"p{place}", noise, is_scanned=is_scanned, is_slow=night > retrains - 9)


def _finish(journal: Journal, pipeline: str, noise: random.Random, *, is_scanned: bool, is_slow: bool) -> None:
    row = begin_run(journal, pipeline)
    level = 1.3 if is_slow else 1.0
    values = [level * (1.0 if each.scale is Scale.EXACT else noise.gauss(1, 0.01)) for each in WATCHED]
    rows = [Reading(metric=each, value=value, better=Better.LOWER) for each, value in zip(WATCHED, values, strict=True)]
    record = held_record(row, Card.of(rows), fingerprint={"device": "Some CPU", "digest": "f" * 16})
    journal.finish_run(row.uid, with_alarms(journal, record, {}) if is_scanned else record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", type=int, default=20)
    parser.add_argument("--retrains", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plaster-drift-") as folder:
        project = Path(folder)
        write_settings(project, *(f"p{place}" for place in range(asked.pipelines)))
        fill(project / "mlruns", asked.pipelines, asked.retrains)
        print(f"bare interpreter    {_taken(project, '-c', 'pass')}")
        print(f"imports alone       {_taken(project, '-c', IMPORTS)}")
        print(f"drift               {_taken(project, '-m', 'plaster_ops', 'drift')}")
        print(f"drift --json --all  {_taken(project, '-m', 'plaster_ops', 'drift', '--json', '--all')}")


def _taken(project: Path, *arguments: str) -> str:
    taken = time_process(project, *arguments)
    return f"{taken.wall_s:.2f} s, {taken.cpu_s:.2f} s of CPU"


if __name__ == "__main__":
    main()
