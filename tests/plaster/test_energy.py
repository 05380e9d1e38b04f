"""Rows of energy: every key always, joules only where a counter was believed."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Card, Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import CATALOGUE, MACHINE, Letter
from plaster_ops.plaster import energy, energy_band, phase_energy, throughput
from plaster_ops.plaster.energy_points import idle_s, points_s, take_points, watch_idle
from plaster_ops.plaster.evidence import MeasuredBlock
from plaster_ops.plaster.meter import EnergyWindow, NoMeter, TickMeter
from plaster_ops.plaster.profiles import FULL, SMOKE, STANDARD
from plaster_ops.plaster.raw_files import load_evidence, write_raw
from plaster_ops.plaster.search import Fit, Found, Probe
from plaster_ops.plaster.sensing import Sensed
from plaster_ops.plaster.timing import Timed
from plaster_ops.plaster.turns import OFFLINE, OFFLINE_ENERGY, SINGLE_ENERGY, THROUGHPUT, Bench, Block
from tests.plaster.doubles import HandClock, KnownEngine, NumberedInputs, block, evidence, row_of, value_of

MS = 1_000_000
SENSED = Sensed(power_j=51.0, temp_start_c=50.0, temp_end_c=60.0, clock_mhz=1500.0, slowed_ratio=0.25, braked_ratio=0.1)
NVML: dict[str, Any] = {
    "source": "nvml",
    "scope": "gpu",
    "reason": "",
    "lost": "",
    "notes": [],
    "dram_reason": "engine runs on a GPU, whose counter holds its own memory",
    "idle": {"joules": 60.0, "window_s": 2.0},
}
RAPL = NVML | {"source": "rapl", "scope": "cpu package", "idle": None, "dram_reason": ""}


def metered(
    label: str,
    joules: float,
    *,
    updates: int = 5,
    blocks: int = 6,
    kind: str = THROUGHPUT,
    batch: int = 4,
    dram_j: float | None = None,
    sensed: Sensed = SENSED,
) -> list[MeasuredBlock]:
    window = EnergyWindow(joules=joules, window_s=0.5, inferences=100, updates=updates, dram_j=dram_j, sensed=sensed)
    return [block(label, i, [MS] * 25, kind=kind, batch=batch, cpu_s=0.05, energy=window) for i in range(blocks)]


def on_gpu(blocks: list[MeasuredBlock], **changes: Any) -> list[Row]:
    return energy.read(evidence(blocks, energy=NVML | changes), "now")


def test_energy_of_a_rate_that_never_settles_is_unstable() -> None:
    wild = [
        replace(found, latencies_ns=found.latencies_ns + round(0.2 * i * MS), window_s=found.window_s * (1 + 0.2 * i))
        for i, found in enumerate(metered("now", 51.0, blocks=9))
    ]
    for rows, status in ((on_gpu(wild), Status.UNSTABLE), (on_gpu(metered("now", 51.0)), Status.MEASURED)):
        for metric in (m.INFERENCES_PER_J, m.CPU_TIME_PER_INFERENCE_S, m.GPU_POWER_MEAN_W):
            assert row_of(rows, metric).status is status


def test_without_a_counter_there_are_no_joules_but_cpu_time_is_measured() -> None:
    rows = energy.read(evidence(metered("now", 1.0)), "now")
    assert value_of(rows, m.CPU_TIME_PER_INFERENCE_S) == pytest.approx(0.0005)
    rest = [row for row in rows if row.metric is not m.CPU_TIME_PER_INFERENCE_S]
    assert {row.reason for row in rest} == {"no counter here"}
    assert all(isinstance(row, Unmeasured) for row in rest)


def test_what_is_a_gpus_own_is_not_missing_where_the_engine_ran_on_the_cpu() -> None:
    rows = energy.read(evidence(metered("now", 1.0), device="cpu"), "now")
    assert row_of(rows, m.GPU_POWER_MEAN_W).reason == "the engine ran on the CPU"
    assert row_of(rows, m.INFERENCES_PER_J).reason == "no counter here"


@pytest.mark.parametrize("counter", [NVML, RAPL, NVML | {"reason": "none"}, NVML | {"lost": "it went back"}])
def test_every_key_of_the_letter_is_given_once_whatever_was_counted(counter: dict[str, Any]) -> None:
    rows = energy.read(evidence(metered("now", 50.0), energy=counter), "now")
    rows += energy_band.read(False, energy_band.Part(), None)
    rows += phase_energy.read((), {})
    wanted = {key for key, metric in CATALOGUE.items() if metric.letter is Letter.ENERGY and metric not in MACHINE}
    assert {row.metric.key for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert all(row.reason for row in rows if isinstance(row, Unmeasured))
    Card.of(rows)
    left_out = [*energy.unmeasured("x"), *phase_energy.unmeasured("x")]
    assert {row.metric.key for row in left_out} | {e.key for e in m.ESTIMATED_ENERGY} == wanted


def test_a_gpu_counter_gives_inferences_per_joule_with_its_scope() -> None:
    rows = on_gpu(metered("now", 50.0))
    row = row_of(rows, m.INFERENCES_PER_J)
    assert isinstance(row, Reading)
    assert (row.value, row.reason, row.n, row.status) == (2.0, "scope: gpu", 600, Status.MEASURED)
    assert value_of(rows, m.GPU_ENERGY_PER_INFERENCE_J) == 0.5
    assert value_of(rows, m.ENERGY_WINDOW_S) == 3.0
    assert value_of(rows, m.COUNTER_UPDATES_COUNT) == 30
    assert value_of(rows, m.GPU_POWER_MEAN_W) == 100.0
    assert value_of(rows, m.GPU_POWER_IDLE_W) == 30.0
    assert value_of(rows, m.GPU_NET_ENERGY_PER_INFERENCE_J) == pytest.approx((50.0 - 15.0) / 100)
    assert value_of(rows, m.POWER_INTEGRAL_RATIO) == pytest.approx(1.02)
    assert value_of(rows, m.GPU_TEMP_START_C) == 50.0
    assert value_of(rows, m.GPU_TEMP_END_C) == 60.0
    assert value_of(rows, m.SM_CLOCK_MEAN_MHZ) == 1500.0
    assert value_of(rows, m.THROTTLED_RATIO) == 0.25
    assert "ran on the GPU" in str(row_of(rows, m.CPU_ENERGY_PER_INFERENCE_J).reason)
    assert "its own memory" in str(row_of(rows, m.DRAM_ENERGY_PER_INFERENCE_J).reason)


def test_rapl_joules_are_the_cpu_packages_and_memory_stands_beside_them() -> None:
    rows = energy.read(evidence(metered("now", 50.0, dram_j=5.0), energy=RAPL), "now")
    assert value_of(rows, m.CPU_ENERGY_PER_INFERENCE_J) == 0.5
    assert value_of(rows, m.DRAM_ENERGY_PER_INFERENCE_J) == 0.05
    assert value_of(rows, m.INFERENCES_PER_J) == 2.0
    assert row_of(rows, m.DRAM_ENERGY_PER_INFERENCE_J).reason == "scope: dram"
    assert row_of(rows, m.GPU_POWER_MEAN_W).reason == "the engine ran on the CPU"
    assert isinstance(row_of(rows, m.GPU_ENERGY_PER_INFERENCE_J), Unmeasured)


def test_notes_of_the_counter_are_told_with_its_scope() -> None:
    rows = energy.read(evidence(metered("now", 50.0), energy=RAPL | {"notes": ["die 1 repeats die 0"]}), "now")
    assert row_of(rows, m.INFERENCES_PER_J).reason == "scope: cpu package; die 1 repeats die 0"


@pytest.mark.parametrize(("power_j", "ratio"), [(30.0, "0.60"), (56.0, "1.12")])
def test_a_sensor_that_contradicts_the_counter_makes_the_joules_suspect(power_j: float, ratio: str) -> None:
    rows = on_gpu(metered("now", 50.0, sensed=Sensed(power_j=power_j)))
    for metric in (m.INFERENCES_PER_J, m.GPU_ENERGY_PER_INFERENCE_J, m.GPU_POWER_MEAN_W, m.POWER_INTEGRAL_RATIO):
        row = row_of(rows, metric)
        assert row.status is Status.SUSPECT, metric.key
        assert f"{ratio} of the counter, outside 0.9 to 1.1" in str(row.reason)


def test_a_board_that_tells_nothing_but_its_counter_has_joules_and_reasons() -> None:
    rows = on_gpu(metered("now", 50.0, sensed=Sensed()), idle=None)
    assert row_of(rows, m.INFERENCES_PER_J).status is Status.MEASURED
    gaps = (m.POWER_INTEGRAL_RATIO, m.GPU_TEMP_START_C, m.SM_CLOCK_MEAN_MHZ, m.THROTTLED_RATIO, m.GPU_POWER_IDLE_W)
    assert all(isinstance(row_of(rows, metric), Unmeasured) for metric in gaps)
    assert "at rest is not known" in str(row_of(rows, m.GPU_NET_ENERGY_PER_INFERENCE_J).reason)


def test_a_sensor_that_broke_off_is_the_reason_of_what_it_did_not_tell() -> None:
    rows = on_gpu(metered("now", 50.0, sensed=Sensed()), sensor_lost="the sensor broke off")
    for metric in (m.POWER_INTEGRAL_RATIO, m.GPU_TEMP_START_C, m.THROTTLED_RATIO):
        assert row_of(rows, metric).reason == "the sensor broke off"


def test_averaged_power_says_so() -> None:
    rows = on_gpu(metered("now", 50.0, sensed=Sensed(power_j=50.0, is_instant=False)))
    assert "averages over a second" in str(row_of(rows, m.POWER_INTEGRAL_RATIO).reason)


def test_work_that_draws_no_more_than_rest_has_no_net_energy() -> None:
    rows = on_gpu(metered("now", 50.0), idle={"joules": 400.0, "window_s": 2.0})
    assert "no more was drawn at work" in str(row_of(rows, m.GPU_NET_ENERGY_PER_INFERENCE_J).reason)


def test_few_steps_of_the_counter_are_suspect() -> None:
    row = row_of(on_gpu(metered("now", 50.0, updates=1)), m.INFERENCES_PER_J)
    assert row.status is Status.SUSPECT
    assert "only 6 steps" in str(row.reason)


def test_a_counter_that_did_not_move_gives_no_joules() -> None:
    still = [block("now", i, [MS] * 5, kind=THROUGHPUT) for i in range(4)]
    row = row_of(on_gpu(still), m.INFERENCES_PER_J)
    assert isinstance(row, Unmeasured)
    assert "did not move" in row.reason


def test_a_counter_that_broke_off_gives_no_joules_from_any_process() -> None:
    rows = on_gpu(metered("now", 50.0), lost="the counter went back")
    assert row_of(rows, m.INFERENCES_PER_J).reason == "the counter went back"
    assert isinstance(row_of(rows, m.GPU_POWER_MEAN_W), Unmeasured)


def test_batch_1_has_joules_of_its_own() -> None:
    blocks = metered("now", 50.0) + metered("now", 80.0, kind=SINGLE_ENERGY, batch=1, updates=15, blocks=2)
    assert value_of(on_gpu(blocks), m.SINGLESTREAM_ENERGY_PER_INFERENCE_J) == 0.8
    fine = metered("now", 50.0) + metered("now", 70.0, kind="single", batch=1)
    rows = energy.read(evidence(fine, energy=RAPL), "now")
    assert value_of(rows, m.SINGLESTREAM_ENERGY_PER_INFERENCE_J) == 0.7
    row = row_of(on_gpu(metered("now", 50.0)), m.SINGLESTREAM_ENERGY_PER_INFERENCE_J)
    assert "long enough" in str(row.reason)


def search(ended: str, best: int) -> dict[str, Any]:
    """What a result holds of a search that found `best`, by the median query: the sums favour batch 4."""
    probes = [{"batch": batch, "total_per_s": 2.0 if batch == 4 else 1.0} for batch in (1, 4, 8)]
    fastest = {} if ended == "time" else {"now": best}
    return {"search": {"now": {"ended": ended, "probes": probes}}, "fastest_batches": fastest}


def at_batch_8(samples_ms: float) -> list[MeasuredBlock]:
    return [block("now", i, [round(8 * samples_ms * MS)] * 9, kind=OFFLINE, batch=8) for i in range(6)]


def test_the_fastest_batch_is_measured_apart_or_is_the_one_that_was() -> None:
    joules = metered("now", 50.0) + metered("now", 25.0, kind=OFFLINE_ENERGY, batch=8, updates=15, blocks=2)
    rows = energy.read(evidence(joules + at_batch_8(0.1), energy=NVML, **search("gain", 8)), "now")
    assert value_of(rows, m.OFFLINE_INFERENCES_PER_J) == 4.0
    assert str(row_of(rows, m.OFFLINE_INFERENCES_PER_J).reason).endswith("batch 8")
    rows = energy.read(evidence(metered("now", 50.0), energy=NVML, **search("gain", 4)), "now")
    assert value_of(rows, m.OFFLINE_INFERENCES_PER_J) == 2.0


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (search("time", 8), "ran out of time at batch 8"),
        (search("gain", 8), "did not move twice in a block of batch 8"),
        ({}, "no process searched"),
    ],
)
def test_an_offline_point_without_joules_says_what_is_missing(found: dict[str, Any], reason: str) -> None:
    rows = energy.read(evidence(metered("now", 50.0) + at_batch_8(0.1), energy=NVML, **found), "now")
    row = row_of(rows, m.OFFLINE_INFERENCES_PER_J)
    assert isinstance(row, Unmeasured)
    assert reason in row.reason


@pytest.mark.parametrize(("samples_ms", "batch"), [(0.1, 8), (0.9, 4)])
def test_joules_of_the_offline_point_are_of_the_batch_that_the_card_names(samples_ms: float, batch: int) -> None:
    """Also where the search's batch proves slower at length than the one inside the limit."""
    blocks = [b for i in range(20) for b in metered("now", 50.0)] + at_batch_8(samples_ms)
    blocks += metered("now", 25.0, kind=OFFLINE_ENERGY, batch=8, updates=15, blocks=2)
    told = evidence(blocks, energy=NVML, **search("gain", 8))
    assert value_of(throughput.read(told, "now"), m.OFFLINE_BATCH_COUNT) == batch
    assert str(row_of(energy.read(told, "now"), m.OFFLINE_INFERENCES_PER_J).reason).endswith(f"batch {batch}")


