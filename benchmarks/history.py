"""How long `plaster-ops history` takes on a journal of many retrains, beside importing what it needs.

`python -m benchmarks.history [--retrains 1000]` writes a scratch journal and times whole processes, median of seven.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.filled_journal import begin_run, held_record, write_settings
from benchmarks.whole_process import time_process
from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.metrics import E2E_P50_MS, ENGINE_BYTES
from plaster_ops.tracking.journal import Journal

IMPORTS = "import plaster_ops.cli.app, plaster_ops.flow.history"


def fill(memory: Path, retrains: int) -> None:
    memory.mkdir(parents=True)
    card = Card.of([Reading(metric=E2E_P50_MS, value=0.05), Reading(metric=ENGINE_BYTES, value=97725)])
    with Journal.open(memory) as journal:
        for _ in range(retrains):
            row = begin_run(journal, "digits")
            journal.finish_run(row.uid, held_record(row, card))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=1000)
    with tempfile.TemporaryDirectory(prefix="plaster-history-") as folder:
        project = Path(folder)
        write_settings(project, "digits")
        fill(project / "mlruns", parser.parse_args().retrains)
        print(f"imports alone          {time_process(project, '-c', IMPORTS).wall_s:.2f} s")
        print(f"history                {time_process(project, '-m', 'plaster_ops', 'history').wall_s:.2f} s")
        everything = ("-m", "plaster_ops", "history", "-n", "1000", "--json")
        print(f"history -n 1000 --json {time_process(project, *everything).wall_s:.2f} s")


if __name__ == "__main__":
    main()
