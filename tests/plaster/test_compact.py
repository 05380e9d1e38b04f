"""What a run keeps of its raw samples for ever gives its numbers again, and pairs it with any other run."""

import random
import subprocess
import sys

import numpy as np
import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.compact import CompactKind, CompactRow
from plaster_ops.domain.histogram import LARGEST_ERROR_RATIO
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import compact_values, energy, latency, throughput, turns
from plaster_ops.plaster.answer_record import SetRecord
from plaster_ops.plaster.compact import TIME_BLOCKS, curve_row, paired_row, right_rows, timed_rows
from plaster_ops.plaster.compact_values import (
    KIND_OF,
    block_value,
    right_bits,
    side_by_side,
    time_blocks,
)
from plaster_ops.plaster.compact_values import compact_values as values_of
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, ServerRun
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.resampling import score_of_samples
from plaster_ops.plaster.score_pairs import pair_scores
from tests.plaster.doubles import block, evidence

RAPL = {"source": "rapl", "scope": "cpu package", "reason": "", "idle": {"joules": 3.0, "window_s": 2.0}}


def measured(*, processes: int = 3, turns_of: int = 24, **changes: object) -> Evidence:
    """Two engines in turns; heavy tails, restarts that differ, joules in the turns at the chosen batch."""
    source = random.Random(7)
    blocks: list[MeasuredBlock] = []
    for process in range(processes):
        for index in range(turns_of):
            for label, base in (("now", 80_000), ("run1", 90_000)):
                taken = [round(base * (1 + process / 50) * source.lognormvariate(0, 0.2)) for _ in range(40)]
                window = EnergyWindow(joules=0.5 + index / 100, window_s=0.3, inferences=320.0, updates=9)
                blocks.append(block(label, index, taken, process=process))
                blocks.append(
                    block(
                        label, index, [8 * t for t in taken], process=process, kind="throughput", batch=8, energy=window
                    )
                )
    return evidence(blocks, energy=RAPL, **changes)


def test_percentiles_are_within_the_error_and_totals_are_exact() -> None:
    found = measured()
    kept = values_of(timed_rows(found, "now"))
    rows = [*latency.read(found, "now"), *throughput.read(found, "now"), *energy.read(found, "now")]
    logged = {row.metric.key: row for row in rows}
    timed = {metric.key for metric in (m.E2E_P50_MS, m.E2E_P90_MS, m.E2E_P95_MS, m.E2E_P99_MS, m.SLO_P99_AT_MAX_MS)}
    assert timed < kept.keys()
    for key, value in kept.items():
        row = logged[key]
        if not hasattr(row, "value"):
            assert key in (m.E2E_P999_MS.key, m.SLO_SAMPLES_PER_S.key), key  # told in the full profile, where certified
            continue
        assert value.value == pytest.approx(row.value, rel=LARGEST_ERROR_RATIO if key in timed else 1e-12)
        assert value.error_ratio == (LARGEST_ERROR_RATIO if key in timed else 0.0)
        assert value.n == (row.n or 1)
    assert m.INFERENCES_PER_J.key in kept
    assert m.CPU_ENERGY_PER_INFERENCE_J.key in kept
    assert m.GPU_ENERGY_PER_INFERENCE_J.key not in kept


def test_each_restart_has_at_most_ten_time_blocks_and_what_was_noted_beside_them() -> None:
    warm = {"now": {"warmup": {"queries": 70, "seconds": 0.5, "is_steady": True}}}
    rows = timed_rows(measured(engines=warm), "now")
    assert [(row.label, row.process) for row in rows] == [
        (kind, process) for process in range(3) for kind in ("single", "throughput")
    ]
    content = rows[1].content()
    assert len(content["blocks"]) == TIME_BLOCKS
    assert (content["batch"], content["concurrency"], content["turns"]) == (8, 1, 24)
    assert (content["warmup_queries"], content["is_steady"], content["sensor"]) == (70, True, "rapl")
    assert content["idle_w"] == 1.5
    assert sum(one["energy"]["updates"] for one in content["blocks"]) == 24 * 9


