"""From blocks to rows: latency, throughput and energy, and the paired ratios that compare consumes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Card, Reading, Row, Status, Unmeasured
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import energy, latency, throughput
from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, ServerRun
from plaster_ops.plaster.pairing import trimmed_mean
from tests.plaster.doubles import block, evidence, row_of, value_of

MS = 1_000_000
AUTOCORR1 = m.AUTOCORR1_RATIO


def noisy(
    label: str,
    factor: float,
    *,
    processes: int = 2,
    blocks: int = 30,
    queries: int = 40,
    kind: str = "single",
    seed: int = 1,
) -> list[MeasuredBlock]:
    """Latencies around `factor` ms, with a machine that drifts by 30 % over each process and restarts 3 % apart."""
    found = []
    for process in range(processes):
        machine = np.random.default_rng((seed, process))
        own = np.random.default_rng((seed, process, len(label), ord(label[0])))
        restart = math.exp(machine.normal(0, 0.03))
        for index in range(blocks):
            drift = 1 + 0.3 * index / blocks
            taken = factor * restart * drift * np.exp(own.normal(0, 0.05, queries))
            found.append(block(label, index, (taken * MS).astype(int), process=process, kind=kind))
    return found


# ---- latency ---------------------------------------------------------------------------------------------------------
def test_latency_rows_are_the_pooled_nearest_rank_percentiles() -> None:
    blocks = [block("now", i, range((100 * i + 1) * 1000, (100 * i + 101) * 1000, 1000)) for i in range(10)]
    rows = latency.read(evidence(blocks), "now")
    assert value_of(rows, m.E2E_P50_MS) == pytest.approx(0.5)
    assert value_of(rows, m.E2E_P90_MS) == pytest.approx(0.9)
    assert value_of(rows, m.E2E_P99_MS) == pytest.approx(0.99)
    assert value_of(rows, m.E2E_P99_ES_MS) == pytest.approx(0.999)
    assert value_of(rows, m.E2E_MAX_MS) == pytest.approx(1.0)
    assert value_of(rows, m.E2E_MEAN_MS) == pytest.approx(0.5005)
    assert value_of(rows, m.SAMPLES_COUNT) == 1000
    assert value_of(rows, m.FIRST_INFERENCE_MS) == 3.0
    assert value_of(rows, m.ENGINE_LOAD_S) == 0.5
    Card.of(rows)


def test_an_interval_reaches_as_far_as_the_processes_disagree() -> None:
    blocks = [block("now", i, [MS] * 100, process=0) for i in range(5)]
    blocks += [block("now", i, [round(1.2 * MS)] * 20, process=1) for i in range(5)]
    row = row_of(latency.read(evidence(blocks), "now"), m.E2E_P50_MS)
    assert isinstance(row, Reading)
    assert row.ci95 is not None
    assert row.ci95[0] < 1.0
    assert row.ci95[1] > 1.2
    assert row.n == 600
    assert row.value == pytest.approx(1.0)


@pytest.mark.parametrize(("queries", "p99", "estimate"), [(367, False, False), (368, True, False), (662, True, True)])
def test_p99_needs_368_queries_and_its_upper_estimate_662(queries: int, p99: bool, estimate: bool) -> None:
    rows = latency.read(evidence([block("now", 0, [MS] * queries)]), "now")
    assert isinstance(row_of(rows, m.E2E_P99_MS), Reading) is p99
    assert isinstance(row_of(rows, m.E2E_P99_ES_MS), Reading) is estimate
    if not p99:
        assert "needs 368" in str(row_of(rows, m.E2E_P99_MS).reason)


def test_a_handful_of_queries_gives_a_median_and_says_what_the_rest_would_need() -> None:
    rows = latency.read(evidence([block("now", i, [MS, 2 * MS]) for i in range(4)]), "now")
    assert value_of(rows, m.E2E_P50_MS) == 1.0
    assert row_of(rows, m.E2E_P90_MS).reason == "8 queries; this percentile needs 36"
    assert isinstance(row_of(rows, m.AUTOCORR1_RATIO), Unmeasured)


def test_latency_that_never_settles_is_unstable() -> None:
    wild = [block("now", i, [round(MS * 1.3**i)] * 20) for i in range(12)]
    row = row_of(latency.read(evidence(wild), "now"), m.E2E_P50_MS)
    assert row.status is Status.UNSTABLE
    calm = [block("now", i, [MS] * 20) for i in range(12)]
    assert row_of(latency.read(evidence(calm), "now"), m.E2E_P50_MS).status is Status.MEASURED


def test_a_suspect_machine_makes_suspect_rows() -> None:
    spoiled = evidence([block("now", 0, [MS] * 50)], machine={"notes": [], "suspect": "steal"})
    for rows, metric in ((latency.read(spoiled, "now"), m.E2E_P50_MS), (latency.read(spoiled, "now"), m.E2E_MEAN_MS)):
        assert row_of(rows, metric).status is Status.SUSPECT


NOT_TIMED = {m.SAMPLES_COUNT, m.WINDOW_S, m.SLO_LIMIT_MS, m.SLO_BATCH_COUNT, m.OFFLINE_BATCH_COUNT}
"""Counted or set: no machine makes them wrong."""


def test_every_timed_row_of_a_suspect_machine_is_suspect() -> None:
    spoiled: dict[str, Any] = {"machine": {"notes": [], "suspect": "another process is on the GPU"}}
    spoiled |= {"device": "cuda:0", "parts": parts([1.0, 1.1] * 300), "search": search("gain")}
    spoiled |= {"server": {"now": {"point": {"rate_per_s": 400.0, "sizes": [1], "max_queue_delay_ms": 0.0}}}}
    blocks = [*saturated(2.0, 800).all_blocks, *[block("now", i, [2 * MS] * 99, kind="offline") for i in range(4)]]
    found = replace(evidence(blocks, **spoiled), all_server_runs=(server_run(400.0, 2.0),))
    rows = [row for row in (*latency.read(found, "now"), *throughput.read(found, "now")) if isinstance(row, Reading)]
    timed = [row for row in rows if row.metric not in NOT_TIMED]
    assert {row.metric for row in timed} >= {m.SLO_COST_RATIO, m.POISSON_P99_MS, m.H2D_P50_MS, m.FIRST_INFERENCE_MS}
    assert {row.metric.key for row in timed if row.status is not Status.SUSPECT} == set()
    assert all("another process is on the GPU" in str(row.reason) for row in timed)


def test_foreign_load_is_written_beside_the_value() -> None:
    noted = evidence([block("now", 0, [MS] * 50)], machine={"notes": ["other processes used 40 %"], "suspect": ""})
    row = row_of(latency.read(noted, "now"), m.E2E_P50_MS)
    assert (row.status, row.reason) == (Status.MEASURED, "other processes used 40 %")


def test_neighbouring_queries_that_resemble_each_other_show_in_the_autocorrelation() -> None:
    generator = np.random.default_rng(5)
    slow = np.repeat(generator.random(200) + 0.5, 10)
    alone = generator.random(2000) + 0.5
    correlated = latency.read(evidence([block("now", 0, (slow * MS).astype(int))]), "now")
    independent = latency.read(evidence([block("now", 0, (alone * MS).astype(int))]), "now")
    assert value_of(correlated, m.AUTOCORR1_RATIO) > 0.7
    assert abs(value_of(independent, m.AUTOCORR1_RATIO)) < 0.1


def correlation_of(logs: Any, *, block_queries: int = 10) -> float:
    parts = np.split((np.exp(logs) * MS).astype(int), len(logs) // block_queries)
    return value_of(latency.read(evidence([block("now", i, part) for i, part in enumerate(parts)]), "now"), AUTOCORR1)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5])
def test_short_blocks_do_not_hide_how_alike_neighbours_are(rho: float) -> None:
    generator, logs = np.random.default_rng(8), np.zeros(20_000)
    for i, shock in enumerate(generator.normal(0, 0.05, len(logs) - 1)):
        logs[i + 1] = rho * logs[i] + shock
    assert correlation_of(logs) == pytest.approx(rho, abs=0.03)


def test_slow_phases_longer_than_a_block_show_in_the_autocorrelation() -> None:
    phases = np.repeat(np.random.default_rng(9).integers(0, 2, 40), 100) * 0.2
    assert correlation_of(phases + np.random.default_rng(10).normal(0, 0.02, 4000)) > 0.9


def test_a_few_independent_queries_are_not_told_to_be_unlike_each_other() -> None:
    found = [correlation_of(np.random.default_rng(seed).normal(0, 0.05, 20)) for seed in range(300)]
    assert abs(sum(found) / len(found)) < 0.03


def test_an_engine_nobody_measured_has_a_reason_for_every_letter() -> None:
    other = evidence([block("now", 0, [MS] * 50)])
    for room, metric in (
        (latency, m.E2E_P50_MS),
        (throughput, m.SLO_SAMPLES_PER_S),
        (energy, m.INFERENCES_PER_J),
    ):
        assert "'then' was not measured" in str(row_of(room.read(other, "then"), metric).reason)
        assert room.paired_ratios(other, "now", "then") == ()
    assert latency.p50_ms(other, "then") is None
    assert latency.p50_ms(other, "now") == 1.0


MACHINE = {metric.key for metric in m.MACHINE}


def test_every_latency_key_is_on_every_card() -> None:
    keys = {metric.key for metric in m.CATALOGUE.values() if metric.letter is m.Letter.LATENCY} - MACHINE
    handful = evidence([block("now", 0, [MS] * 5)], engines={})
    for rows in (
        latency.read(evidence([block("now", 0, [MS] * 5000)]), "now"),
        latency.read(handful, "now"),
        latency.read(handful, "then"),
        latency.unmeasured("not timed"),
    ):
        assert sorted(row.metric.key for row in rows) == sorted(keys)
        assert all(isinstance(row, Reading) or row.reason for row in rows)


def test_the_999th_of_a_thousand_is_for_the_full_profile() -> None:
    blocks = [block("now", 0, range(1000, 5_001_000, 1000))]
    assert "only in profile full" in str(row_of(latency.read(evidence(blocks), "now"), m.E2E_P999_MS).reason)
    full = latency.read(evidence(blocks, profile="full"), "now")
    assert value_of(full, m.E2E_P999_MS) == pytest.approx(4.995)
    short = latency.read(evidence([block("now", 0, [MS] * 3687)], profile="full"), "now")
    assert row_of(short, m.E2E_P999_MS).reason == "3687 queries; this percentile needs 3688"


def parts(compute: list[float]) -> dict[str, dict[str, list[float]]]:
    return {"now": {"h2d": [0.2, 0.1, 0.3] * 200, "compute": compute, "d2h": [0.05] * 600, "enqueue": [0.4] * 600}}


def test_a_call_on_a_gpu_is_told_in_its_parts() -> None:
    blocks = [block("now", 0, [MS] * 600)]
    steady = evidence(blocks, device="cuda:0", parts=parts([float(k) / 1e6 + 1.0 for k in range(600)]))
    rows = latency.read(steady, "now")
    assert value_of(rows, m.H2D_P50_MS) == 0.2
    assert value_of(rows, m.D2H_P50_MS) == 0.05
    assert value_of(rows, m.ENQUEUE_P50_MS) == 0.4
    assert value_of(rows, m.GPU_COMPUTE_P50_MS) == pytest.approx(1.000299)
    assert value_of(rows, m.GPU_COMPUTE_P99_MS) == pytest.approx(1.000593)
    assert row_of(rows, m.GPU_COMPUTE_CV_RATIO).reason is None
    wild = latency.read(evidence(blocks, device="cuda:0", parts=parts([1.0, 2.0] * 300)), "now")
    assert value_of(wild, m.GPU_COMPUTE_CV_RATIO) == pytest.approx(1 / 3, rel=0.01)
    assert "above 0.025" in str(row_of(wild, m.GPU_COMPUTE_CV_RATIO).reason)
    few = latency.read(evidence(blocks, device="cuda:0", parts=parts([1.0] * 100)), "now")
    assert "needs 368" in str(row_of(few, m.GPU_COMPUTE_P99_MS).reason)


def test_without_parts_it_says_whether_there_are_none_or_none_were_told() -> None:
    blocks = [block("now", 0, [MS] * 600)]
    assert "no copies" in str(row_of(latency.read(evidence(blocks, device="cpu"), "now"), m.H2D_P50_MS).reason)
    elsewhere = row_of(latency.read(evidence(blocks, device="cuda:0"), "now"), m.H2D_P50_MS)
    assert elsewhere.reason == "this backend does not split its calls"


# ---- pairs -----------------------------------------------------------------------------------------------------------
def test_paired_ratios_find_a_20_percent_change_under_a_drift_of_30_percent() -> None:
    p50, p90 = latency.paired_ratios(evidence(noisy("now", 1.2) + noisy("then", 1.0)), "now", "then")
    assert (p50.key, p90.key) == (m.E2E_P50_MS.key, m.E2E_P90_MS.key)
    for process in range(2):
        assert p50.per_process[process] == pytest.approx(math.log(1.2), abs=0.01)
        assert p50.within_se[process] < 0.005
    assert p50.pairs == (30, 30)


def test_two_copies_of_one_engine_differ_by_no_more_than_their_error_says() -> None:
    within = 0
    for seed in range(40):
        pair = evidence(noisy("now", 1.0, seed=seed, processes=1) + noisy("then", 1.0, seed=seed, processes=1))
        (ratio, _) = latency.paired_ratios(pair, "now", "then")
        within += abs(ratio.per_process[0]) <= 2.2 * ratio.within_se[0]
    assert within >= 36


def test_one_preempted_block_does_not_move_the_ratio() -> None:
    blocks = noisy("now", 1.0, processes=1) + noisy("then", 1.0, processes=1)
    spoiled = [block("now", b.index, b.latencies_ns * 50) if (b.label, b.index) == ("now", 7) else b for b in blocks]
    (calm, _), (hit, _) = (latency.paired_ratios(evidence(found), "now", "then") for found in (blocks, spoiled))
    assert hit.per_process[0] == pytest.approx(calm.per_process[0], abs=0.005)


def test_a_process_with_one_pair_says_nothing() -> None:
    blocks = [block(label, 0, [MS], process=0) for label in ("now", "then")]
    assert latency.paired_ratios(evidence(blocks), "now", "then") == ()
    blocks += [block(label, i, [MS], process=1) for label in ("now", "then") for i in range(3)]
    assert latency.paired_ratios(evidence(blocks), "now", "then")[0].pairs == (3,)


def test_blocks_without_a_partner_are_left_out() -> None:
    blocks = [block("now", i, [2 * MS]) for i in range(5)] + [block("then", i, [MS]) for i in range(3)]
    (ratio, _) = latency.paired_ratios(evidence(blocks), "now", "then")
    assert ratio.pairs == (3,)
    assert ratio.per_process == (pytest.approx(math.log(2)),)


def test_the_trimmed_mean_and_its_error_are_those_of_yuen() -> None:
    mean, error = trimmed_mean([1.0, 2.0, 3.0, 4.0, 100.0])
    assert mean == 3.0
    assert error == pytest.approx(math.sqrt((1 + 1 + 0 + 1 + 1) / (3 * 2)))
    assert trimmed_mean([2.0, 4.0]) == (3.0, 1.0)


def test_paired_ratios_survive_json_and_refuse_to_be_empty() -> None:
    ratios = PairedRatios(key="latency/e2e_p50_ms", per_process=(0.1,), within_se=(0.01,), pairs=(4,))
    assert PairedRatios.from_json(ratios.to_json()) == ratios
    with pytest.raises(ValueError, match="no process"):
        PairedRatios(key="k", per_process=(), within_se=(), pairs=())
    with pytest.raises(ValueError, match="differ in length"):
        PairedRatios(key="k", per_process=(1.0,), within_se=(), pairs=(1,))


# ---- throughput ------------------------------------------------------------------------------------------------------
def saturated(latency_ms: float, queries: int, *, slow: int = 0, slow_ms: float = 20.0, batch: int = 8) -> Evidence:
    taken = [round(slow_ms * MS)] * slow + [round(latency_ms * MS)] * (queries - slow)
    parts = [block("now", i, taken[i::8], kind="throughput", batch=batch) for i in range(8)]
    return evidence([*parts, block("now", 0, [MS] * 100)], chosen_batches={"now": batch})


def test_a_certified_batch_gives_samples_per_second() -> None:
    rows = throughput.read(saturated(2.0, 800), "now")
    assert value_of(rows, m.SLO_SAMPLES_PER_S) == pytest.approx(4000)
    row = row_of(rows, m.SLO_SAMPLES_PER_S)
    assert isinstance(row, Reading)
    assert row.ci95 is not None
    assert row.ci95[0] < 4000 < row.ci95[1]
    assert row.n == 800
    assert value_of(rows, m.SLO_BATCH_COUNT) == 8
    assert value_of(rows, m.SLO_P99_AT_MAX_MS) == pytest.approx(2.0)
    assert value_of(rows, m.GOODPUT_RATIO) == 1.0
    assert value_of(rows, m.BATCH1_SAMPLES_PER_S) == pytest.approx(1000)
    assert value_of(rows, m.SLO_LIMIT_MS) == 7.0


def test_too_few_queries_are_not_certified() -> None:
    row = row_of(throughput.read(saturated(2.0, 210), "now"), m.SLO_SAMPLES_PER_S)
    assert row.status is Status.NOT_MEASURED
    assert row.reason == "not certified: 210 of 459 queries in the smoke profile"


def test_slow_queries_raise_the_number_that_certifies() -> None:
    row = row_of(throughput.read(saturated(2.0, 600, slow=1), "now"), m.SLO_SAMPLES_PER_S)
    assert row.reason == "not certified: 600 of 662 queries with 1 above 7 ms in the smoke profile"


def stalled(seed: int, share: float, *, cluster: int, processes: int = 3, queries: int = 2000) -> Evidence:
    """Queries of 2 ms, and clusters of some of 20 ms that begin anywhere."""
    found = []
    for process in range(processes):
        machine = np.random.default_rng((seed, process))
        taken = np.full(queries, 2 * MS)
        for start in machine.integers(0, queries, machine.poisson(queries * share / cluster)):
            taken[start : start + cluster] = 20 * MS
        parts = np.split(taken, 40)
        found += [block("now", i, part, process=process, kind="throughput") for i, part in enumerate(parts)]
    return evidence(found)


def certified(share: float, *, cluster: int, runs: int = 300) -> float:
    told = (throughput.read(stalled(seed, share, cluster=cluster), "now") for seed in range(runs))
    return sum(isinstance(row_of(rows, m.SLO_SAMPLES_PER_S), Reading) for rows in told) / runs


def test_slow_queries_in_clusters_do_not_certify_a_limit_that_is_broken() -> None:
    """1.3 % of all queries are too slow; as if each came alone a quarter of the runs would pass."""
    assert certified(0.013, cluster=20) <= 0.04
    row = row_of(throughput.read(stalled(4, 0.013, cluster=20), "now"), m.SLO_SAMPLES_PER_S)
    assert "above 7 ms; as slow ones come in clusters they say as much as" in str(row.reason)


def test_slow_queries_one_by_one_cost_no_certificate() -> None:
    assert certified(0.004, cluster=1) >= 0.98


def drifting(kind: str, factor: float, *, blocks: int = 12, queries: int = 60) -> list[MeasuredBlock]:
    return [block("now", i, [round(MS * factor**i)] * queries, kind=kind, batch=2) for i in range(blocks)]


def test_a_rate_that_never_settles_is_unstable_and_all_that_rests_on_it() -> None:
    rows = throughput.read(evidence([*drifting("throughput", 1.15), *drifting("single", 1.0)]), "now")
    for metric in (m.SLO_SAMPLES_PER_S, m.SLO_P99_AT_MAX_MS, m.GOODPUT_RATIO, m.CLIENT_CPU_RATIO):
        assert row_of(rows, metric).status is Status.UNSTABLE
        assert "not settled in 1 of 1 processes" in str(row_of(rows, metric).reason)
    assert row_of(rows, m.BATCH1_SAMPLES_PER_S).status is Status.MEASURED
    calm = throughput.read(evidence(drifting("throughput", 1.0)), "now")
    assert row_of(calm, m.SLO_SAMPLES_PER_S).status is Status.MEASURED


def test_one_long_block_that_a_slow_counter_needs_is_looked_into() -> None:
    taken = [round(MS * 1.15 ** (i // 100)) for i in range(1000)]
    rows = throughput.read(evidence([block("now", 0, taken, kind="throughput")]), "now")
    assert row_of(rows, m.SLO_SAMPLES_PER_S).status is Status.UNSTABLE
    few = throughput.read(evidence([block("now", 0, taken[:140], kind="throughput")]), "now")
    assert row_of(few, m.GOODPUT_RATIO).status is Status.MEASURED


def test_an_infeasible_limit_names_the_best_p99() -> None:
    rows = throughput.read(saturated(12.3, 600, batch=1), "now")
    row = row_of(rows, m.SLO_SAMPLES_PER_S)
    assert isinstance(row, Unmeasured)
    assert row.status is Status.FAILED
    assert row.reason == "slo_infeasible: best p99 12.3 ms > 7 ms at batch 1"
    assert value_of(rows, m.GOODPUT_RATIO) == 0.0


def search(ended: str) -> dict[str, object]:
    probes = [{"batch": b, "total_per_s": 1000.0 * b, "queries": 20} for b in (1, 2, 16)]
    return {"now": {"ended": ended, "probes": probes}}


def unbounded(blocks: list[MeasuredBlock], fastest: int, *, ended: str = "gain") -> list[Row]:
    found = evidence(
        [*saturated(2.0, 800).all_blocks, *blocks],
        search=search(ended),
        chosen_batches={"now": 8},
        fastest_batches={"now": fastest},
    )
    return throughput.read(found, "now")


def test_the_unbounded_maximum_is_measured_in_blocks_of_its_own_and_has_an_interval() -> None:
    taken = [[MS, MS], [MS, 2 * MS], [MS, MS], [2 * MS, MS]]
    blocks = [block("now", i, times, kind="offline", batch=16) for i, times in enumerate(taken)]
    rows = unbounded(blocks, 16)
    row = row_of(rows, m.OFFLINE_SAMPLES_PER_S)
    assert isinstance(row, Reading)
    assert row.value == pytest.approx(16 * 8 / 0.010)
    assert row.ci95 is not None
    assert row.ci95[0] < row.value < row.ci95[1]
    assert row.n == 8
    assert value_of(rows, m.OFFLINE_BATCH_COUNT) == 16
    assert value_of(rows, m.SLO_COST_RATIO) == pytest.approx(4000 / 12_800)


def test_where_the_fastest_batch_keeps_the_limit_the_limit_costs_nothing() -> None:
    rows = unbounded([], 8)
    assert value_of(rows, m.OFFLINE_SAMPLES_PER_S) == value_of(rows, m.SLO_SAMPLES_PER_S)
    assert value_of(rows, m.SLO_COST_RATIO) == 1.0


def test_a_maximum_that_proves_slower_than_the_bounded_rate_gives_way_to_it() -> None:
    rows = unbounded([block("now", i, [16 * MS] * 3, kind="offline", batch=16) for i in range(4)], 16)
    assert value_of(rows, m.OFFLINE_BATCH_COUNT) == 8
    assert value_of(rows, m.SLO_COST_RATIO) == 1.0


def test_the_clients_own_time_is_what_lies_outside_the_calls() -> None:
    blocks = [replace(block("now", i, [9 * MS] * 10, kind="throughput"), window_s=0.1) for i in range(4)]
    assert value_of(throughput.read(evidence(blocks), "now"), m.CLIENT_CPU_RATIO) == pytest.approx(0.1)


def test_a_single_stream_whose_rate_and_latency_disagree_says_so() -> None:
    blocks = [replace(block("now", i, [MS] * 10), window_s=0.0125) for i in range(4)]
    row = row_of(
        throughput.read(evidence([*saturated(2.0, 800).all_blocks[:8], *blocks]), "now"), m.BATCH1_SAMPLES_PER_S
    )
    assert str(row.reason).startswith("Little's law: rate x mean latency is 0.80")
    assert row_of(throughput.read(saturated(2.0, 800), "now"), m.BATCH1_SAMPLES_PER_S).reason is None


def test_a_rate_that_falls_while_it_is_measured_says_so() -> None:
    blocks = [block("now", i, [round((1 + 0.02 * i) * MS)] * 100, kind="throughput") for i in range(10)]
    row = row_of(throughput.read(evidence(blocks), "now"), m.SLO_SAMPLES_PER_S)
    assert str(row.reason).endswith("; the rate fell by 14% from first to last window")


def test_every_throughput_key_is_on_every_card() -> None:
    every = {metric.key for metric in m.CATALOGUE.values() if metric.letter is m.Letter.THROUGHPUT}
    for found in (saturated(2.0, 800), saturated(12.0, 600), evidence([])):
        assert {row.metric.key for row in throughput.read(found, "now")} == every
    assert {row.metric.key for row in throughput.absent("why")} == every


# ---- server mode -----------------------------------------------------------------------------------------------------
def server_run(rate: float, latency_ms: float, *, queries: int = 2000, slow: int = 0, **changes: Any) -> ServerRun:
    """Queries so far apart that they do not wait for each other, `slow` of them, spread out, of 20 ms."""
    latencies = np.full(queries, round(latency_ms * MS))
    latencies[np.linspace(0, queries - 1, slow, dtype=int)] = 20 * MS
    latencies += np.arange(queries) % 97
    fields: dict[str, Any] = {"process": 0, "certifies": True, "answered": queries, "batches": queries // 2}
    return ServerRun(
        label="now",
        rate_per_s=rate,
        due_ns=np.arange(queries) * 50 * MS,
        latencies_ns=latencies,
        busy_s=0.25 * queries / rate,
        window_s=queries / rate,
        **(fields | changes),
    )


def served(rate: float | None, *runs: ServerRun) -> list[Row]:
    point = {"rate_per_s": rate, "sizes": [1, 2], "max_queue_delay_ms": 0.0}
    blocks = [*saturated(2.0, 800).all_blocks, block("now", 0, [MS], process=max(run.process for run in runs))]
    found = evidence(blocks, server={"now": {"point": point}})
    return throughput.read(replace(found, all_server_runs=runs), "now")


def test_server_mode_that_nobody_asked_for_says_so() -> None:
    row = row_of(throughput.read(saturated(2.0, 800), "now"), m.POISSON_SAMPLES_PER_S)
    assert row.status is Status.NOT_MEASURED
    assert row.reason == "server mode was not asked for: measure.server or --server"


def test_a_certified_rate_gives_its_rows() -> None:
    rows = served(400.0, *[server_run(400.0, 2.0, slow=5) for _ in range(2)], server_run(400.0, 2.0, process=1))
    row = row_of(rows, m.POISSON_SAMPLES_PER_S)
    assert isinstance(row, Reading)
    assert (row.value, row.n) == (400.0, 6000)
    assert row.metric.method == "throughput.poisson.v1"
    assert value_of(rows, m.POISSON_P99_MS) == pytest.approx(2.0, abs=0.001)
    assert value_of(rows, m.POISSON_GOODPUT_RATIO) == pytest.approx(1 - 10 / 6000)
    assert value_of(rows, m.POISSON_BATCH_MEAN_COUNT) == 2.0
    assert value_of(rows, m.POISSON_BUSY_RATIO) == pytest.approx(0.25)


def test_runs_at_other_rates_and_of_the_search_are_not_counted() -> None:
    noise = [server_run(500.0, 9.0), server_run(400.0, 9.0, certifies=False)]
    rows = served(400.0, *noise, server_run(400.0, 2.0))
    assert row_of(rows, m.POISSON_SAMPLES_PER_S).status is Status.MEASURED


def test_a_rate_that_only_its_finder_ran_at_says_so() -> None:
    alone = [server_run(400.0, 2.0), server_run(500.0, 2.0, process=2)]
    assert "from 1 of 3 processes" in str(row_of(served(400.0, *alone), m.POISSON_SAMPLES_PER_S).reason)
    all_three = [server_run(400.0, 2.0, process=number) for number in range(3)]
    assert "processes" not in str(row_of(served(400.0, *all_three), m.POISSON_SAMPLES_PER_S).reason)


def test_a_rate_that_another_process_refutes_is_not_given() -> None:
    first = [server_run(400.0, 2.0, queries=9000) for _ in range(2)]
    rows = served(400.0, *first, server_run(400.0, 2.0, slow=40, process=1))
    reason = str(row_of(rows, m.POISSON_SAMPLES_PER_S).reason)
    assert reason.startswith("400/s was certified by the first process and not confirmed by process 1: 40 of 20000")


def test_a_rate_that_is_not_certified_says_what_the_queries_were_worth() -> None:
    row = row_of(served(None, server_run(400.0, 2.0, queries=300)), m.POISSON_SAMPLES_PER_S)
    assert row.status is Status.NOT_MEASURED
    assert "300 queries at 400/s; as they wait for each other they say as much as" in str(row.reason)
    assert "of 459 independent ones in the smoke profile" in str(row.reason)


def test_a_limit_that_no_rate_keeps_is_a_failure_with_the_best_p99() -> None:
    rows = served(None, server_run(10.0, 8.5, certifies=False), server_run(100.0, 30.0, certifies=False))
    row = row_of(rows, m.POISSON_SAMPLES_PER_S)
    assert row.status is Status.FAILED
    assert row.reason == "slo_infeasible: best p99 8.5 ms > 7 ms at 10 queries/s"


def test_a_search_that_ran_out_of_time_gives_no_maximum() -> None:
    base = saturated(2.0, 800)
    rows = throughput.read(evidence(list(base.all_blocks), search=search("time")), "now")
    assert "ran out of time at batch 16" in str(row_of(rows, m.OFFLINE_SAMPLES_PER_S).reason)


def test_throughput_pairs_compare_rates_at_each_engines_own_batch() -> None:
    blocks = [block("now", i, [4 * MS] * 5, kind="throughput", batch=8) for i in range(6)]
    blocks += [block("then", i, [MS] * 5, kind="throughput", batch=1) for i in range(6)]
    (ratio,) = throughput.paired_ratios(evidence(blocks), "now", "then")
    assert ratio.key == m.SLO_SAMPLES_PER_S.key
    assert ratio.per_process == (pytest.approx(math.log(2)),)
