"""What a retrain spent, phase by phase: counters read by the parent at the edges of each stage, gross.

Light enough for the parent: NVML and sysfs only. Each GPU that the training uses is counted once, by its UUID, however
many ranks ran on it; the CPU packages are the whole machine's.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.timeline import Phase
from plaster_ops.domain.visible import UnknownGpu, in_cuda_order
from plaster_ops.plaster.gpu_lookup import list_gpus, load_nvml, nvml_open
from plaster_ops.plaster.nvml import NvmlCounter, nvml_reason, open_handle
from plaster_ops.plaster.power import CounterLost, EnergyCounter
from plaster_ops.plaster.rapl import POWERCAP, open_rapl

KEEP_S = 30.0
"""Counters are read at least so often, and those that come round sooner as often as they need it."""
GROUPS: Mapping[str, frozenset[Phase]] = {
    "train": frozenset((Phase.LAUNCH, Phase.FIT)),
    "build": frozenset((Phase.EXPORT, Phase.BUILD)),
    "eval": frozenset((Phase.EVAL, Phase.PARITY)),
}
COUNTED = frozenset(phase for phases in GROUPS.values() for phase in phases)
EVERY = "*"
"""The phase of a span that stands for all that was not counted."""
_STILL_S = 1.0
"""A counter that stands still for so long has not counted: nothing draws 0 W."""
_GPU = (m.TRAIN_GPU_ENERGY_J, m.BUILD_GPU_ENERGY_J, m.EVAL_GPU_ENERGY_J, m.RETRAIN_GPU_ENERGY_J)
_CPU = (m.TRAIN_CPU_ENERGY_J, m.BUILD_CPU_ENERGY_J, m.EVAL_CPU_ENERGY_J, m.RETRAIN_CPU_ENERGY_J)

Edge = dict[str, float | str]
"""`gpu` and `cpu` -> joules since the gauges were opened, or why they are not known; `at_s` -> a monotonic clock.

`shared` and `note_gpu`, where there is something to say: who else computes on the boards, and what cannot be told.
"""
Users = Callable[[], frozenset[int] | None]
"""Numbers of the processes that compute on a board; None where it does not tell."""


class Gauges:
    """The counters of one retrain, kept alive by a side thread; use it with `with`, or `close` it."""

    def __init__(
        self,
        counters: Mapping[str, Sequence[EnergyCounter]],
        reasons: Mapping[str, str],
        *,
        users: Sequence[Users] = (),
        now_s: Callable[[], float] = time.monotonic,
        keep_s: float = KEEP_S,
    ) -> None:
        keep_s = min([keep_s, *(counter.keep_s for found in counters.values() for counter in found)])
        self._counters, self._users, self._now_s = dict(counters), tuple(users), now_s
        self._lost = {kind: reason for kind, reason in reasons.items() if reason}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        if any(self._counters.values()):
            self._keeper = threading.Thread(target=self._keep, args=(keep_s,), name="energy-gauges", daemon=True)
            self._keeper.start()

    def read(self) -> Edge:
        """What was counted by now, and who else computes there. A counter that broke off stays unknown from then on."""
        with self._lock:
            return {"at_s": self._now_s(), **_company([users() for users in self._users]), **self._counted()}

    def close(self) -> None:
        """Stops the thread and closes the counters; once is enough."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        with self._lock:
            for counter in (counter for counters in self._counters.values() for counter in counters):
                counter.close()
            self._counters, self._users = {}, ()

    def _counted(self) -> Edge:
        found: Edge = {}
        for kind, counters in self._counters.items():
            if kind not in self._lost:
                try:
                    found[kind] = sum(counter.read_j() for counter in counters)
                except CounterLost as error:
                    self._lost[kind] = str(error)
        return found | self._lost

    def _keep(self, keep_s: float) -> None:
        while not self._over.wait(keep_s):
            with self._lock:
                self._counted()