def test_energy_pairs_are_cpu_time_and_joules() -> None:
    blocks = metered("now", 25.0) + metered("then", 50.0)
    cpu, joules = energy.paired_ratios(evidence(blocks, energy=NVML), "now", "then")
    assert (cpu.key, cpu.per_process) == (m.CPU_TIME_PER_INFERENCE_S.key, (0.0,))
    assert (joules.key, joules.per_process) == (m.INFERENCES_PER_J.key, (pytest.approx(math.log(2)),))


def test_what_a_window_knows_survives_its_file(tmp_path: Path) -> None:
    full = EnergyWindow(joules=5.0, window_s=0.5, inferences=9, updates=4, dram_j=1.0, sensed=SENSED)
    bare = EnergyWindow(joules=5.0, window_s=0.5, inferences=9, updates=4)
    timed = Timed(latencies_ns=[MS], start_ns=0, window_ns=MS, cpu_s=0.0)
    windows = [full, bare, None]
    blocks = [
        Block(kind=THROUGHPUT, label="now", index=i, position=i, batch=1, timed=timed, energy=window)
        for i, window in enumerate(windows)
    ]
    write_raw(tmp_path / "raw.npz", blocks)
    (tmp_path / "result.json").write_text('{"process": 0}')
    assert [found.energy for found in load_evidence([tmp_path]).all_blocks] == windows