def test_a_restart_and_a_time_block_have_values_of_their_own() -> None:
    found = measured()
    blocks = time_blocks(timed_rows(found, "now"), "single")
    assert len(blocks) == 3 * TIME_BLOCKS
    second = [one for one in blocks if one.process == 1]
    value = block_value(m.E2E_P50_MS, second)
    assert value is not None
    raw = np.concatenate([one.latencies_ns for one in found.blocks("single", "now") if one.process == 1])
    assert value.value == pytest.approx(float(np.median(raw)) * 1e-6, rel=2 * LARGEST_ERROR_RATIO)
    assert block_value(m.ENGINE_BYTES, second) is None


def test_a_run_keeps_a_few_kilobytes() -> None:
    assert sum(len(row.body) for row in timed_rows(measured(), "now")) < 12_000


def test_runs_of_random_arrivals_that_certify_are_kept_with_their_rate() -> None:
    due = np.arange(500, dtype=np.int64)
    runs = tuple(
        ServerRun(
            process=0,
            label="now",
            rate_per_s=100.0,
            certifies=certifies,
            answered=500,
            batches=250,
            busy_s=1.0,
            window_s=5.0,
            due_ns=due,
            latencies_ns=due + 1000,
        )
        for certifies in (False, True)
    )
    found = measured(processes=1)
    rows = timed_rows(Evidence(results=found.results, all_blocks=found.all_blocks, all_server_runs=runs), "now")
    (row,) = [row for row in rows if row.label == "server"]
    (told,) = row.content()["blocks"]
    assert (told["rate_per_s"], told["items"], sum(told["counts"])) == (100.0, 500, 500)


def right(scores: list[float], digest: str = "d" * 64) -> list[CompactRow]:
    record = SetRecord(engines={"now": score_of_samples(np.array(scores))})
    return right_rows({"rolling": record}, {"rolling": digest, "golden": None})


def test_two_runs_of_the_past_pair_as_they_would_have_paired_side_by_side() -> None:
    source = random.Random(3)
    now, then = ([float(source.random() < p) for _ in range(361)] for p in (0.95, 0.9))
    mine, theirs = (right_bits(right(scores))["rolling"] for scores in (now, then))
    expected = pair_scores(score_of_samples(np.array(now), "a"), score_of_samples(np.array(then), "b"), m.ROLLING_SCORE)
    assert mine.pair(theirs, m.ROLLING_SCORE) == expected
    assert values_of(right(now))[m.ROLLING_SCORE.key].value == sum(now) / 361
    assert values_of(right(now))[m.ENGINE_SCORE.key].value == sum(now) / 361


def test_sets_of_other_data_do_not_pair() -> None:
    mine, theirs = (right_bits(right([1.0, 0.0], digest))["rolling"] for digest in ("a", "b"))
    assert mine.pair(theirs, m.ROLLING_SCORE) is None
    longer = right_bits(right([1.0, 0.0, 1.0], "a"))["rolling"]
    assert mine.pair(longer, m.ROLLING_SCORE) is None


def test_scores_that_are_no_right_and_wrong_are_not_kept_as_bits() -> None:
    assert right([0.5, 0.25]) == []


def test_what_two_engines_showed_side_by_side_comes_back() -> None:
    ratios = PairedRatios(key=m.E2E_P50_MS.key, per_process=(0.1, 0.2), within_se=(0.01, 0.02), pairs=(9, 9))
    beside = side_by_side([paired_row("run1", [ratios], [], {m.E2E_P50_MS.key: 0.02})])
    assert beside is not None
    assert (beside.label, beside.ratios, beside.noise) == ("run1", {m.E2E_P50_MS.key: ratios}, {m.E2E_P50_MS.key: 0.02})
    assert side_by_side([]) is None


def test_a_curve_is_kept_where_there_is_one_and_without_nan() -> None:
    row = curve_row({"points": [{"step": 3, "score": float("nan")}], "target": None})
    assert row is not None
    assert (row.kind, row.content()["points"]) == (CompactKind.CURVE, [{"step": 3, "score": None}])
    assert curve_row({"points": []}) is None


def test_kinds_are_called_as_where_they_are_taken() -> None:
    mine = {name: getattr(compact_values, name) for name in ("SINGLE", "THROUGHPUT", "SINGLE_ENERGY", "OFFLINE_ENERGY")}
    assert mine == {name: getattr(turns, name) for name in mine}
    assert set(KIND_OF.values()) <= set(mine.values())


def test_reading_a_compact_record_needs_no_numpy() -> None:
    probe = "import sys, plaster_ops.plaster.compact_values; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