def open_gauges(
    gpus: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    powercap: Path = POWERCAP,
    nvml: Any = None,
    now_s: Callable[[], float] = time.monotonic,
    keep_s: float = KEEP_S,
) -> Gauges:
    """The gauges of a training on `gpus` (entries of CUDA_VISIBLE_DEVICES; none: it runs on the CPU)."""
    counters: dict[str, list[EnergyCounter]] = {"gpu": [], "cpu": []}
    reasons = {"gpu": "no GPU was used", "cpu": ""}
    boards: list[NvmlCounter] = []
    if gpus:
        boards, reasons["gpu"] = _open_boards(gpus, os.environ if environment is None else environment, nvml, now_s)
        counters["gpu"] = [*boards]
    rapl = open_rapl(powercap, now_s=now_s)
    reasons["cpu"] = rapl.reason
    if not rapl.reason:
        counters["cpu"] = [rapl]
    return Gauges(counters, reasons, users=[board.users for board in boards], now_s=now_s, keep_s=keep_s)


def _open_boards(
    gpus: Sequence[str], environment: Mapping[str, str], nvml: Any, now_s: Callable[[], float]
) -> tuple[list[NvmlCounter], str]:
    """A counter a board, each board once; or none of them and the reason, where one has no counter."""
    nvml = nvml or load_nvml()
    asked = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    with ExitStack() as undo:
        try:
            with nvml_open(nvml):
                seen = in_cuda_order(list_gpus(nvml), asked)
                if len(seen) < len(set(gpus)):
                    raise UnknownGpu(f"NVML knows {len(seen)} of the {len(set(gpus))} GPUs that are trained on")
                opened: list[NvmlCounter] = []
                for gpu in seen:
                    nvml.nvmlInit()  # a counter closes NVML once
                    undo.callback(nvml.nvmlShutdown)
                    opened.append(open_handle(nvml, gpu.handle, now_s=now_s))
        except (nvml.NVMLError, UnknownGpu) as error:
            return [], f"no NVML energy ({nvml_reason(error)})"
        undo.pop_all()
    return opened, ""


def span(stage: str, phase: Phase | str, before: Edge | None, after: Edge | None) -> dict[str, Any]:
    """One stage's joules as a plain mapping; without its end it is open, and nothing is known of it."""
    found: dict[str, Any] = {"stage": stage, "phase": str(phase)}
    for kind in ("gpu", "cpu"):
        a, b = ((edge or {}).get(kind, "it was cut off before its end was read") for edge in (before, after))
        joules = None if isinstance(a, str) or isinstance(b, str) else float(b) - float(a)
        why = "" if joules is not None else a if isinstance(a, str) else b
        if joules is not None and (doubt := _doubt(kind, joules, before or {}, after or {})):
            joules, why = None, doubt
        found |= {f"{kind}_j": joules, f"why_{kind}": why}
    found["note_gpu"] = next((edge["note_gpu"] for edge in (before, after) if edge and "note_gpu" in edge), "")
    return found


def _doubt(kind: str, joules: float, before: Edge, after: Edge) -> str:
    """Why joules that were counted are not those of the stage; empty where they are."""
    seconds = float(after.get("at_s", 0.0)) - float(before.get("at_s", 0.0))
    if joules <= 0 and seconds >= _STILL_S:
        return f"the counter did not move in {seconds:.0f} s"
    return str(before.get("shared") or after.get("shared") or "") if kind == "gpu" else ""


def _company(boards: Sequence[frozenset[int] | None]) -> Edge:
    """Foreign processes among those that compute on the boards. This process and its children are none."""
    pids = frozenset[int]().union(*(found for found in boards if found is not None))
    note = "the board does not tell who computes on it" if None in boards else ""
    if pids:
        import psutil

        pids -= _own_pids()
        strangers = sorted(pid for pid in pids if psutil.pid_exists(pid))
        if strangers:
            return {"shared": f"shared_gpu: process {strangers[0]} computes on the same GPU"}
        if pids:
            note = "NVML names a process that cannot be seen from here: whether it shares the GPU is not known"
    return {"note_gpu": note} if note else {}


def _own_pids() -> set[int]:
    """This process and all below it."""
    import psutil

    own = psutil.Process()
    try:
        return {own.pid, *(child.pid for child in own.children(recursive=True))}
    except psutil.Error:
        return {own.pid}


