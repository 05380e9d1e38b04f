"""The measure stage with real torch engines in place of the registry's, and its evidence read back."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Card, Status
from plaster_ops.engines import artifact, registry
from plaster_ops.flow.stages import measure
from plaster_ops.plaster import energy, latency, profiles, throughput
from plaster_ops.plaster.energy_points import points_s
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.meter import NoMeter, TickMeter
from plaster_ops.plaster.preflight import GpuLook
from plaster_ops.plaster.raw_files import load_evidence
from plaster_ops.plaster.sustained import least_metered_s
from plaster_ops.plaster.turns import SINGLE, SINGLE_ENERGY

QUICK = profiles.Profile(
    name="quick",
    processes=2,
    total_s=1000.0,
    warmup_s=0.01,
    warmup_limit_s=0.05,
    single_s=0.1,
    block_s=0.002,
    probe_s=0.01,
    search_limit_s=0.1,
    throughput_s=0.1,
    certify_limit_s=0.3,
    energy_block_s=0.05,
    eager_s=0.02,
    offline_s=0.05,
    server_s=0.8,
)


class TorchEngine:
    """A real model that runs in this process."""

    opened: list[str] = []  # noqa: RUF012
    closed: list[str] = []  # noqa: RUF012

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.name, self.threads = folder.name, threads
        self.model = torch.nn.Linear(6, 3).eval()
        self.opened.append(self.name)

    def run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            return (self.model(inputs[0]),)

    def effective_precision(self) -> str:
        return "fp32"

    def close(self) -> None:
        self.closed.append(self.name)


class Running:
    """Counts 10 W by the real clock, once in `tick_s`."""

    reason, notes, keep_s = "", (), 100.0

    def __init__(self, source: str, scope: str, tick_s: float) -> None:
        self.source, self.scope, self.tick_s = source, scope, tick_s
        self.closed = False

    def read_j(self) -> float:
        return 10.0 * time.perf_counter()

    def rebase(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


Measured = tuple[Evidence, list[dict[str, Any]], list[Any]]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    return measured_by(2, tmp_path, monkeypatch)


def measured_by(processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setitem(profiles.PROFILES, "quick", QUICK)
    monkeypatch.setattr(registry, "load_engine", TorchEngine)
    manifest = SimpleNamespace(spec=SimpleNamespace(backend="eager", device="cpu"))
    monkeypatch.setattr(artifact, "read_manifest", lambda _: manifest)
    TorchEngine.opened.clear()
    TorchEngine.closed.clear()
    samples = tmp_path / "samples.safetensors"
    save_file({"g0/in0": torch.randn(20, 6)}, samples)
    threads = torch.get_num_threads()
    first: dict[str, Any] = {}
    results, folders = [], []
    events: list[Any] = []
    for process in range(processes):
        folder = tmp_path / f"p{process}"
        folder.mkdir()
        spec = {
            "engines": [{"label": label, "folder": str(tmp_path / label)} for label in ("now", "then")],
            "samples": str(samples),
            "profile": "quick",
            "process": process,
            "slo_ms": 1000.0,
            "batches": [1, 2],
            "threads": 1,
            "device": "cpu",
            "max_queue_delay_ms": 0.5,
            **{found: first.get(found) for found in ("chosen_batches", "fastest_batches", "server")},
            "eager": str(tmp_path / "eager"),
        }
        result = measure.run(spec, folder, events.append)
        (folder / "result.json").write_text(json.dumps(result))
        first = first or result
        results.append(result)
        folders.append(folder)
    torch.set_num_threads(threads)
    return load_evidence(folders), results, events


def test_two_processes_measure_all_engines_and_their_evidence_makes_a_card(
    measured: Measured,
) -> None:
    evidence, results, events = measured
    for label in ("now", "then"):
        rows = [*latency.read(evidence, label), *throughput.read(evidence, label), *energy.read(evidence, label)]
        card = Card.of(rows)
        assert card.value(m.E2E_P50_MS) is not None
        assert card.value(m.CPU_TIME_PER_INFERENCE_S) is not None
        assert card.find(m.SLO_SAMPLES_PER_S) is not None
    assert evidence.processes == 2
    assert latency.p50_ms(evidence, "eager", "eager") is not None
    p50, _ = latency.paired_ratios(evidence, "now", "then")
    assert len(p50.per_process) == 2
    assert (results[0]["search"] is None, results[1]["search"] is None) == (False, True)
    assert results[0]["chosen_batches"] == results[1]["chosen_batches"]
    assert events[-1]["done"] == events[-1]["total"]
    assert results[0]["input_shapes"] == ["6"]


def test_server_mode_keeps_every_query_of_every_run_and_the_second_process_confirms(
    measured: tuple[Evidence, list[dict[str, Any]], list[Any]],
) -> None:
    evidence, results, _ = measured
    for label in ("now", "then"):
        runs = evidence.server_runs(label)
        told = results[0]["server"][label]["point"]
        assert told["sizes"] in ([1], [1, 2])
        assert sum(run.process == 0 for run in runs) == len(results[0]["server"][label]["runs"]) > 0
        for run in runs:
            assert run.answered <= len(run.due_ns) == len(run.latencies_ns)
            assert (run.latencies_ns > 0).all()
        if told["rate_per_s"] is not None:
            (again,) = [run for run in runs if run.process == 1]
            assert (again.rate_per_s, again.certifies) == (told["rate_per_s"], True)
        (row,) = [row for row in throughput.read(evidence, label) if row.metric is m.POISSON_SAMPLES_PER_S]
        assert row.reason


def test_the_order_of_loading_alternates_and_every_engine_is_closed(
    measured: Measured,
) -> None:
    assert TorchEngine.opened == ["now", "then", "eager", "eager", "then", "now"]
    assert sorted(TorchEngine.closed) == sorted(TorchEngine.opened)
    for result in measured[1]:
        for row in result["engines"].values():
            assert row["load_s"] >= 0.0
            assert row["first_inference_ms"] > 0.0
            assert row["effective_precision"] == "fp32"


def test_what_loading_took_of_memory_is_told_and_where_it_ran(measured: Measured) -> None:
    _, results, _ = measured
    assert all(row["device"] == "cpu" for result in results for row in result["engines"].values())
    assert measure._taken(5, 9) == {"memory_bytes": 4, "memory_reason": ""}
    fell = measure._taken(9, 5)
    assert fell["memory_bytes"] is None
    told: dict[str, Any] = {"memory_bytes": None, "memory_reason": "it fell"}
    known = ({"memory_bytes": taken} for taken in (10, 30))
    results = [{"engines": {"now": row}} for row in (*known, told)]
    found = Evidence(results=tuple(results), all_blocks=())
    assert (found.engine_memory_bytes("now"), found.why_no_memory("now")) == (20, "it fell")
    assert found.engine_memory_bytes("then") is None


def test_an_older_record_says_where_its_engines_ran() -> None:
    old = Evidence(results=({"device": "cuda:0", "engines": {"now": {}, "eager": {}}},), all_blocks=())
    assert (old.device_of("now"), old.device_of("eager")) == ("cuda:0", "cpu")


def test_a_fine_counter_meters_every_block_and_memory_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, memory = Running("rapl", "cpu package", 0.001), Running("rapl", "dram", 0.001)
    monkeypatch.setattr(measure, "open_counter", lambda _: package)
    monkeypatch.setattr(measure, "open_memory_counter", lambda _: memory)
    evidence, _, _ = measured_by(1, tmp_path, monkeypatch)
    assert all(block.energy is not None for block in evidence.all_blocks)
    rows = Card.of(energy.read(evidence, "now"))
    wanted = (m.CPU_ENERGY_PER_INFERENCE_J, m.DRAM_ENERGY_PER_INFERENCE_J, m.SINGLESTREAM_ENERGY_PER_INFERENCE_J)
    values = [rows.value(metric) for metric in wanted]
    assert all(value is not None and value > 0 for value in values)
    assert package.closed
    assert memory.closed


def test_a_slow_counter_gets_blocks_of_its_own_and_a_look_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "open_counter", lambda _: Running("nvml", "gpu", 0.1))
    monkeypatch.setattr(measure, "idle_s", lambda *_: 0.05)
    evidence, results, _ = measured_by(1, tmp_path, monkeypatch)
    assert len(evidence.blocks(SINGLE_ENERGY, "now")) == 2 * len(results)
    assert not any(block.energy for block in evidence.blocks(SINGLE, "now"))
    assert all({"lost", "idle", "notes"} <= result["energy"].keys() for result in results)


def test_heat_under_load_and_company_make_a_process_suspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []

    def look(_: str, *, has_context: bool) -> GpuLook:
        looks.append(has_context)
        return GpuLook(note="not known")

    monkeypatch.setattr(measure, "look_at_gpu", look)
    monkeypatch.setattr(measure, "braked", lambda windows: "hot" * (len(list(windows)) > 0))
    evidence, results, _ = measured_by(1, tmp_path, monkeypatch)
    assert looks == [False, True]
    assert results[0]["machine"]["suspect"] == "hot"
    assert "not known" in results[0]["machine"]["notes"]
    assert evidence.trust() == (Status.SUSPECT, "hot")
    rows = [*latency.read(evidence, "now"), *throughput.read(evidence, "now"), *energy.read(evidence, "now")]
    assert Card.of(rows).find(m.E2E_P50_MS).status is Status.SUSPECT


def test_a_machine_without_counters_gives_a_reason_instead_of_joules(
    measured: Measured,
) -> None:
    row = energy.read(measured[0], "now")[0]
    if row.status is Status.NOT_MEASURED:
        assert "RAPL" in str(row.reason)
    else:
        assert str(row.reason).startswith("scope: cpu package")


@pytest.mark.parametrize("name", ["smoke", "standard"])
def test_a_process_keeps_a_second_of_its_budget_for_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started late, so that its durations must be shortened: what is left is spent but for that second."""
    profile = profiles.find_profile(name)
    late_s = 0.4 * profile.process_limit_s(2)
    monkeypatch.setattr(measure, "process_age_s", lambda: late_s)
    spec = {"engines": [{"label": "now"}, {"label": "then"}], "chosen_batches": None, "eager": "eager"}
    fitted = measure._fitted(profile, spec, NoMeter())
    needed_s = fitted.needed_s(2, searching=True, eager=True)
    assert needed_s == pytest.approx(profile.process_limit_s(2) - late_s - 1.0)


def test_throughput_that_a_slow_counter_keeps_long_is_made_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_s = profiles.SMOKE.process_limit_s(2)
    monkeypatch.setattr(measure, "process_age_s", lambda: 0.1 * limit_s)
    spec = {"engines": [{"label": "now"}, {"label": "then"}], "chosen_batches": {"now": 1, "then": 1}, "eager": None}
    meter = TickMeter(Running("nvml", "gpu", 0.1))
    fitted = measure._fitted(profiles.SMOKE, spec, meter)
    rest_s = fitted.needed_s(2, searching=False, eager=False) - 2 * fitted.throughput_s
    metered_s = 2 * least_metered_s(fitted, meter) + points_s(fitted, meter, 2, searching=False)
    assert rest_s + metered_s == pytest.approx(0.9 * limit_s - 1.0)
