"""Every engine beside what people use without plaster-ops: one interleaved run a model, with the ladder's own choice.

`python benchmarks/engines.py [--models mlp,convnet,encoder] [--threads 1] [--rounds 12] [--again] [--work FOLDER]`
trains the three models of `engine_models.py` (kept in FOLDER), lets the ladder build, check, race and choose as
`plaster-ops bench` does, and then times every engine of it and the peers: eager PyTorch, `torch.compile`, OpenVINO's
`benchmark_app` on the plainly converted (int8: plainly quantised) model, ONNX Runtime on the plainly exported (int8:
plainly quantised) model. Each has a process of its own, all on the same cores; a round gives each a turn at batch 1 and
at batch 32. A figure is the median of all calls in all rounds, from CPU tensor or array to CPU tensor or array;
`benchmark_app` times its inference alone. Prints a table in Markdown with versions, and leaves `engines.json` in
FOLDER.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCHES = (1, 32)
PACKAGES = ("torch", "openvino", "nncf", "onnxruntime", "onnx", "onnxscript")
SETTINGS = """default = "{name}"
tracking_uri = "sqlite:///mlruns/mlflow.db"
[pipelines.{name}]
ref = "engine_models:{kind}Pipeline"
[pipelines.{name}.engine]
backends = ["openvino", "onnxruntime", "inductor"]
precisions = ["fp32", "bf16", "int8"]
threads = {threads}
ladder_every_days = 0
[pipelines.{name}.engine.options]
{options}
[pipelines.{name}.measure]
batches = [1, 2, 4, 8, 16, 32]
"""
PIPELINES = {"mlp": "Mlp", "convnet": "ConvNet", "encoder": "Encoder"}
TURN_S = 0.4
APP_S = 1


@dataclass
class Rival:
    """One row of the table: what takes its turns, the seconds of its build, and its times by batch in ms."""

    name: str
    precision: str
    turn: Callable[[int], list[float]]
    build_s: float | None
    ours: bool = False
    close: Callable[[], None] = lambda: None
    times: dict[int, list[float]] = field(default_factory=lambda: {batch: [] for batch in BATCHES})

    def median(self, batch: int) -> float:
        return statistics.median(self.times[batch])


# ---- what a process of its own runs ----------------------------------------------------------------------------------
def _open(kind: str, path: str, inputs: Path, threads: int) -> tuple[Callable[[Any], object], list[Any]]:
    """A function of one array or tensor, and inputs by batch."""
    import torch

    torch.set_num_threads(threads)
    rows = torch.load(inputs, weights_only=True)
    if kind == "engine":
        from plaster_ops.engines.artifact import read_manifest
        from plaster_ops.engines.registry import find_backend

        spec = read_manifest(Path(path)).spec
        engine = find_backend(spec.backend).load(Path(path), spec)
        return engine.run, rows
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return (lambda array: session.run(None, {name: array})), [tensor.numpy() for tensor in rows]
    sys.path.insert(0, str(inputs.parent))
    import engine_models

    model = engine_models.Served(path).eval()
    called: Any = torch.compile(model, dynamic=False) if kind == "compile" else model

    def run(tensor: Any) -> object:
        with torch.inference_mode():
            return called(tensor)

    return run, rows


def _hold_to_cores(threads: int) -> None:
    """Every rival runs on the same cores, whatever it would choose: the last ones, of which other work takes least."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def serve(kind: str, path: str, inputs: Path, threads: int) -> None:
    """Answers each line `BATCH` on stdin with the milliseconds of its calls, as JSON."""
    _hold_to_cores(threads)
    run, rows = _open(kind, path, inputs, threads)
    for row in rows:
        run(row)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        row = rows[BATCHES.index(int(line))]
        for _ in range(10 if int(line) == 1 else 1):
            run(row)
        times: list[float] = []
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < TURN_S or len(times) < 3:
            call_s = time.perf_counter()
            run(row)
            times.append(1e3 * (time.perf_counter() - call_s))
        print(json.dumps(times), flush=True)


def _process(
    kind: str, path: Path | str, inputs: Path, threads: int
) -> tuple[Callable[[int], list[float]], Any, float]:
    """Starts `serve`; its turn, how to end it, and the seconds until it was ready."""
    began_s = time.monotonic()
    command = [sys.executable, __file__, "--serve", kind, str(path), str(inputs), "--threads", str(threads)]
    env = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    assert child.stdin is not None
    assert child.stdout is not None
    source, sink = child.stdout, child.stdin

    def answer() -> Any:
        line = source.readline()
        if not line:
            raise RuntimeError(f"{kind} {path} ended with {child.wait()}")
        return json.loads(line)

    answer()

    def turn(batch: int) -> list[float]:
        print(batch, file=sink, flush=True)
        return [float(value) for value in answer()]

    return turn, child.kill, time.monotonic() - began_s


