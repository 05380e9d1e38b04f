"""Evidence written by a measuring process and read back in the parent."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plaster_ops.domain.card import Status
from plaster_ops.plaster.clustering import Tail
from plaster_ops.plaster.evidence import windows
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.open_loop import Kept, Point
from plaster_ops.plaster.rate_search import Trial
from plaster_ops.plaster.raw_files import load_evidence, server_rows, write_raw
from plaster_ops.plaster.server import Served
from plaster_ops.plaster.timing import Timed
from plaster_ops.plaster.turns import Block
from tests.plaster.doubles import block, evidence

RESULT = {
    "profile": "smoke",
    "slo_ms": 5.0,
    "engines": {"now": {"load_s": 0.1, "first_inference_ms": 2.0}},
    "search": None,
    "chosen_batches": {"now": 4},
    "energy": {"source": "none", "scope": "", "reason": "none"},
    "machine": {"notes": [], "suspect": ""},
    "peak_host_bytes": 7,
}


def written(folder: Path, process: int, **changes: object) -> Path:
    folder.mkdir()
    window = EnergyWindow(joules=2.5, window_s=0.3, inferences=12, updates=4)
    blocks = [
        Block(
            kind=kind,
            label="now",
            index=i,
            position=i,
            batch=batch,
            timed=Timed(latencies_ns=[10 + i, 20 + i][: 2 - i], start_ns=1000 + i, window_ns=40, cpu_s=0.5),
            energy=energy,
        )
        for i, (kind, batch, energy) in enumerate([("single", 1, None), ("throughput", 4, window)])
    ]
    write_raw(folder / "raw.npz", blocks)
    (folder / "result.json").write_text(json.dumps(RESULT | {"process": process} | changes))
    return folder


def test_evidence_comes_back_as_it_was_written(tmp_path: Path) -> None:
    found = load_evidence([written(tmp_path / "p0", 0), written(tmp_path / "p1", 1, peak_host_bytes=9)])
    assert found.processes == 2
    single, throughput = found.blocks("single", "now")[1], found.blocks("throughput", "now")[1]
    assert single.process == 1
    assert single.latencies_ns.tolist() == [10, 20]
    assert single.latencies_ns.dtype == np.int64
    assert (throughput.samples, throughput.latencies_ns.tolist()) == (4, [11])
    assert throughput.energy == EnergyWindow(joules=2.5, window_s=0.3, inferences=12, updates=4)
    assert single.energy is None
    assert single.window_s == pytest.approx(40e-9)
    assert (found.slo_ms, found.chosen_batches(), found.results[1]["peak_host_bytes"]) == (5.0, {"now": 4}, 9)


def kept(label: str, number: int, due_ns: list[int]) -> Kept:
    tail = Tail(queries=len(due_ns), over=0, inflation=1.0)
    trial = Trial(number=number, rate_per_s=100.0 * (number + 1), certifies=number > 0, tail=tail, p99_ms=1.0)
    due = np.array(due_ns, dtype=np.int64)
    served = Served(
        due_ns=due, latencies_ns=due + 1, answered=len(due), sizes=np.array([2, 1]), busy_ns=5, window_ns=10**9
    )
    return Kept(label=label, trial=trial, served=served, cpu_s=0.5)


def test_runs_of_a_server_come_back_to_the_engine_and_rate_they_belong_to(tmp_path: Path) -> None:
    folder = written(tmp_path / "p0", 0)
    served = [kept("then", 0, [7]), kept("then", 1, [8, 9]), kept("now", 0, [1, 2, 3]), kept("now", 1, [4])]
    point = Point(rate_per_s=200.0, sizes=(1, 2), max_queue_delay_ms=0.5)
    rows = server_rows({"then": point, "now": point}, served)
    write_raw(folder / "raw.npz", [], served)
    (folder / "result.json").write_text(json.dumps(RESULT | {"process": 0, "server": rows}))
    found = load_evidence([folder])
    assert found.server_point("now") == point
    assert found.server_point("other") is None
    told = {
        label: [(run.rate_per_s, run.certifies, run.due_ns.tolist(), run.latencies_ns.tolist()) for run in runs]
        for label in ("now", "then")
        for runs in [found.server_runs(label)]
    }
    assert told == {
        "now": [(100.0, False, [1, 2, 3], [2, 3, 4]), (200.0, True, [4], [5])],
        "then": [(100.0, False, [7], [8]), (200.0, True, [8, 9], [9, 10])],
    }


def test_served_queries_that_do_not_fit_their_runs_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "p0", 0)
    rows = server_rows({"now": Point(rate_per_s=None, sizes=(1,), max_queue_delay_ms=0.0)}, [kept("now", 0, [1, 2])])
    (folder / "result.json").write_text(json.dumps(RESULT | {"process": 0, "server": rows}))
    with pytest.raises(ValueError, match="0 served queries"):
        load_evidence([folder])


def test_raw_latencies_that_do_not_fit_their_blocks_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "p0", 0)
    with np.load(folder / "raw.npz") as stored:
        columns = {name: stored[name] for name in stored.files}
    columns["latencies_ns"] = columns["latencies_ns"][:-1]
    np.savez(folder / "raw.npz", **columns)
    with pytest.raises(ValueError, match="2 latencies"):
        load_evidence([folder])


def test_one_suspect_process_makes_all_of_it_suspect() -> None:
    calm = evidence([block("now", 0, [1])])
    assert calm.trust() == (Status.MEASURED, None)
    stolen = evidence([block("now", 0, [1])], machine={"notes": [], "suspect": "the host took 30 %"})
    assert stolen.trust() == (Status.SUSPECT, "the host took 30 %")


def test_windows_put_neighbours_together_and_lose_nothing() -> None:
    blocks = [block("now", i, [i + 1]) for i in range(7)]
    parts = windows(blocks, 3)
    assert [len(part) for part in parts] == [2, 3, 2]
    assert [b for part in parts for b in part] == blocks
    assert len(windows(blocks[:2], 5)) == 2
    assert windows([], 5) == []


def test_reading_loads_no_torch() -> None:
    rooms = "latency throughput energy size programmability learning accuracy evidence profiles machine preflight"
    code = "import sys\n" + "".join(f"import plaster_ops.plaster.{room}\n" for room in rooms.split())
    code += "print(sorted({'torch', 'scipy', 'pynvml', 'openvino', 'mlflow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"
