"""What the page of a retrain costs: gathering its values in the parent, and the child that draws it.

`python -m benchmarks.page [--retrains 24 1000]` writes scratch journals of so many retrains with cards of the usual
size, and times the stage `page` of the newest as a retrain starts it: whole processes, the median of seven.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.filled_journal import write_settings
from benchmarks.scale_records import record
from benchmarks.whole_process import Taken, time_process
from plaster_ops.flow.pages import sheet_of
from plaster_ops.ports import Tracked
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_restore import rebuilding, restore_run

STAGE = ("-m", "plaster_ops.flow.stages", "page")


def fill(project: Path, retrains: int) -> None:
    """A journal of so many retrains of one pipeline."""
    write_settings(project, "pipeline00")
    with Journal.open(project / "mlruns") as journal, rebuilding(journal):
        for number in range(retrains):
            each = record(number, 1, project)
            tracked = Tracked(tracking_uri="", experiment="plaster/pipeline00", run_id=each.uid)
            restore_run(journal, each, tracked, "host", ())


def gather(project: Path, folder: Path) -> float:
    """Writes what the stage draws, as a retrain does; returns milliseconds of CPU time for gathering it."""
    with Journal.open(project / "mlruns") as journal:
        newest = journal.last_ended("pipeline00")
        found = None if newest is None else journal.record(newest.uid)
        if found is None:
            raise RuntimeError("the journal holds no retrain that ended")
        began_s = time.process_time()
        sheet = sheet_of(journal, found, {"tracking_uri": "", "experiment": "plaster/pipeline00"})
        took_ms = 1000 * (time.process_time() - began_s)
    folder.mkdir()
    spec = {"sheet": sheet, "target": str(folder / "report.html")}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    return took_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrains", type=int, nargs="+", default=[24, 1000])
    print("| retrains | gathering | drawing, a child | importing matplotlib alone | page |\n|-|-|-|-|-|")
    for retrains in parser.parse_args().retrains:
        with tempfile.TemporaryDirectory(prefix="plaster-page-") as name:
            project, folder = Path(name), Path(name) / "stage"
            fill(project, retrains)
            gathered_ms = gather(project, folder)
            drawn = time_process(project, *STAGE, str(folder))
            alone = time_process(project, "-c", "import matplotlib.figure, matplotlib.backends.backend_svg")
            kb = (folder / "report.html").stat().st_size / 1000
            print(
                f"| {retrains} | {gathered_ms:.0f} ms | {_shown(drawn)} | {_shown(alone)} | {kb:.0f} kB |", flush=True
            )
    print(f"largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


def _shown(taken: Taken) -> str:
    return f"CPU {taken.cpu_s:.2f} s, wall {taken.wall_s:.2f} s"


if __name__ == "__main__":
    main()