# ---- blocks taken for their joules -----------------------------------------------------------------------------------
class HandMeter(TickMeter):
    """A slow meter that notes what it was begun for and measures nothing."""

    def __init__(self) -> None:
        self.begun = 0
        self.lost = ""
        self.load = 0.0

    def begin(self, longest_s: float = 0.0) -> None:
        del longest_s
        self.begun += 1

    def end(self, timed: Timed, batch: int) -> EnergyWindow | None:
        return EnergyWindow(joules=1.0, window_s=timed.window_ns * 1e-9, inferences=batch, updates=1)


def found(chosen: int, ended: str = "gain") -> Found:
    probes = tuple(
        Probe(batch=b, rate_per_s=b * 100.0, total_per_s=b * 100.0, p90_ms=1.0, queries=9, over_limit=0, fit=Fit.INSIDE)
        for b in (1, 8)
    )
    return Found(probes={"a": probes, "b": probes}, chosen={"a": chosen, "b": chosen}, ended={"a": ended, "b": ended})


def bench(meter: Any) -> Bench:
    clock = HandClock()
    runs = {label: KnownEngine(clock, lambda *_: 10 * MS).run for label in ("a", "b")}
    return Bench(runs=runs, inputs=NumberedInputs(), meter=meter, clock_ns=clock, cpu_s=clock.cpu_s)


