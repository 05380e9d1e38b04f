"""Comparisons whose truth is known, from the latency of a single query up. Imported by `verdicts.py`.

One comparison: two engines take turns in R fresh processes, 30 turns of 16 queries at batch 1 and 12 turns of 16
queries at batch 8 each. The log of a query's time is the sum of

* the process's effect on both engines (sd `PROCESS_SD`), and on each engine alone (sd `ENGINE_SD`),
* noise that a query shares with its neighbours (AR(1), .7, sd 15 %), one path for both engines, as they take turns,
* for 3 % of queries a slow tail of up to three times.

The blocks become evidence, rows and paired ratios by the code that reads a measurement, the machine's own noise is
taken from the same blocks, and `compare_cards` judges: p50, p90, samples/s, CPU time, a score paired over 2,000
samples, and train-to-engine seconds against 8 earlier retrains. p50 also stands against 8 of 400 earlier retrains that
were simulated in the same way; a retrain as a whole adds `RETRAIN_SD`.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from plaster_ops.domain.card import Card, Reading, Row
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import CATALOGUE, E2E_P50_MS, ROLLING_SCORE, TRAIN_TO_ENGINE_S, Better, Scale
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.flow.noise import noise_of, paired_ratios
from plaster_ops.plaster import latency
from plaster_ops.plaster.evidence import Evidence as Measured
from plaster_ops.plaster.evidence import MeasuredBlock
from plaster_ops.plaster.intervals import percentile_interval_ms
from plaster_ops.plaster.proportions import Z90, Z95, mcnemar_midp, paired_interval
from plaster_ops.plaster.turns import SINGLE, THROUGHPUT

PROCESS_SD, ENGINE_SD, RETRAIN_SD = 0.015, 0.015, 0.0105
NOISE_SD, NEIGHBOURS, TAIL = 0.15, 0.7, 0.03
TURNS = ((SINGLE, 30, 16, 1), (THROUGHPUT, 12, 16, 8))
SAMPLES, EARLIER = 2000, 8
DECIDED = (Judgement.BETTER, Judgement.WORSE)


def ar_path(rng: np.random.Generator, count: int, sd: float) -> np.ndarray:
    """Noise that neighbours share."""
    from scipy.signal import lfilter

    steps = rng.normal(0.0, sd * math.sqrt(1 - NEIGHBOURS**2), count + 50)
    return np.asarray(lfilter([1.0], [1.0, -NEIGHBOURS], steps))[50:]


def process_blocks(rng: np.random.Generator, process: int, shift: float, noise: float) -> list[MeasuredBlock]:
    """The turns of one fresh process; `now` is slower by `shift` (a log), all noise `noise` times as wide as usual."""
    common = rng.normal(0.0, noise * PROCESS_SD)
    own = {"now": shift + rng.normal(0.0, noise * ENGINE_SD), "then": rng.normal(0.0, noise * ENGINE_SD)}
    blocks = []
    for kind, turns, queries, batch in TURNS:
        path = ar_path(rng, 2 * turns * queries, noise * NOISE_SD)
        slow = np.where(rng.random(len(path)) < TAIL, rng.uniform(0.3, 1.1, len(path)), 0.0)
        times_ns = 1e6 * batch**0.7 * np.exp(common + path + slow)
        for turn in range(2 * turns):
            index, second = divmod(turn, 2)
            label = ("now", "then")[(second + index) % 2]
            took = (times_ns[turn * queries : (turn + 1) * queries] * math.exp(own[label])).astype(np.int64)
            window_s = float(took.sum()) * 1e-9
            blocks.append(
                MeasuredBlock(
                    process=process,
                    kind=kind,
                    label=label,
                    index=index,
                    batch=batch,
                    window_s=window_s,
                    cpu_s=window_s,
                    latencies_ns=took,
                )
            )
    return blocks


def measured(rng: np.random.Generator, restarts: int, shift: float, noise: float) -> Measured:
    """The evidence of one comparison."""
    blocks = [block for p in range(restarts) for block in process_blocks(rng, p, shift, noise)]
    result = {
        "profile": "standard",
        "slo_ms": 50.0,
        "engines": {},
        "chosen_batches": {"now": 8, "then": 8},
        "machine": {"suspect": None, "notes": []},
        "energy": {"source": "", "reason": "no counter"},
    }
    return Measured(results=(result,) * restarts, all_blocks=tuple(blocks))


def score_pair(rng: np.random.Generator) -> PairedDifference:
    """Two equally good models that disagree on 4 % of the samples."""
    gained, lost = (int(rng.binomial(SAMPLES, 0.02)) for _ in range(2))
    return PairedDifference(
        key=ROLLING_SCORE.key,
        delta=(gained - lost) / SAMPLES,
        ci95=paired_interval(gained, lost, SAMPLES, Z95),
        ci90=paired_interval(gained, lost, SAMPLES, Z90),
        p_value=mcnemar_midp(gained, lost),
        method="mcnemar_midp",
        n=SAMPLES,
        gained=gained,
        lost=lost,
    )


def card(seen: Measured, label: str, found: Sequence[PairedRatios], score: float, took_s: float) -> Card:
    """The rows that are judged; p50 with its interval, as a card has it."""
    blocks = seen.blocks(SINGLE, label)
    value_ms = latency.p50_ms(seen, label) or 0.0
    rows: list[Row] = [Reading(metric=CATALOGUE[pair.key], value=1.0) for pair in found if pair.key != E2E_P50_MS.key]
    rows.append(Reading(metric=E2E_P50_MS, value=value_ms, ci95=percentile_interval_ms(blocks, 0.5)))
    rows.append(Reading(metric=ROLLING_SCORE, value=score, better=Better.HIGHER))
    rows.append(Reading(metric=TRAIN_TO_ENGINE_S, value=took_s))
    return Card.of(rows)


def as_logged(found: Card, rng: np.random.Generator, sd: float) -> Card:
    """The card with what this retrain, unlike its engine's restarts, adds to p50."""
    effect = math.exp(rng.normal(0.0, sd))
    rows: list[Row] = []
    for row in found:
        if isinstance(row, Reading) and row.metric is E2E_P50_MS and row.ci95:
            row = replace(row, value=row.value * effect, ci95=(row.ci95[0] * effect, row.ci95[1] * effect))
        rows.append(row)
    return Card.of(rows)


