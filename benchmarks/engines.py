"""Every engine beside what people use without plaster-ops: one interleaved run a model, with the ladder's own choice.

`python benchmarks/engines.py [--models mlp,convnet,encoder] [--threads 1] [--rounds 12] [--again] [--work FOLDER]`
trains the three models of `engine_models.py` (kept in FOLDER), lets the ladder build, check, race and choose as
`plaster-ops bench` does, and then times every engine of it and the peers: eager PyTorch, `torch.compile`, OpenVINO's
`benchmark_app` on the plainly converted (int8: plainly quantised) model, bf16 by autocast and by `benchmark_app`'s own
hint where the CPU has it, ONNX Runtime on the plainly exported (int8: plainly quantised) model. Each has a process of
its own, all on the same cores; a round gives each a turn at batch 1 and at batch 32. A figure is the median of all
calls in all rounds, from CPU tensor or array to CPU tensor or array; `benchmark_app` times its inference alone. Prints
a table in Markdown with versions, and leaves `engines.json` in FOLDER.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine_peers import make_peers
from engine_rivals import BATCHES, Rival, start_rival

ROOT = Path(__file__).parents[1]
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
        turn, close, _ = start_rival("engine", folder, inputs, threads)
        rivals.append(Rival(backend, precision, turn, build_s, True, close=close))
    return found["rows"], found["why"], rivals, inputs


def compare(name: str, work: Path, threads: int, rounds: int, options: str, *, again: bool = False) -> dict[str, Any]:
    """One model: its ladder, its interleaved run, and the table as rows."""
    rows, why, ours, inputs = _enter(name, work, threads, options, again=again)
    rivals = [*ours, *make_peers(name, work, inputs, threads)]
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
    given = parser.parse_args()
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