def read(
    spans: Iterable[Mapping[str, Any]],
    fit: Mapping[str, Any],
    *,
    nothing: str = "no stage was counted",
    stage: str | None = None,
) -> list[Row]:
    """All rows of what the retrain spent, attempts added up. `fit`: the fit's result mapping; `stage`: the one that
    gave it, where there were several: joules a sample and to the target are of that one alone.

    A part that is not known makes its sum not measured, never smaller. `nothing` is the reason without any span.
    """
    all_spans = list(spans)
    gpu = _kind_rows(all_spans, "gpu", _GPU, nothing)
    cpu = _kind_rows(all_spans, "cpu", _CPU, nothing)
    kind, metrics = ("gpu", _GPU) if fit.get("accelerator") == "gpu" else ("cpu", _CPU)
    train = gpu[0] if kind == "gpu" else cpu[0]
    if stage is not None:
        own = [one for one in all_spans if one["phase"] == EVERY or one["stage"] == stage]
        train = _kind_rows(own, kind, metrics, nothing)[0]
    return [*gpu, *cpu, *_train_rows(train, fit, nothing)]


def unmeasured(reason: str) -> list[Row]:
    """All these rows without a value, for a command that does not retrain."""
    return [Unmeasured(metric=metric, reason=reason) for metric in m.PHASE_ENERGY]


def _kind_rows(spans: Sequence[Mapping[str, Any]], kind: str, metrics: Sequence[Metric], nothing: str) -> list[Row]:
    rows: list[Row] = []
    for metric, phases in zip(metrics[:-1], GROUPS.values(), strict=True):
        inside = [s for s in spans if s["phase"] == EVERY or s["phase"] in phases]
        unknown = next((s for s in inside if s[f"{kind}_j"] is None), None)
        if unknown is not None:
            rows.append(Unmeasured(metric=metric, reason=_why(unknown, kind)))
        elif not inside:
            rows.append(Unmeasured(metric=metric, reason=nothing))
        else:
            rows.append(_sum_row(metric, kind, inside))
    gap = next((row for row in rows if isinstance(row, Unmeasured)), None)
    if gap is not None:
        return [*rows, Unmeasured(metric=metrics[-1], reason=gap.reason)]
    known = [row for row in rows if isinstance(row, Reading)]
    note = next((row.reason for row in known if row.reason), None)
    return [*rows, Reading(metric=metrics[-1], value=sum(row.value for row in known), n=len(known), reason=note)]


def _sum_row(metric: Metric, kind: str, spans: Sequence[Mapping[str, Any]]) -> Row:
    joules = sum(float(s[f"{kind}_j"]) for s in spans)
    if joules <= 0:
        return Unmeasured(metric=metric, reason="the counter did not move")
    note = next((s[f"note_{kind}"] for s in spans if s.get(f"note_{kind}")), None)
    return Reading(metric=metric, value=joules, n=len(spans), reason=note)


def _why(unknown: Mapping[str, Any], kind: str) -> str:
    why = str(unknown[f"why_{kind}"])
    plain = why.startswith(("no ", "only "))
    return why if plain else f"{unknown['stage']}: {why}"


def _train_rows(train: Row, fit: Mapping[str, Any], nothing: str) -> list[Row]:
    samples, reached = fit.get("samples_seen"), fit.get("reached_target")
    if isinstance(train, Unmeasured):
        gaps = (m.TRAIN_ENERGY_PER_SAMPLE_J, m.ENERGY_TO_TARGET_J)
        return [Unmeasured(metric=metric, reason=train.reason or nothing) for metric in gaps]
    rows: list[Row] = []
    if samples:
        rows.append(Reading(metric=m.TRAIN_ENERGY_PER_SAMPLE_J, value=train.value / int(samples), n=int(samples)))
    else:
        rows.append(Unmeasured(metric=m.TRAIN_ENERGY_PER_SAMPLE_J, reason="a batch does not tell its size"))
    if reached:
        return [*rows, Reading(metric=m.ENERGY_TO_TARGET_J, value=train.value, reason="the fit ended at the target")]
    reason = "no target score was set" if reached is None else "the target score was not reached"
    return [*rows, Unmeasured(metric=m.ENERGY_TO_TARGET_J, reason=reason)]
