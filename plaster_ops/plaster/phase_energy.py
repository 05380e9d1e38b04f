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
from plaster_ops.plaster.nvml import nvml_reason, open_handle
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
_GPU = (m.TRAIN_GPU_ENERGY_J, m.BUILD_GPU_ENERGY_J, m.EVAL_GPU_ENERGY_J, m.RETRAIN_GPU_ENERGY_J)
_CPU = (m.TRAIN_CPU_ENERGY_J, m.BUILD_CPU_ENERGY_J, m.EVAL_CPU_ENERGY_J, m.RETRAIN_CPU_ENERGY_J)

Edge = dict[str, float | str]
"""`gpu` and `cpu` -> joules since the gauges were opened, or why they are not known."""


class Gauges:
    """The counters of one retrain, kept alive by a side thread; use it with `with`, or `close` it."""

    def __init__(
        self, counters: Mapping[str, Sequence[EnergyCounter]], reasons: Mapping[str, str], *, keep_s: float = KEEP_S
    ) -> None:
        keep_s = min([keep_s, *(counter.keep_s for found in counters.values() for counter in found)])
        self._counters = dict(counters)
        self._lost = {kind: reason for kind, reason in reasons.items() if reason}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        if any(self._counters.values()):
            self._keeper = threading.Thread(target=self._keep, args=(keep_s,), name="energy-gauges", daemon=True)
            self._keeper.start()

    def read(self) -> Edge:
        """What was counted by now. A counter that broke off stays unknown from then on."""
        with self._lock:
            found: Edge = {}
            for kind, counters in self._counters.items():
                if kind not in self._lost:
                    try:
                        found[kind] = sum(counter.read_j() for counter in counters)
                    except CounterLost as error:
                        self._lost[kind] = str(error)
            return found | self._lost

    def close(self) -> None:
        """Stops the thread and closes the counters; once is enough."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        with self._lock:
            for counter in (counter for counters in self._counters.values() for counter in counters):
                counter.close()
            self._counters = {}

    def _keep(self, keep_s: float) -> None:
        while not self._over.wait(keep_s):
            self.read()


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
    if gpus:
        boards, reasons["gpu"] = _open_boards(gpus, os.environ if environment is None else environment, nvml, now_s)
        counters["gpu"] = boards
    rapl = open_rapl(powercap, now_s=now_s)
    reasons["cpu"] = rapl.reason
    if not rapl.reason:
        counters["cpu"] = [rapl]
    return Gauges(counters, reasons, keep_s=keep_s)


def _open_boards(
    gpus: Sequence[str], environment: Mapping[str, str], nvml: Any, now_s: Callable[[], float]
) -> tuple[list[EnergyCounter], str]:
    """A counter a board, each board once; or none of them and the reason, where one has no counter."""
    nvml = nvml or load_nvml()
    asked = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    with ExitStack() as undo:
        try:
            with nvml_open(nvml):
                seen = in_cuda_order(list_gpus(nvml), asked)
                if len(seen) < len(set(gpus)):
                    raise UnknownGpu(f"NVML knows {len(seen)} of the {len(set(gpus))} GPUs that are trained on")
                opened: list[EnergyCounter] = []
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
        known = not isinstance(a, str) and not isinstance(b, str)
        found[f"{kind}_j"] = float(b) - float(a) if known else None
        found[f"why_{kind}"] = "" if known else a if isinstance(a, str) else b
    return found


def read(
    spans: Iterable[Mapping[str, Any]], fit: Mapping[str, Any], *, nothing: str = "no stage was counted"
) -> list[Row]:
    """All rows of what the retrain spent, attempts added up. `fit`: the fit's result mapping.

    A part that is not known makes its sum not measured, never smaller. `nothing` is the reason without any span.
    """
    all_spans = list(spans)
    gpu = _kind_rows(all_spans, "gpu", _GPU, nothing)
    cpu = _kind_rows(all_spans, "cpu", _CPU, nothing)
    train = gpu[0] if fit.get("accelerator") == "gpu" else cpu[0]
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
            joules = sum(float(s[f"{kind}_j"]) for s in inside)
            rows.append(Reading(metric=metric, value=joules, n=len(inside)))
    gap = next((row for row in rows if isinstance(row, Unmeasured)), None)
    if gap is not None:
        return [*rows, Unmeasured(metric=metrics[-1], reason=gap.reason)]
    values = [row.value for row in rows if isinstance(row, Reading)]
    return [*rows, Reading(metric=metrics[-1], value=sum(values), n=len(values))]


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
