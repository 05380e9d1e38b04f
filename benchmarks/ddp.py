"""A fit on two ranks beside the same LightningModule under plain torchrun; and what our callbacks cost a step.

`python -m benchmarks.ddp [--rounds 5] [--epochs 12] [--gpu]` runs, in turns, (a) `torchrun --standalone
--nproc-per-node 2 benchmarks/ddp_script.py` and (b) our fit with the local launcher: equal model, data, seed, threads,
a checkpoint an epoch. CPU seconds are user and system of the command and of all that it waited for (wait4). `--steps`
measures the callbacks alone, on one rank in one process. `--gpu`: one rank on a GPU, deterministic.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
WINDOW = {"learned": None, "seen": None, "cut": None, "end": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """One fit: wall and CPU seconds of the command, seconds to its first step and of training."""

    wall_s: float
    cpu_s: float
    start_s: float
    fit_s: float
    weights: Path


def plain(folder: Path, epochs: int, gpu: bool) -> Ran:
    """The user's script under torchrun."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1" if gpu else "2"]
    return _timed([*run, str(HERE / "ddp_script.py"), str(folder), str(epochs), "gpu" if gpu else "cpu"], folder)


def ours(folder: Path, epochs: int, gpu: bool) -> Ran:
    """Our fit, from a parent of its own."""
    run = [sys.executable, "-m", "benchmarks.ddp", "--one-of-ours", str(folder), "--epochs", str(epochs)]
    return _timed([*run, *(["--gpu"] if gpu else [])], folder)


def _timed(command: Sequence[str], folder: Path) -> Ran:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    began_s, clock_s = time.time(), time.monotonic()
    with (folder / "out.txt").open("wb") as out:
        child = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - clock_s
    if child.returncode:
        raise SystemExit((folder / "out.txt").read_text(encoding="utf-8"))
    moments = json.loads((folder / "moments.json").read_text(encoding="utf-8"))
    return Ran(
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        start_s=moments["began_s"] - began_s,
        fit_s=moments["ended_s"] - moments["began_s"],
        weights=folder / "weights.safetensors",
    )


def one_of_ours(folder: Path, epochs: int, gpu: bool) -> None:
    """A parent that only fits; loads no torch."""
    from plaster_ops.processes.gang import Limits
    from plaster_ops.training.launch import fit
    from plaster_ops.training.messages import FitSpec

    moments: dict[str, float] = {}

    def tell(event: Any) -> None:
        names = {"fit_started": "began_s", "fit_ended": "ended_s"}
        if event.get("event") in names and event.get("rank") == 0:
            moments[names[event["event"]]] = time.time()

    spec = FitSpec(
        reference="ddp_model:pipeline",
        project=str(HERE),
        window=WINDOW,
        max_epochs=epochs,
        checkpoint_folder=str(folder / "checkpoints"),
        devices=1 if gpu else 2,
        accelerator="gpu" if gpu else "cpu",
        threads=1,
        seed=7,
        trainer={"deterministic": True} if gpu else {},
    )
    fit(spec, folder=folder, limits=Limits(timeout_s=900, idle_s=120), on_event=tell, launcher="local")
    (folder / "moments.json").write_text(json.dumps(moments), encoding="utf-8")


def same_weights(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors, bit for bit."""
    import torch
    from safetensors.torch import load_file

    a, b = load_file(str(first)), load_file(str(second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def compare(rounds: int, epochs: int, gpu: bool) -> None:
    """Prints the table of docs/benchmarks.md."""
    rows: dict[str, list[Ran]] = {"torchrun": [], "plaster-ops": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            sides = [("torchrun", plain), ("plaster-ops", ours)]
            for name, run in sides if number % 2 == 0 else sides[::-1]:
                folder = Path(scratch) / f"{name}-{number}"
                folder.mkdir()
                rows[name].append(run(folder, epochs, gpu))
                print(f"round {number + 1} {name}: {_line(rows[name][-1])}", file=sys.stderr, flush=True)
        equal = all(same_weights(a.weights, b.weights) for a, b in zip(*rows.values(), strict=True))
    print("| | CPU s | wall s | start s | training s |\n|-|-|-|-|-|")
    for name, ran in rows.items():
        values = [
            statistics.median(getattr(r, field) for r in ran) for field in ("cpu_s", "wall_s", "start_s", "fit_s")
        ]
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    ratios = [b.cpu_s / a.cpu_s for a, b in zip(*rows.values(), strict=True)]
    print(f"CPU of ours to torchrun's, by round: {', '.join(f'{ratio:.3f}' for ratio in ratios)}; ", end="")
    print(f"median {statistics.median(ratios):.3f}. Weights bit-equal: {'yes' if equal else 'NO'}")


def _line(ran: Ran) -> str:
    return f"cpu {ran.cpu_s:.1f} s, wall {ran.wall_s:.1f} s, start {ran.start_s:.1f} s, training {ran.fit_s:.1f} s"


def steps(rounds: int) -> None:
    """Microseconds of CPU that our callbacks add to a step, beside the step itself; one rank, a tiny model."""
    import pytorch_lightning as pl
    import torch

    torch.set_num_threads(1)
    bare, dressed = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            sides = [(False, bare), (True, dressed)]
            for with_ours, kept in sides if number % 2 == 0 else sides[::-1]:
                kept.append(_step_us(pl, torch, Path(scratch), with_ours=with_ours))
    added = min(dressed) - min(bare)
    print(f"step {min(bare):.0f} us of CPU; our callbacks add {added:.0f} us (least of {rounds} rounds each)")


def _step_us(pl: Any, torch: Any, scratch: Path, *, with_ours: bool, count: int = 1_000) -> float:
    from plaster_ops.ports import SystemClock
    from plaster_ops.training.callbacks import BatchWatch, bind
    from plaster_ops.training.fitlog import FitLog

    class Small(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))

        def training_step(self, batch: Any, _index: int) -> Any:
            return self.layers(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    class Span(pl.Callback):  # type: ignore[misc]
        def on_train_start(self, *_: Any) -> None:
            self.began_s = time.process_time()

        def on_train_end(self, *_: Any) -> None:
            self.taken_s = time.process_time() - self.began_s

    span = Span()
    ours_too = [bind(BatchWatch, pl.Callback, FitLog(SystemClock()), lambda _event: None)] if with_ours else []
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(count * 8, 64)), batch_size=8)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        callbacks=[span, *ours_too],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(scratch),
    )
    trainer.fit(Small(), loader)
    return float(span.taken_s) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--one-of-ours", type=Path)
    arguments = parser.parse_args()
    if arguments.one_of_ours:
        one_of_ours(arguments.one_of_ours, arguments.epochs, arguments.gpu)
    elif arguments.steps:
        steps(arguments.rounds)
    else:
        compare(arguments.rounds, arguments.epochs, arguments.gpu)


if __name__ == "__main__":
    main()