@cache
def earlier_ms(restarts: int, noise: float) -> np.ndarray:
    """p50 as 400 retrains in which nothing changed would log it."""
    rng, found = np.random.default_rng(7), []
    for _ in range(400):
        seen = measured(rng, restarts, 0.0, noise)
        found.append(as_logged(card(seen, "now", (), 0.9, 100.0), rng, noise * RETRAIN_SD).value(E2E_P50_MS))
    return np.array(found)


def compared(
    rng: np.random.Generator, *, shift: float = 0.0, restarts: int = 3, noise: float = 1.0
) -> tuple[Comparison, ...]:
    """One comparison, judged by the code that judges a retrain; latencies are `noise` times as noisy as usual."""
    seen = measured(rng, restarts, shift, noise)
    found = paired_ratios(seen, "now", "then")
    score = score_pair(rng)
    seconds = 100 * np.exp(rng.normal(0.0, 0.04, EARLIER + 1))
    now = card(seen, "now", list(found.values()), 0.9 + score.delta, float(seconds[-1]))
    then = card(seen, "then", list(found.values()), 0.9, 100.0)
    before = rng.choice(earlier_ms(restarts, noise), EARLIER, replace=False)
    history = {
        TRAIN_TO_ENGINE_S.key: [float(value) for value in seconds[:-1]],
        E2E_P50_MS.key: [float(value) for value in before],
    }
    machine = noise_of(seen, ("now", "then"), {}, {})
    evidence = Evidence(ratios=found, differences={score.key: score}, noise=machine)
    return compare_cards(now, then, evidence, history=history, recorded=as_logged(now, rng, noise * RETRAIN_SD))


def p50(rows: Sequence[Comparison]) -> Comparison:
    """The row of the median latency."""
    return next(row for row in rows if row.metric is E2E_P50_MS)


def wrongly_same(rows: Sequence[Comparison]) -> int:
    """Rows called the same whose 90 % interval, had again from the 95 % one, is not inside the margin.

    By Student's t with the least degrees of freedom that a row has (5), in logs for ratios: it reaches furthest.
    """
    inner = 2.0150 / 2.5706
    wrong = 0
    for row in rows:
        if row.judgement is Judgement.SAME and row.ci95 is not None and row.change is not None and row.limit:
            ratio = row.metric.scale is not Scale.DIFFERENCE
            low, middle, high = (math.log1p(x) if ratio else x for x in (row.ci95[0], row.change, row.ci95[1]))
            bounds = [middle + inner * (bound - middle) for bound in (low, high)]
            shown = [math.expm1(bound) if ratio else bound for bound in bounds]
            wrong += shown[0] < -row.limit or shown[1] > row.limit
    return wrong


def run(cases: int, seed: int, noise: float, slow: float) -> None:
    """Every figure of the table in docs/benchmarks.md."""
    rng = np.random.default_rng(seed)
    began_s = time.monotonic()
    nulls = [compared(rng, noise=noise) for _ in range(cases)]
    decided = sum(any(row.judgement in DECIDED for row in rows) for rows in nulls)
    bare = sum(any(row.p_adjusted is not None and row.p_adjusted <= 0.05 for row in rows) for rows in nulls)
    past = [found for found in (p50(rows).history for rows in nulls) if found is not None]
    tested = sum(row.p_value is not None for rows in nulls for row in rows) / cases
    print(f"nothing changed, 3 restarts a side, {cases} comparisons, {tested:.1f} tested rows each")
    print(f"  any row better or worse: {decided / cases:.2%}; beyond zero after correction: {bare / cases:.2%}")
    print(f"  p50: {_words(p50(rows).judgement for rows in nulls)}")
    beyond = sum(found.p_value is not None and found.p_value <= 0.05 for found in past)
    print(f"  p50 against 8 earlier: {_words(found.judgement for found in past)}; beyond zero {beyond / cases:.2%}")
    print(f"  called the same with a 90 % interval beyond the margin: {sum(map(wrongly_same, nulls))} rows")
    print(f"  {time.monotonic() - began_s:.0f} s", flush=True)
    spreads = ", ".join(f"{each} restarts {np.std(np.log(earlier_ms(each, noise))):.1%}" for each in (2, 3, 6))
    print(f"p50 of retrains in which nothing changed spreads by: {spreads}")
    shift, some = math.log1p(slow), cases // 4
    for restarts in (2, 3, 6):
        rows_of = [compared(rng, shift=shift, restarts=restarts, noise=noise) for _ in range(some)]
        past = [found for found in (p50(rows).history for rows in rows_of) if found is not None]
        print(f"p50 {slow:+.0%}, {restarts} restarts, {some} times: {_words(p50(rows).judgement for rows in rows_of)}")
        print(f"  against 8 earlier retrains: {_words(found.judgement for found in past)}", flush=True)


def _words(found: Iterable[Judgement]) -> str:
    counts = Counter(found)
    return ", ".join(f"{word} {count / counts.total():.1%}" for word, count in counts.most_common())
