"""Stages that end in every way a child can end. Run as the children's entry in place of `plaster_ops.flow.stages`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.errors import TrainingFailed
from plaster_ops.ports import EventSink
from plaster_ops.processes import handover, liveness
from plaster_ops.processes.child import serve

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(120)"]


def echo(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    print("said to standard output", flush=True)
    emit({"event": "progress", "step": 1, "odd": folder})
    surroundings = {"cwd": str(Path.cwd()), "project": os.environ["PLASTER_PROJECT"], "path": sys.path}
    return {"spec": dict(spec), "leads": os.getsid(0) == os.getpid(), "rank": os.environ.get("RANK"), **surroundings}


def fail(spec: Mapping[str, Any], _folder: Path, _emit: EventSink) -> dict[str, Any]:
    if spec["how"] == "purpose":
        raise TrainingFailed("the loss is nan at epoch 1, step 5", "lower the learning rate")
    if spec["how"] == "bug":
        raise KeyError("label")
    if spec["how"] == "nan":
        return {"score": float("nan")}
    if spec["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(spec["code"])


def wait(spec: Mapping[str, Any], _folder: Path, emit: EventSink) -> dict[str, Any]:
    if spec.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(_SLEEPER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    emit({"event": "waiting", "pids": [os.getpid(), grandchild.pid]})
    if spec.get("leave"):
        return {}
    if spec.get("holds_the_lock"):
        re.match(r"(a+)+$", "a" * 40 + "b")
    signal.pause()
    return {}


def tidy(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """Takes `seconds` to put its things in order when it is asked to end, then ends; a rank that is not `careful` does
    not."""
    asked: list[int] = []
    if spec["careful"]:
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    helper = subprocess.Popen(_SLEEPER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    emit({"event": "waiting", "pids": [os.getpid(), helper.pid]})
    while not asked:
        time.sleep(0.01)
    time.sleep(spec["seconds"])
    (folder / "tidied").write_text("with its helper" if helper.poll() is None else "alone", encoding="utf-8")
    emit({"event": "tidied"})
    os._exit(143)


def outlive(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """Rank 0 has said why it stops and is still on its way out when rank 1 dies of the lost connection."""
    reason = folder.parent / "rank0" / handover.ERROR
    if spec["rank"] == 0:
        handover.write_json(reason, handover.describe_error(TrainingFailed("the loss is nan")))
        return wait(spec, folder, emit)
    deadline_s = time.monotonic() + 30
    while not reason.exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    raise RuntimeError("connection closed by peer")


def gang(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    if "rank" in spec:
        return outlive(spec, folder, emit)
    return fail(spec, folder, emit) if "how" in spec else wait(spec, folder, emit)


def wait_by_thread(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    return wait(spec, folder, emit)


if __name__ == "__main__":
    if sys.argv[1] == "wait_by_thread":
        liveness._ask_kernel = lambda _fd: None
    serve(sys.argv[1], Path(sys.argv[2]), globals()[sys.argv[1]])
