"""One fit on two nodes of one rank each, on this machine: over the loopback, and between two network namespaces.

`python -m benchmarks.two_nodes [--epochs 12] [--no-namespaces]`. Undisturbed, and with everything of node 1 killed by
SIGKILL in the middle and the same command started there again. The weights are held to those of a gang of two ranks.
Namespaces need root and iproute2; they are made for this and removed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
WINDOW = {"learned": None, "seen": None, "cut": None, "end": None}
HOSTS = ("plaster-n0", "plaster-n1")
ADDRESSES = ("10.77.3.1", "10.77.3.2")


def lead(folder: Path, address: str, nodes: int, epochs: int) -> None:
    """Node 0, or with one node a gang of two ranks; leaves `told.json`."""
    from plaster_ops.processes.gang import Limits
    from plaster_ops.training.launch import fit
    from plaster_ops.training.messages import FitSpec
    from plaster_ops.training.nodes.leader import Place
    from plaster_ops.training.nodes.leader import lead as leading

    told: dict[str, Any] = {"moments": []}

    def tell(event: Any) -> None:
        if event.get("event") in ("attempt", "restart", "fit_started", "fit_ended", "checkpoint"):
            told["moments"].append([time.time(), event["event"]])
        if event.get("event") == "checkpoint":
            (folder / "progress.txt").write_text(str(event["epoch"]), encoding="utf-8")

    spec = FitSpec(
        reference="ddp_model:pipeline",
        project=str(ROOT / "benchmarks"),
        window=WINDOW,
        max_epochs=epochs,
        checkpoint_folder=str(folder / "checkpoints"),
        devices=2 // nodes,
        nodes=nodes,
        accelerator="cpu",
        threads=1,
        seed=7,
        trainer={"limit_train_batches": 50},
    )
    limits = Limits(timeout_s=600, idle_s=120)
    if nodes == 1:
        outcome = fit(spec, folder=folder, limits=limits, on_event=tell)
    else:
        place = Place(address=address)
        with leading(folder / "board", project=ROOT, nodes=2, place=place, node_timeout_s=120) as leader:
            outcome = fit(spec, folder=folder, limits=limits, on_event=tell, nodes=leader)
    told |= {"wall_s": outcome.wall_s, "fit_s": outcome.result.fit_s, "digest": outcome.result.weights_digest}
    (folder / "told.json").write_text(json.dumps(told | {"restarts": outcome.restarts}), encoding="utf-8")


def follow(folder: Path) -> None:
    """Node 1."""
    from plaster_ops.training.launchers.registry import find_launcher
    from plaster_ops.training.nodes.follower import follow as following

    launcher = find_launcher("torchrun", 2)
    following(folder / "board", launcher, node=1, project=ROOT, node_timeout_s=120, tell=lambda _event: None)


def start(folder: Path, where: Sequence[str], *arguments: str) -> subprocess.Popen[bytes]:
    """This file again, as one node."""
    command = [*where, sys.executable, "-m", "benchmarks.two_nodes", *arguments, "--folder", str(folder)]
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=out)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and to all that it started, at once."""
    top = psutil.Process(process.pid)
    for each in [top, *top.children(recursive=True)]:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


def on_two_nodes(folder: Path, wheres: Sequence[Sequence[str]], address: str, epochs: int, *, kill: bool) -> Any:
    """One fit; returns what node 0 told, with `back_s`: from the kill to training again."""
    folder.mkdir()
    ranks = [
        start(folder, wheres[0], "--lead", address, "--nodes", "2", "--epochs", str(epochs)),
        start(folder, wheres[1], "--follow"),
    ]
    killed_s = None
    while ranks[0].poll() is None:
        time.sleep(0.05)
        progress = folder / "progress.txt"
        if kill and killed_s is None and progress.exists() and int(progress.read_text() or 0) >= epochs // 2:
            kill_tree(ranks[1])
            killed_s = time.time()
            ranks[1] = start(folder, wheres[1], "--follow")
    codes = [rank.wait(60) for rank in ranks]
    if codes != [0, 0]:
        raise SystemExit(f"exit codes {codes}\n{(folder / 'out.txt').read_text()}")
    told = json.loads((folder / "told.json").read_text())
    again = [at for at, name in told["moments"] if name == "fit_started" and killed_s is not None and at > killed_s]
    return told | {"back_s": again[0] - killed_s if killed_s is not None else None}


@contextmanager
def namespaces() -> Iterator[list[list[str]]]:
    """Two network namespaces joined by a cable; how to start a command in each. They are gone afterwards."""
    run = lambda *words: subprocess.run(words, check=True)  # noqa: E731
    try:
        for host in HOSTS:
            run("ip", "netns", "add", host)
            run("ip", "-n", host, "link", "set", "lo", "up")
        run("ip", "link", "add", "eth9", "netns", HOSTS[0], "type", "veth", "peer", "name", "eth9", "netns", HOSTS[1])
        for host, address in zip(HOSTS, ADDRESSES, strict=True):
            run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "eth9")
            run("ip", "-n", host, "link", "set", "eth9", "up")
        yield [["ip", "netns", "exec", host] for host in HOSTS]
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False, stderr=subprocess.DEVNULL)


def compare(epochs: int, *, with_namespaces: bool) -> None:
    """Prints the table of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as scratch:
        gang = Path(scratch) / "gang"
        gang.mkdir()
        if start(gang, [], "--lead", "127.0.0.1", "--nodes", "1", "--epochs", str(epochs)).wait():
            raise SystemExit((gang / "out.txt").read_text())
        wanted = json.loads((gang / "told.json").read_text())
        print("| | wall s | training s | restarts | kill to training s | weights |\n|-|-|-|-|-|-|")
        _show("two ranks, one gang", wanted, wanted["digest"])

        def both(name: str, wheres: Sequence[Sequence[str]], address: str) -> None:
            for kill in (False, True):
                folder = Path(scratch) / f"{name}-{kill}".replace(" ", "-")
                told = on_two_nodes(folder, wheres, address, epochs, kill=kill)
                after = ", node 1 killed and started again" if kill else ""
                _show(f"two nodes, {name}{after}", told, wanted["digest"])

        both("loopback", [[], []], "127.0.0.1")
        if with_namespaces:
            with namespaces() as wheres:
                both("namespaces", wheres, ADDRESSES[0])


def _show(name: str, told: Any, digest: str) -> None:
    back = "" if told.get("back_s") is None else f"{told['back_s']:.1f}"
    same = "bit-equal" if told["digest"] == digest else "DIFFER"
    print(f"| {name} | {told['wall_s']:.1f} | {told['fit_s']:.1f} | {told['restarts']} | {back} | {same} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--no-namespaces", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--lead", metavar="ADDRESS")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--follow", action="store_true")
    arguments = parser.parse_args()
    if arguments.lead:
        lead(arguments.folder, arguments.lead, arguments.nodes, arguments.epochs)
    elif arguments.follow:
        follow(arguments.folder)
    else:
        able = os.geteuid() == 0 and shutil.which("ip") is not None
        if not able and not arguments.no_namespaces:
            print("no namespaces: they need root and iproute2", file=sys.stderr)
        compare(arguments.epochs, with_namespaces=able and not arguments.no_namespaces)


if __name__ == "__main__":
    main()
