"""What importing costs as our processes do it, and as Python does it by itself: CPU seconds of whole processes.

`python -m benchmarks.imports [--rounds 5]`; the two take turns. The processes end as workers do, without tearing down.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.whole_process import time_process

IMPORTS = {
    "torch, pytorch_lightning": "import torch, pytorch_lightning",
    "torch": "import torch",
    "mlflow, its SQLite store": "import mlflow, mlflow.store.tracking.sqlalchemy_store",
}
PLAIN = "import os, plaster_ops.importing\n{imports}\nos._exit(0)"
OURS = "import os, plaster_ops.importing\nwith plaster_ops.importing.uncollected('new'):\n    {imports}\nos._exit(0)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| import | as Python does | uncollected | ratio |\n|-|-|-|-|")
    with tempfile.TemporaryDirectory(prefix="plaster-imports-") as folder:
        for name, imports in IMPORTS.items():
            took: dict[str, list[float]] = {PLAIN: [], OURS: []}
            for _ in range(rounds):
                for way, seconds in took.items():
                    seconds.append(time_process(Path(folder), "-c", way.format(imports=imports), times=1).cpu_s)
            plain, ours = (statistics.median(each) for each in took.values())
            print(f"| {name} | {plain:.2f} s | {ours:.2f} s | {ours / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
