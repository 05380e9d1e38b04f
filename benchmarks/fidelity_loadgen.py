"""MLPerf LoadGen as one side of `benchmarks/fidelity.py`: it drives an engine, and its own log is read back."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.plaster.percentiles import early_stopping_estimate, percentile

QUANTILES = (0.50, 0.90, 0.99)
ESTIMATES = (0.90, 0.99)
BATCH = 8
SAMPLES = 64

Run = Callable[..., Any]
Queries = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one side says after one turn. Times in ns; `whole_ns` is a query with all that the side does around it.

    `inside_ns` are LoadGen's queries by two readings of the clock in its callback; its own are read from its trace.
    """

    values: dict[str, float]
    whole_ns: float
    taken_ns: Sequence[int] = ()
    inside_ns: Sequence[int] = ()


def summary(latencies_ns: Sequence[int]) -> dict[str, float]:
    """Percentiles by nearest rank, and the early-stopping estimates that this many queries allow."""
    ordered = sorted(latencies_ns)
    values: dict[str, float] = {f"p{q * 100:.0f}": percentile(ordered, q) for q in QUANTILES}
    for quantile in ESTIMATES:
        estimate = early_stopping_estimate(ordered, quantile)
        if estimate is not None:
            values[f"p{quantile * 100:.0f} estimate"] = estimate
    return values


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadGen:
    """MLPerf LoadGen on one engine; every turn is a test of its own, its logs in `folder`.

    Logs are written when a test has ended: the thread that polls for them meanwhile slows what is timed, on two cores
    a query of 1 ms by 9 to 18 us.
    """

    module: Any
    folder: Path

    def single_stream(self, run: Run, queries: Queries, count: int, *, trace: bool = False) -> Told:
        """One query at a time, samples in LoadGen's random order; an answer lives until its query is completed."""
        lg, clock_ns = self.module, time.perf_counter_ns
        inside_ns: list[int] = []
        keep = inside_ns.append

        def issue(samples: list[Any]) -> None:
            for sample in samples:
                begin_ns = clock_ns()
                answer = run(*queries[sample.index])
                keep(clock_ns() - begin_ns)
                lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])
                del answer

        log = self._test(issue, self._one_by_one(count), len(queries), trace=trace)
        return Told(
            values=self._figures(log),
            whole_ns=1e9 / float(log["result_qps_with_loadgen_overhead"]),
            taken_ns=self.trace_ns() if trace else (),
            inside_ns=inside_ns,
        )

    def nothing_beside(self, run: Run, queries: Queries, count: int) -> dict[str, float]:
        """What LoadGen tells of nothing while the engine runs between its queries, so that caches are as it leaves
        them."""
        lg = self.module

        def issue(samples: list[Any]) -> None:
            for sample in samples:
                inputs = queries[sample.index]
                lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])
                run(*inputs)

        return self._figures(self._test(issue, self._one_by_one(count), len(queries)))

    def offline(self, run: Run, batches: Queries, count: int) -> tuple[float, float]:
        """Seconds a batch: one query of all samples, answered in batches that are ready, as they are for our loop.

        The second number is the part of it that completing the batch took.
        """
        lg, clock_ns = self.module, time.perf_counter_ns
        own_ns = 0

        def issue(samples: list[Any]) -> None:
            nonlocal own_ns
            for number, start in enumerate(range(0, len(samples), BATCH)):
                run(*batches[number % len(batches)])
                begin_ns = clock_ns()
                part = samples[start : start + BATCH]
                lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0) for sample in part])
                own_ns += clock_ns() - begin_ns

        settings = lg.TestSettings()
        settings.scenario = lg.TestScenario.Offline
        settings.offline_expected_qps = 1.0
        settings.min_query_count = count * BATCH
        rate_per_s = float(self._test(issue, settings, SAMPLES)["result_samples_per_second"])
        return BATCH / rate_per_s, own_ns * 1e-9 / count

    def _one_by_one(self, count: int) -> Any:
        settings = self.module.TestSettings()
        settings.scenario = self.module.TestScenario.SingleStream
        settings.min_query_count = settings.max_query_count = count
        return settings

    @staticmethod
    def _figures(log: dict[str, Any]) -> dict[str, float]:
        values = {f"p{q * 100:.0f}": float(log[f"result_{q * 100:.2f}_percentile_latency_ns"]) for q in QUANTILES}
        for found in re.finditer(r"stopping (\d+)\.0th percentile estimate: (\d+)", str(log["early_stopping_result"])):
            values[f"p{found[1]} estimate"] = float(found[2])
        return values

    def trace_ns(self) -> list[int]:
        """Every latency of the test that was run last with `trace`."""
        text = (self.folder / "mlperf_log_trace.json").read_text(encoding="utf-8")
        return [int(taken) for taken in re.findall(r'"issue_start_ns":0,"complete_ns":(\d+)', text)]

    def _test(self, issue: Run, settings: Any, samples: int, *, trace: bool = False) -> dict[str, Any]:
        lg = self.module
        settings.mode = lg.TestMode.PerformanceOnly
        settings.min_duration_ms = 0
        log = lg.LogSettings()
        output = lg.LogOutputSettings()
        output.outdir, output.copy_summary_to_stdout = str(self.folder), False
        log.log_output, log.enable_trace = output, trace
        log.log_mode = lg.LoggingMode.EndOfTestOnly
        sut = lg.ConstructSUT(issue, lambda: None)
        library = lg.ConstructQSL(samples, samples, lambda _: None, lambda _: None)
        try:
            lg.StartTestWithLogSettings(sut, library, settings, log)
        finally:
            lg.DestroyQSL(library)
            lg.DestroySUT(sut)
        lines = (self.folder / "mlperf_log_detail.txt").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith(":::MLLOG")]
        return {entry["key"]: entry["value"] for entry in entries}


@contextmanager
def loadgen() -> Iterator[LoadGen]:
    """LoadGen with a temporary folder for its logs; leaves with what to install where it is missing."""
    try:
        import mlperf_loadgen
    except ImportError:
        sys.exit("LoadGen is missing: pip install --target FOLDER mlcommons-loadgen, and PYTHONPATH=FOLDER:$PYTHONPATH")
    with tempfile.TemporaryDirectory() as folder:
        yield LoadGen(module=mlperf_loadgen, folder=Path(folder))
