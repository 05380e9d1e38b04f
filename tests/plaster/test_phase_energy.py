"""What a retrain spent by phase: each GPU once, attempts added up, and never less than was spent."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Row, Unmeasured
from plaster_ops.domain.metrics import Metric
from plaster_ops.domain.timeline import Phase
from plaster_ops.plaster.phase_energy import EVERY, Gauges, open_gauges, read, span, unmeasured
from tests.plaster.doubles import value_of
from tests.plaster.fake_nvml import NOT_SUPPORTED, FakeGpu, FakeNvml, SimClock, constant, install
from tests.plaster.test_rapl import Tree

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"


@pytest.fixture
def sim() -> SimClock:
    return SimClock()


@pytest.fixture
def library(sim: SimClock, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    near = FakeGpu("GPU-aaaa", bus="00000000:0A:00.0", load=constant(100.0))
    far = FakeGpu("GPU-bbbb", bus="00000000:3B:00.0", load=constant(300.0))
    return install(monkeypatch, FakeNvml(sim, [near, far]))


def opened(sim: SimClock, *gpus: str, powercap: Path | None = None) -> Gauges:
    root = powercap or Path("/does/not/exist")
    return open_gauges(gpus, environment={}, powercap=root, now_s=sim.s, keep_s=3600.0)


def reason_of(rows: list[Row], metric: Metric) -> str:
    (row,) = [row for row in rows if row.metric is metric]
    assert isinstance(row, Unmeasured), row
    return row.reason


def spend(sim: SimClock, gauges: Gauges, stage: str, phase: Phase, seconds: float) -> dict[str, Any]:
    before = gauges.read()
    sim.step(seconds)
    return span(stage, phase, before, gauges.read())


@pytest.mark.parametrize("named", [("GPU-aaaa", "GPU-bbbb"), ("1", "0"), ("GPU-b", "GPU-a")])
def test_two_gpus_are_added_once_each_whatever_their_names(
    sim: SimClock, library: FakeNvml, named: tuple[str, ...]
) -> None:
    gauges = opened(sim, *named)
    spans = [
        spend(sim, gauges, "fit", Phase.LAUNCH, 60.0),
        spend(sim, gauges, "export", Phase.EXPORT, 10.0),
        spend(sim, gauges, "build x", Phase.BUILD, 20.0),
        spend(sim, gauges, "evaluate x", Phase.EVAL, 5.0),
    ]
    gauges.close()
    assert library.opened == 0
    rows = read(spans, {"accelerator": "gpu", "samples_seen": 1000, "reached_target": True})
    assert value_of(rows, m.TRAIN_GPU_ENERGY_J) == pytest.approx(24_000, rel=0.005)
    assert value_of(rows, m.BUILD_GPU_ENERGY_J) == pytest.approx(12_000, rel=0.005)
    assert value_of(rows, m.EVAL_GPU_ENERGY_J) == pytest.approx(2_000, rel=0.02)
    assert value_of(rows, m.RETRAIN_GPU_ENERGY_J) == pytest.approx(38_000, rel=0.005)
    assert value_of(rows, m.TRAIN_ENERGY_PER_SAMPLE_J) == pytest.approx(24.0, rel=0.005)
    assert value_of(rows, m.ENERGY_TO_TARGET_J) == value_of(rows, m.TRAIN_GPU_ENERGY_J)
    assert "no RAPL" in reason_of(rows, m.TRAIN_CPU_ENERGY_J)


def test_one_gpu_of_two_is_the_only_one_that_counts(sim: SimClock, library: FakeNvml) -> None:
    del library
    gauges = opened(sim, "GPU-bbbb")
    found = spend(sim, gauges, "fit", Phase.LAUNCH, 60.0)
    gauges.close()
    assert found["gpu_j"] == pytest.approx(18_000, rel=0.005)


def test_attempts_of_a_resumed_run_are_added_up(sim: SimClock, library: FakeNvml) -> None:
    del library
    spans = []
    for seconds in (30.0, 45.0):
        gauges = opened(sim, "GPU-aaaa")
        spans.append(spend(sim, gauges, "fit", Phase.LAUNCH, seconds))
        gauges.close()
    assert value_of(read(spans, {"accelerator": "gpu"}), m.TRAIN_GPU_ENERGY_J) == pytest.approx(7_500, rel=0.005)


@pytest.mark.parametrize("phase", [Phase.LAUNCH, EVERY])
def test_a_part_that_is_not_known_makes_the_sum_unknown_and_never_smaller(
    sim: SimClock, library: FakeNvml, phase: str
) -> None:
    del library
    gauges = opened(sim, "GPU-aaaa")
    cut_off = span("fit", phase, gauges.read(), None)
    spans = [cut_off, *(spend(sim, gauges, p.value, p, 10.0) for p in (Phase.LAUNCH, Phase.BUILD, Phase.EVAL))]
    gauges.close()
    rows = read(spans, {"accelerator": "gpu", "samples_seen": 10})
    for metric in (m.TRAIN_GPU_ENERGY_J, m.RETRAIN_GPU_ENERGY_J, m.TRAIN_ENERGY_PER_SAMPLE_J, m.ENERGY_TO_TARGET_J):
        assert "cut off" in reason_of(rows, metric)
    if phase == Phase.LAUNCH:
        assert value_of(rows, m.BUILD_GPU_ENERGY_J) == pytest.approx(1_000, rel=0.02)


@pytest.mark.parametrize("step_s", [3600.0, 1e-9])
def test_a_counter_that_stands_still_has_counted_nothing(sim: SimClock, library: FakeNvml, step_s: float) -> None:
    library.gpus[0].step_s = step_s
    gauges = opened(sim, "GPU-aaaa")
    spans = [spend(sim, gauges, p.value, p, 10.0) for p in (Phase.LAUNCH, Phase.BUILD, Phase.EVAL)]
    gauges.close()
    rows = read(spans, {"accelerator": "gpu"})
    if step_s > 1:
        assert reason_of(rows, m.TRAIN_GPU_ENERGY_J) == "launch_s: the counter did not move in 10 s"
        assert isinstance(rows[3], Unmeasured)
    else:
        assert value_of(rows, m.TRAIN_GPU_ENERGY_J) == pytest.approx(1_000, rel=0.02)


def test_stages_too_short_for_a_step_are_no_gap_unless_they_are_all(sim: SimClock, library: FakeNvml) -> None:
    library.gpus[0].step_s, library.gpus[0].phase_s = 5.0, 0.0
    gauges = opened(sim, "GPU-aaaa")
    spans = [spend(sim, gauges, "fit", Phase.LAUNCH, seconds) for seconds in (0.01, 20.0)]
    spans.append(spend(sim, gauges, "export", Phase.EXPORT, 0.01))
    gauges.close()
    rows = read(spans, {"accelerator": "gpu"})
    assert value_of(rows, m.TRAIN_GPU_ENERGY_J) == pytest.approx(2_000, rel=0.01)
    assert reason_of(rows, m.BUILD_GPU_ENERGY_J) == "the counter did not move"


@pytest.mark.parametrize("at_begin", [True, False])
def test_joules_of_a_shared_gpu_are_not_the_retrains(sim: SimClock, library: FakeNvml, at_begin: bool) -> None:
    board = library.gpus[0]
    gauges = opened(sim, "GPU-aaaa")
    board.pids = (os.getppid(),) if at_begin else ()
    before = gauges.read()
    sim.step(10.0)
    board.pids = () if at_begin else (os.getppid(),)
    found = span("fit", Phase.LAUNCH, before, gauges.read())
    gauges.close()
    assert found["gpu_j"] is None
    assert found["why_gpu"] == f"shared_gpu: process {os.getppid()} computes on the same GPU"
    assert found["why_cpu"].startswith("no RAPL")


def test_own_processes_share_nothing_and_those_of_another_namespace_are_noted(sim: SimClock, library: FakeNvml) -> None:
    board = library.gpus[0]
    gauges = opened(sim, "GPU-aaaa")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    board.pids = (os.getpid(), child.pid)
    fit = spend(sim, gauges, "fit", Phase.LAUNCH, 10.0)
    child.communicate(b"\n")
    board.pids = (2**22 + 7,)
    build = spend(sim, gauges, "build", Phase.BUILD, 10.0)
    gauges.close()
    rows = read([fit, build], {"accelerator": "gpu"})
    assert (fit["gpu_j"], fit["note_gpu"]) == (pytest.approx(1_000, rel=0.02), "")
    assert value_of(rows, m.BUILD_GPU_ENERGY_J) == pytest.approx(1_000, rel=0.02)
    assert "cannot be seen from here" in str(next(row.reason for row in rows if row.metric is m.BUILD_GPU_ENERGY_J))


def test_spans_of_an_earlier_release_are_read() -> None:
    old = [{"stage": "fit", "phase": Phase.LAUNCH.value, "gpu_j": 5.0, "cpu_j": None, "why_gpu": "", "why_cpu": "no"}]
    assert value_of(read(old, {"accelerator": "gpu"}), m.TRAIN_GPU_ENERGY_J) == 5.0


def test_a_counter_that_is_lost_in_one_stage_is_unknown_from_there_on(sim: SimClock, library: FakeNvml) -> None:
    gauges = opened(sim, "GPU-aaaa")
    fit = spend(sim, gauges, "fit", Phase.LAUNCH, 10.0)
    library.gpus[0].resets_at_s = sim.now_s + 1.0
    spans = [fit, *(spend(sim, gauges, p.value, p, 10.0) for p in (Phase.BUILD, Phase.EVAL))]
    gauges.close()
    rows = read(spans, {"accelerator": "gpu"})
    assert value_of(rows, m.TRAIN_GPU_ENERGY_J) == pytest.approx(1_000, rel=0.02)
    assert "went back" in reason_of(rows, m.BUILD_GPU_ENERGY_J)
    assert "went back" in reason_of(rows, m.RETRAIN_GPU_ENERGY_J)


def test_one_gpu_without_a_counter_leaves_no_partial_sum_and_nvml_closed(sim: SimClock, library: FakeNvml) -> None:
    library.gpus[1].errors[ENERGY] = NOT_SUPPORTED
    gauges = opened(sim, "GPU-aaaa", "GPU-bbbb")
    found = spend(sim, gauges, "fit", Phase.LAUNCH, 10.0)
    gauges.close()
    assert found["gpu_j"] is None
    assert found["why_gpu"] == "no NVML energy (not supported)"
    assert library.opened == 0


@pytest.mark.parametrize(
    ("gpus", "reason"),
    [
        (("GPU-aaaa", "GPU-zzzz"), "NVML knows 1 of the 2 GPUs"),
        (("MIG-1",), "shared_gpu"),
        ((), "no GPU was used"),
    ],
)
def test_gpus_that_cannot_be_counted_say_why(
    sim: SimClock, library: FakeNvml, gpus: tuple[str, ...], reason: str
) -> None:
    gauges = opened(sim, *gpus)
    rows = read([spend(sim, gauges, "fit", Phase.LAUNCH, 1.0)], {"accelerator": "gpu"})
    gauges.close()
    assert reason in reason_of(rows, m.TRAIN_GPU_ENERGY_J)
    assert library.opened == 0


def test_a_training_on_the_cpu_spends_what_the_packages_drew(sim: SimClock, tmp_path: Path) -> None:
    tree = Tree(tmp_path, sim)
    tree.add("intel-rapl:0", "package-0", 50.0)
    gauges = opened(sim, powercap=tmp_path)
    before = gauges.read()
    for _ in range(4):
        tree.step(50.0)
        after = gauges.read()
    gauges.close()
    fit: Mapping[str, Any] = {"accelerator": "cpu", "samples_seen": 100, "reached_target": False}
    rows = read([span("fit", Phase.LAUNCH, before, after)], fit)
    assert value_of(rows, m.TRAIN_CPU_ENERGY_J) == pytest.approx(10_000, rel=0.005)
    assert value_of(rows, m.TRAIN_ENERGY_PER_SAMPLE_J) == pytest.approx(100, rel=0.005)
    assert reason_of(rows, m.ENERGY_TO_TARGET_J) == "the target score was not reached"
    assert reason_of(rows, m.TRAIN_GPU_ENERGY_J) == "no GPU was used"


def test_the_gauges_are_read_between_the_edges_so_that_no_wrap_is_missed(sim: SimClock, tmp_path: Path) -> None:
    Tree(tmp_path, sim).add("intel-rapl:0", "package-0", 50.0)
    gauges = open_gauges((), environment={}, powercap=tmp_path, keep_s=0.001)
    assert gauges._keeper is not None
    assert gauges._keeper.is_alive()
    keeper = gauges._keeper
    gauges.close()
    gauges.close()
    assert not keeper.is_alive()
    assert gauges.read() == {"gpu": "no GPU was used", "at_s": pytest.approx(time.monotonic(), abs=5.0)}


def test_the_gauges_are_read_as_often_as_the_smallest_counter_needs(sim: SimClock, tmp_path: Path) -> None:
    tree = Tree(tmp_path, sim)
    tree.add("intel-rapl:0", "package-0", 50.0)
    tree.add("intel-rapl:1", "package-1", 50.0, range_uj=8_000_000_000)
    gauges = open_gauges((), environment={}, powercap=tmp_path)
    before = gauges._counters["cpu"][0]
    reads: list[float] = []
    monkey_read = before.read_j
    before.read_j = lambda: reads.append(0.0) or monkey_read()  # type: ignore[method-assign,func-returns-value]
    time.sleep(0.6)
    gauges.close()
    assert len(reads) >= 2


def test_nothing_counted_and_nothing_trained_have_reasons() -> None:
    assert {row.reason for row in read((), {}, nothing="none")} == {"none"}
    assert {row.reason for row in unmeasured("bench trains nothing")} == {"bench trains nothing"}
    assert {row.metric for row in read((), {})} == set(m.PHASE_ENERGY)


def test_joules_a_sample_are_those_of_the_fit_that_won_a_race() -> None:
    edges = [{"cpu": joules, "at_s": joules} for joules in (0.0, 100.0, 400.0)]
    spans = [
        span("fit", Phase.LAUNCH, edges[0], edges[1]),
        span("fit scratch", Phase.LAUNCH, edges[1], edges[2]),
    ]
    fit = {"accelerator": "cpu", "samples_seen": 100, "reached_target": True}
    rows = {row.metric: row for row in read(spans, fit, stage="fit scratch")}
    found = [rows[metric] for metric in (m.TRAIN_CPU_ENERGY_J, m.TRAIN_ENERGY_PER_SAMPLE_J, m.ENERGY_TO_TARGET_J)]
    assert [getattr(row, "value", None) for row in found] == [400.0, 3.0, 300.0]