def _benchmark_app(model: Path, name: str, shape: tuple[int, ...], threads: int) -> Callable[[int], list[float]]:
    def turn(batch: int) -> list[float]:
        sizes = ",".join(str(size) for size in (batch, *shape))
        command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(model), "-shape", f"{name}[{sizes}]"]
        command += ["-d", "CPU", "-hint", "none", "-nstreams", "1", "-nthreads", str(threads)]
        command += ["-api", "sync", "-t", str(APP_S), "-infer_precision", "f32"]
        hold = partial(_hold_to_cores, threads)
        ended = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=hold)
        found = re.search(r"Median:\s+([\d.]+) ms", ended.stdout)
        if found is None:
            raise RuntimeError(f"benchmark_app told no median:\n{ended.stdout[-2000:]}")
        return [float(found[1])]

    return turn


# ---- the peers, made as their own pages say --------------------------------------------------------------------------
def _peers(name: str, work: Path, inputs: Path, threads: int) -> list[Rival]:
    sys.path.insert(0, str(work))
    os.environ["OPENVINO_TELEMETRY_DISABLED"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import engine_models
    import nncf
    import onnx
    import openvino as ov
    import torch
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    model = engine_models.Served(name).eval()
    calibration = [row.unsqueeze(0) for row in engine_models.KINDS[name][1](engine_models.pictures(1, False)[0][:300])]
    shape = tuple(calibration[0].shape[1:])
    example = torch.cat(calibration[:4])
    batch = torch.export.Dim("batch", min=1, max=32)
    rivals = []
    for kind in ("eager", "compile"):
        turn, close, ready_s = _process(kind, name, inputs, threads)
        rivals.append(
            Rival(
                kind.replace("compile", "torch.compile"),
                "fp32",
                turn,
                ready_s if kind == "compile" else None,
                close=close,
            )
        )

    def timed(what: Callable[[], object]) -> float:
        began_s = time.monotonic()
        what()
        return time.monotonic() - began_s

    folder = work / f"peers-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made: list[Any] = []

    def convert() -> None:
        with torch.no_grad():
            exported = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
        made.append(ov.convert_model(exported))
        ov.save_model(made[0], folder / "fp32.xml", compress_to_fp16=False)

    def quantise() -> None:
        quantised = nncf.quantize(made[0], nncf.Dataset([row.numpy() for row in calibration]))
        ov.save_model(quantised, folder / "int8.xml", compress_to_fp16=False)

    for precision, make in (("fp32", convert), ("int8", quantise)):
        seconds = timed(make)
        input_name = made[0].inputs[0].get_any_name()
        turn = _benchmark_app(folder / f"{precision}.xml", input_name, shape, threads)
        rivals.append(Rival("benchmark_app", precision, turn, seconds))

    def export() -> None:
        torch.onnx.export(
            model, (example,), folder / "fp32.onnx", dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False
        )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            name = onnx.load(folder / "fp32.onnx").graph.input[0].name
            self._rows = iter([{name: row.numpy()} for row in calibration])

        def get_next(self) -> Any:
            return next(self._rows, None)

    for precision, make in (
        ("fp32", export),
        ("int8", lambda: quantize_static(folder / "fp32.onnx", folder / "int8.onnx", Reader())),
    ):
        seconds = timed(make)
        turn, close, _ = _process("onnx", folder / f"{precision}.onnx", inputs, threads)
        rivals.append(Rival("ONNX Runtime, plain", precision, turn, seconds, close=close))
    return rivals


# ---- ours ------------------------------------------------------------------------------------------------------------
def _ladder(name: str, work: Path, threads: int, options: str) -> dict[str, Any]:
    """Builds, checks and races as `plaster-ops bench` does: rows, why, and the accepted engines, best first."""
    from plaster_ops.domain.timeline import Timeline
    from plaster_ops.flow.bench import build_ladder
    from plaster_ops.flow.context import Context
    from plaster_ops.flow.wiring import open_ports
    from plaster_ops.settings import load_settings

    (work / "plaster.toml").write_text(
        SETTINGS.format(name=name, kind=PIPELINES[name], threads=threads, options=options), encoding="utf-8"
    )
    settings = load_settings(work)
    label, pipeline = settings.pipeline(None)
    place = work / f"ladder-{name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    with open_ports(settings) as ports:
        timeline = Timeline(ports.clock.monotonic_s, ports.clock.monotonic_s())
        ctx = Context(
            settings=settings,
            name=label,
            pipeline=pipeline,
            journal=ports.journal,
            clock=ports.clock,
            timeline=timeline,
            tell=lambda event: print(f"  {event.get('text') or event}", file=sys.stderr) if "text" in event else None,
            folder=place,
        )
        ladder = build_ladder(ctx, None).ladder
    rungs = [[r.candidate.backend, r.candidate.precision, str(r.folder), r.manifest["build_s"]] for r in ladder.rungs]
    return {"rows": ladder.rows, "why": ladder.why, "rungs": rungs}


def _enter(
    name: str, work: Path, threads: int, options: str, *, again: bool
) -> tuple[list[Mapping[str, Any]], str, list[Rival], Path]:
    """The ladder's rows, why the best is best, the accepted engines from the best to the last, and a file of inputs."""
    import torch

    kept = work / f"ladder-{name}.json"
    if not (again and kept.is_file()):
        kept.write_text(json.dumps(_ladder(name, work, threads, options)), encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    sys.path.insert(0, str(work))
    import engine_models

    inputs = work / f"{name}.inputs"
    held_out = engine_models.KINDS[name][1](engine_models.pictures(1, True)[0])
    torch.save([held_out[:batch].contiguous() for batch in BATCHES], inputs)
    rivals = []
    for backend, precision, folder, build_s in found["rungs"]:
        turn, close, _ = _process("engine", folder, inputs, threads)
        rivals.append(Rival(backend, precision, turn, build_s, True, close=close))
    return found["rows"], found["why"], rivals, inputs


def compare(name: str, work: Path, threads: int, rounds: int, options: str, *, again: bool = False) -> dict[str, Any]:
    """One model: its ladder, its interleaved run, and the table as rows."""
    rows, why, ours, inputs = _enter(name, work, threads, options, again=again)
    rivals = [*ours, *_peers(name, work, inputs, threads)]
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", file=sys.stderr)
        for batch in BATCHES:
            for rival in rivals[:: -1 if number % 2 else 1]:
                rival.times[batch] += rival.turn(batch)
    for rival in rivals:
        rival.close()
    eager = next(rival for rival in rivals if rival.name == "eager")
    peers = [rival for rival in rivals if not rival.ours]
    table = []
    for rival in rivals:
        same = [peer for peer in peers if peer.precision == rival.precision]
        row: dict[str, Any] = {
            "name": rival.name,
            "precision": rival.precision,
            "ours": rival.ours,
            "build_s": rival.build_s,
        }
        row["chosen"] = rival is ours[0]
        tried = next((r for r in rows if r["backend"] == rival.name and r["precision"] == rival.precision), {})
        row["retained_ratio"], row["score"] = tried.get("retained_ratio"), tried.get("score")
        for batch in BATCHES:
            row[f"ms_{batch}"] = rival.median(batch)
            row[f"of_eager_{batch}"] = eager.median(batch) / rival.median(batch)
            if rival.ours and same:
                row[f"of_best_peer_{batch}"] = min(peer.median(batch) for peer in same) / rival.median(batch)
        table.append(row)
    return {"model": name, "why": why, "rows": table, "left_out": [row for row in rows if not row["ok"]]}


def markdown(found: Mapping[str, Any]) -> str:
    """The rows of one model as a table."""
    lines = [
        f"### {found['model']}",
        f"Chosen for {found['why']}.",
        "",
        "| | precision | build s | kept of the score | b1 ms | x eager | x peer | b32 ms | x eager | x peer |",
        "|-|-|-|-|-|-|-|-|-|-|",
    ]
    for row in found["rows"]:
        name = f"**{row['name']}**" if row["chosen"] else row["name"]
        build = "" if row["build_s"] is None else f"{row['build_s']:.1f}"
        kept = "" if row["retained_ratio"] is None else f"{row['retained_ratio']:.4f}"
        cells = [name + ("" if row["ours"] else " (peer)"), row["precision"], build, kept]
        for batch in BATCHES:
            best = row.get(f"of_best_peer_{batch}")
            cells += [
                f"{row[f'ms_{batch}']:.3f}",
                f"{row[f'of_eager_{batch}']:.2f}",
                "" if best is None else f"{best:.2f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {row['backend']} {row['precision']}: {row['reason']}" for row in found["left_out"]), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,convnet,encoder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--options", default="", help='engine options as TOML lines: "openvino.hint" = "latency"')
    parser.add_argument("--again", action="store_true", help="time the engines that FOLDER holds from an earlier run")
    parser.add_argument("--work", type=Path, help="where weights, engines and engines.json are left")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "PATH", "INPUTS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve[0], given.serve[1], Path(given.serve[2]), given.threads)
        return
    work = (given.work or Path(tempfile.mkdtemp(prefix="engines-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "benchmarks" / "engine_models.py", work / "engine_models.py")
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    print(f"{versions}; {given.threads} thread(s), {given.rounds} rounds\n")
    results = []
    for name in given.models.split(","):
        if not (work / f"{name}.safetensors").is_file():
            code = f"import engine_models as e, pathlib; print('  {name}: right', e.train('{name}', pathlib.Path('.')))"
            subprocess.run([sys.executable, "-c", code], cwd=work, check=True, stdout=sys.stderr)
        results.append(compare(name, work, given.threads, given.rounds, given.options, again=given.again))
        print(markdown(results[-1]), flush=True)
        (work / "engines.json").write_text(json.dumps({"versions": versions, "models": results}, indent=1))


if __name__ == "__main__":
    main()
