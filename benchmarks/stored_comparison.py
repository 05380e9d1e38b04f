"""How long `plaster-ops compare A B --stored` takes on a journal of many retrains, beside importing what it needs.

`python -m benchmarks.stored_comparison [--retrains 10000]` writes a scratch journal whose runs all measured what is
judged, and takes the CPU seconds (user and system) of whole processes, median of seven: the newest two, the newest
against the first, and two old ones.
"""

import argparse
import random
import tempfile
from pathlib import Path

from benchmarks.filled_journal import begin_run, held_record, write_settings
from benchmarks.whole_process import time_process
from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.metrics import CATALOGUE, Better
from plaster_ops.tracking.journal import Journal

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
            row = begin_run(journal, "digits")
            card = Card.of(
                Reading(
                    metric=metric,
                    value=draw.uniform(0.98, 1.0),
                    better=Better.HIGHER if metric.better is Better.DECLARED else None,
                )
                for metric in judged
            )
            record = held_record(row, card, fingerprint=fingerprint, engine_folder=str(memory / "gone"))
            journal.finish_run(row.uid, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, default=10_000)
    retrains = parser.parse_args().retrains
    with tempfile.TemporaryDirectory(prefix="plaster-stored-") as folder:
        project = Path(folder)
        write_settings(project, "digits")
        fill(project / "mlruns", retrains)
        print(f"imports alone            {time_process(project, '-c', IMPORTS).cpu_s:.2f} s")
        for now, then in (("last", str(retrains - 1)), ("last", "1"), (str(retrains // 2), "1")):
            taken = time_process(project, "-m", "plaster_ops", "compare", now, then, "--stored", "--json")
            print(f"compare {now} {then} --stored  {taken.cpu_s:.2f} s")


if __name__ == "__main__":
    main()