def test_the_fastest_batch_is_held_against_the_one_that_was_settled_on() -> None:
    taken = bench(HandMeter())
    take_points(taken, ("a", "b"), STANDARD, {"a": 10 * MS, "b": 10 * MS}, found(chosen=8), {"a": 1, "b": 8})
    assert {(b.label, b.batch) for b in taken.blocks if b.kind == OFFLINE_ENERGY} == {("a", 8)}


def test_a_slow_counter_gets_longer_blocks_of_batch_1_and_of_the_fastest_batch() -> None:
    meter = HandMeter()
    taken = bench(meter)
    take_points(taken, ("a", "b"), STANDARD, {"a": 10 * MS, "b": 10 * MS}, found(chosen=1), {"a": 1, "b": 1})
    kinds = [(b.kind, b.label, b.batch) for b in taken.blocks]
    turns = ("a", "b", "b", "a")
    assert kinds == [(SINGLE_ENERGY, t, 1) for t in turns] + [(OFFLINE_ENERGY, t, 8) for t in turns]
    assert meter.begun == 8
    assert all(1.5 <= b.timed.window_ns * 1e-9 <= 2.0 for b in taken.blocks[:4])
    spent_s = sum(b.timed.window_ns for b in taken.blocks) * 1e-9
    assert spent_s <= points_s(STANDARD, meter, 2, searching=True) * 1.05


