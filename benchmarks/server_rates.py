"""Is a certified rate true? 100 searches on queues whose largest rate is known in closed form.

`python benchmarks/server_rates.py [--seeds 100] [--queries 600000]` lets the search that `--server` uses certify the
largest Poisson rate of simulated servers (M/M/1 and M/D/1, the limit is their p99 at 90 % load) and compares each
certified rate with the truth. Then the pass rule on raw and on effective counts, at a rate whose p99 is exactly the
limit: it should pass at most once in a hundred times.

Every query is taken from Lindley's recursion, which gives the server's latencies to the nanosecond
(`tests/plaster/test_server.py`) in less time; `--by-server` has the server itself answer them all. Takes
about three minutes on one core, by the server half an hour.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from plaster_ops.plaster.clustering import judge_tail
from plaster_ops.plaster.percentiles import passes
from tests.plaster.queues import CAPACITY_PER_S, LAWS, certified_load, is_over_ms, limit_ms, recursed_ns

LOAD = 0.9


def search_study(law: str, seeds: int, queries: int, *, by_server: bool) -> None:
    slo_ms = limit_ms(law, LOAD)
    began_s = time.process_time()
    errors, broken, nothing = [], 0, 0
    for seed in range(seeds):
        rate = certified_load(law, slo_ms, queries, seed, by_recursion=not by_server).rate_per_s
        if rate is None:
            nothing += 1
            continue
        errors.append(rate / (CAPACITY_PER_S * LOAD) - 1)
        broken += is_over_ms(law, rate / CAPACITY_PER_S, slo_ms) > 0.01
    found = np.sort(errors)
    print(
        f"{law} {queries} queries a run, {seeds} seeds: certified {len(found)}, nothing {nothing}, bound broken "
        f"{broken}; certified / truth - 1: least {found[0]:+.4f}, median {np.median(found):+.4f}, most {found[-1]:+.4f}"
        f", within 3 %: {int((np.abs(found) <= 0.03).sum())}; {(time.process_time() - began_s) / seeds:.1f} CPU s each",
        flush=True,
    )


def rule_study(law: str, load: float, queries: int, repeats: int) -> None:
    slo_ns = limit_ms(law, load) * 1e6
    raw = corrected = 0
    for seed in range(repeats):
        tail = judge_tail(*recursed_ns(law, load, queries, [seed]), slo_ns)
        raw += passes(tail.queries, tail.over)
        corrected += tail.passes()
    print(
        f"{law} at {load:.0%}, {queries} queries, p99 = the limit: raw counts pass {raw / repeats:.1%}, "
        f"effective ones {corrected / repeats:.1%} of {repeats}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--queries", type=int, default=600_000)
    parser.add_argument("--by-server", action="store_true")
    parser.add_argument("--law", choices=LAWS, default=None)
    wanted = parser.parse_args()
    for law in [wanted.law] if wanted.law else LAWS:
        for load in (0.5, 0.8, 0.9, 0.95):
            rule_study(law, load, 20_000, 1000)
        search_study(law, wanted.seeds, wanted.queries, by_server=wanted.by_server)


if __name__ == "__main__":
    main()