@pytest.mark.parametrize("known", [found(chosen=8), found(chosen=1, ended="time"), None])
def test_the_fastest_batch_is_not_taken_twice_nor_where_it_is_not_known(known: Found | None) -> None:
    taken = bench(HandMeter())
    take_points(taken, ("a", "b"), STANDARD, {"a": 10 * MS, "b": 10 * MS}, known, {"a": 8, "b": 8})
    assert {b.kind for b in taken.blocks} == {SINGLE_ENERGY}


def test_without_a_counter_no_block_is_taken_and_nobody_waits() -> None:
    taken = bench(NoMeter())
    take_points(taken, ("a", "b"), STANDARD, {"a": MS, "b": MS}, found(chosen=1), {"a": 1, "b": 1})
    assert taken.blocks == []
    assert points_s(STANDARD, NoMeter(), 2, searching=True) == 0.0
    assert idle_s(STANDARD, NoMeter()) == 0.0
    assert watch_idle(NoMeter(), 0.0) is None


def test_rest_is_watched_for_a_tenth_of_the_budget_and_30_s_at_most() -> None:
    meter = HandMeter()
    assert [idle_s(profile, meter) for profile in (SMOKE, STANDARD, FULL)] == [1.0, 5.0, 30.0]
    clock = HandClock()

    def sleep(seconds: float) -> None:
        clock.now_ns += round(seconds * 1e9)

    window = watch_idle(meter, 5.0, clock_ns=clock, sleep=sleep)
    assert window is not None
    assert (window.window_s, meter.begun) == (5.0, 1)


# ---- guesses ---------------------------------------------------------------------------------------------------------
def test_a_guess_is_a_band_and_says_that_it_is_one() -> None:
    rows = energy_band.read(True, energy_band.Part(tdp_w=200.0, threads=64), 500.0, cpus=4.0)
    assert [value_of(rows, metric) for metric in m.ESTIMATED_ENERGY] == pytest.approx([1.25, 12.5, 40.0])
    assert {row.status for row in rows} == {Status.ESTIMATED}
    assert "40 to 400" in str(row_of(rows, m.EST_INFERENCES_PER_J).reason)
    assert all(metric.margin is None for metric in m.ESTIMATED_ENERGY)


@pytest.mark.parametrize(
    ("asked", "tdp_w", "reason"), [(False, 200.0, "not asked for"), (True, None, "the TDP is not known")]
)
def test_a_guess_that_was_not_asked_for_or_has_no_tdp_is_not_made(
    asked: bool, tdp_w: float | None, reason: str
) -> None:
    rows = energy_band.read(asked, energy_band.Part(tdp_w=tdp_w), 500.0)
    assert all(isinstance(row, Unmeasured) and reason in row.reason for row in rows)


def test_without_threads_told_those_of_this_machine_are_taken_and_without_a_rate_there_is_power_alone() -> None:
    rows = energy_band.read(True, energy_band.Part(tdp_w=100.0), None, cpus=10_000.0)
    assert value_of(rows, m.EST_CPU_HI_W) == 100.0
    assert "that this machine shows" in str(row_of(rows, m.EST_CPU_HI_W).reason)
    assert isinstance(row_of(rows, m.EST_INFERENCES_PER_J), Unmeasured)


def test_a_quota_limits_the_cpus_of_this_process(tmp_path: Path) -> None:
    quota = tmp_path / "sys/fs/cgroup/cpu.max"
    quota.parent.mkdir(parents=True)
    quota.write_text("50000 100000\n")
    assert energy_band.cpus_of_this_process(tmp_path) == 0.5
    assert energy_band.cpus_of_this_process(tmp_path / "none") >= 1
