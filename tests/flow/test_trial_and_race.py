"""The trial and the race as they are, on small engines that were built: who is refused and why, who is taken."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from plaster_ops.data.samples import SampleKeeper
from plaster_ops.domain.timeline import Timeline
from plaster_ops.engines.artifact import spec_from_json
from plaster_ops.engines.choice import Raced
from plaster_ops.engines.export import load_program
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, TrainingFailed
from plaster_ops.flow import context
from plaster_ops.flow.context import Context
from plaster_ops.flow.ladder import Ladder, climb
from plaster_ops.flow.race import race
from plaster_ops.flow.stages import build, export, measure, trial
from plaster_ops.plaster import profiles
from plaster_ops.ports import Capabilities, Engine, EngineSpec
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock
from tests.engines import models
from tests.engines.doubles import SpinningBackend, SpinningEngine

HERE = "tests.flow.test_trial_and_race"
WRONG, NUDGED, STUMBLING = "tests.engines.doubles:WrongBackend", f"{HERE}:NudgedBackend", f"{HERE}:StumblingBackend"
FAST, NEAR, SLOW = f"{HERE}:FastBackend", f"{HERE}:NearBackend", f"{HERE}:SlowBackend"
ROWS, MAX_BATCH = 240, 8


# ---- the pipeline and its engines ----------------------------------------------------------------------------------
class HeldOut:
    """The newest rows; their labels are what the model says."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def setup(self, stage: str) -> None:
        assert stage == "test"

    def test_dataloader(self) -> Any:
        inputs = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(5))[: self.rows]
        with torch.no_grad():
            targets = made()(inputs).argmax(1)
        return DataLoader(TensorDataset(inputs, targets), batch_size=50)


def made() -> nn.Module:
    torch.manual_seed(7)
    return models.mlp().eval()


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs.argmax(1) == targets).double().mean())


class Pipeline:
    higher_is_better = True
    score = staticmethod(accuracy)
    rows = ROWS

    def model(self) -> nn.Module:
        return made()

    def data(self, window: Any) -> HeldOut:
        del window
        return HeldOut(self.rows)

    def sample_batch(self, n: int) -> Tensor:
        return models.mlp_inputs(n)


class Unscored(Pipeline):
    def score(self, outputs: Tensor, targets: Tensor) -> float:
        del outputs, targets
        return float("nan")


class Nudged(SpinningEngine):
    """Lowers the largest output by 8 % of the range: within what int8 may, and enough to change many an answer."""

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (outputs,) = self._inner.run(*inputs)
        largest = torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1])
        return (outputs - 0.08 * outputs.abs().max() * largest,)

    def effective_precision(self) -> str:
        return "int8"


class NudgedBackend(SpinningBackend):
    """Passes for an engine in 8 bits that lost some of its score."""

    name = "nudged"

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("int8",), calibrated=())

    def load(self, folder: Path, spec: EngineSpec) -> Nudged:
        return Nudged(super().load(folder, spec), 0.0)

    def _inner(self, spec: EngineSpec) -> tuple[Any, EngineSpec, float]:
        return super()._inner(replace(spec, precision="fp32", options=()))


class Stumbling(SpinningEngine):
    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if inputs[0].shape[0] > 3:
            raise MemoryError("arena of 12 bytes\nis full")
        return self._inner.run(*inputs)


class StumblingBackend(SpinningBackend):
    """Raises an error of its own library for batches of more than three."""

    name = "stumbling"

    def load(self, folder: Path, spec: EngineSpec) -> Engine:  # type: ignore[override]
        return Stumbling(super().load(folder, spec), 0.0)


class Paced(SpinningEngine):
    """Answers as another engine does, `least_s` after it was asked at the earliest: as fast on any machine."""

    def __init__(self, inner: Engine, least_s: float) -> None:
        super().__init__(inner, 0.0)
        self.least_s = least_s

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        until_s = time.perf_counter() + self.least_s
        outputs = self._inner.run(*inputs)
        while time.perf_counter() < until_s:
            pass
        return outputs


class FastBackend(SpinningBackend):
    name, inner, least_s = "fast", "openvino", 0.002

    def load(self, folder: Path, spec: EngineSpec) -> Engine:  # type: ignore[override]
        return Paced(super().load(folder, spec), self.least_s)

    def _inner(self, spec: EngineSpec) -> tuple[Any, EngineSpec, float]:
        return find_backend(self.inner), replace(spec, backend=self.inner, options=()), 0.0


class NearBackend(FastBackend):
    """Half as slow again."""

    name, inner, least_s = "near", "eager", 0.003


class SlowBackend(FastBackend):
    """More than twice as slow."""

    name, inner, least_s = "slow", "onnxruntime", 0.009


# ---- what came before ----------------------------------------------------------------------------------------------
class Ready:
    """The model exported, its weights and samples stored, and engines that are built when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples = folder / "samples.safetensors"
        keeper = SampleKeeper()
        keeper.add((models.mlp_inputs(16),))
        keeper.save(self.samples)
        spec = {
            "reference": f"{HERE}:Pipeline",
            "project": str(Path(__file__).parents[2]),
            "weights": None,
            "samples": str(self.samples),
            "max_batch": MAX_BATCH,
            "eager": {"threads": 1},
            "device": "cpu",
        }
        self.exported = export.run(spec, folder, lambda _: None)
        self.program = load_program(Path(self.exported["program"]))
        self._built: dict[str, Path] = {}

    def engine(self, backend: str, precision: str = "fp32") -> Path:
        """The folder of that engine."""
        label = f"{backend.replace(':', '.')}-{precision}"
        if label not in self._built:
            fields = {"backend": backend, "precision": precision, "device": "cpu", "batch": [1, 4, MAX_BATCH]}
            wanted = spec_from_json(fields | {"threads": 1, "options": {}, "inputs": self.exported["inputs"]})
            out = self.folder / f"engine-{label}"
            build.build_folder(
                self.program, wanted, out, self.exported["graph_digest"], self.exported["weights_digest"]
            )
            self._built[label] = out
        return self._built[label]

    def trial_spec(self, **changed: Any) -> dict[str, Any]:
        return {
            "reference": f"{HERE}:Pipeline",
            "project": str(Path(__file__).parents[2]),
            "window": {"learned": None, "seen": None, "cut": None, "end": None},
            "samples": str(self.samples),
            "weights": self.exported["weights"],
            "structure": self.exported["structure"],
            "max_batch": MAX_BATCH,
            "batch": MAX_BATCH,
            "timeout_s": 60.0,
            "retained_ratio": 0.99,
            "max_lost_score": 0.01,
            "inconclusive": "reject",
            **changed,
        }


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return Ready(tmp_path_factory.mktemp("ready"))


# ---- the trial -----------------------------------------------------------------------------------------------------
Try = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def events() -> list[Mapping[str, Any]]:
    return []


@pytest.fixture
def tried(ready: Ready, tmp_path: Path, events: list[Mapping[str, Any]]) -> Try:
    """Results of the stage `trial` for the engines in these folders, by label."""

    def run(folders: Mapping[str, Path], **changed: Any) -> dict[str, dict[str, Any]]:
        rows = [{"label": label, "folder": str(folder)} for label, folder in folders.items()]
        spec = ready.trial_spec(candidates=rows, **changed)
        result = trial.run(json.loads(json.dumps(spec)), tmp_path, events.append)
        found: dict[str, dict[str, Any]] = json.loads(json.dumps(result))["results"]
        return found

    return run


def test_engines_that_answer_as_eager_does_are_kept_with_their_score_and_rough_speed(ready: Ready, tried: Try) -> None:
    results = tried({name: ready.engine(name) for name in ("openvino", "eager", "onnxruntime")})
    assert list(results) == ["openvino", "eager", "onnxruntime"]
    for result in results.values():
        assert (result["accepted"], result["reason"]) == (True, "")
        assert result["parity"]["ok"]
        assert result["parity"]["rel_err_max"] < 1e-4
        assert (result["retention"]["loss"], result["retention"]["retained_ratio"]) == (0.0, 1.0)
        assert (result["retention"]["engine"], result["retention"]["n"]) == (1.0, ROWS)
        assert 0 < result["rough_ms"] < 1000
        assert 0 < result["rough_batch_ms"] < 1000
        assert result["parity_s"] > 0


def test_one_that_loses_parity_is_refused_by_it_and_not_timed(ready: Ready, tried: Try) -> None:
    result = tried({"wrong": ready.engine(WRONG)})["wrong"]
    assert not result["accepted"]
    assert result["reason"].startswith("parity with eager failed: output 'output' differs from eager by ")
    assert not result["parity"]["ok"]
    assert result["rough_ms"] is result["rough_batch_ms"] is None


def test_one_that_passes_parity_and_loses_the_score_is_refused_by_the_score(ready: Ready, tried: Try) -> None:
    result = tried({"nudged": ready.engine(NUDGED, "int8")})["nudged"]
    assert not result["accepted"]
    assert result["parity"]["ok"]
    assert 0.5 < result["retention"]["retained_ratio"] < 0.99
    assert result["reason"] == result["retention"]["sentence"]
    assert f"loses {result['retention']['loss']:.4f}" in result["reason"]
    assert f"{ROWS} samples" in result["reason"]
    assert result["rough_ms"] is None


def test_how_much_may_be_lost_is_what_the_settings_say(ready: Ready, tried: Try) -> None:
    assert tried({"nudged": ready.engine(NUDGED, "int8")}, retained_ratio=0.3)["nudged"]["accepted"]


@pytest.mark.parametrize(("inconclusive", "accepted"), [("reject", False), ("accept", True)])
def test_a_loss_that_a_few_samples_cannot_tell_is_judged_as_the_settings_say(
    inconclusive: str, accepted: bool, ready: Ready, tried: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "rows", 30)
    folders = {"nudged": ready.engine(NUDGED, "int8")}
    lost = tried(folders, retained_ratio=0.01)["nudged"]["retention"]["loss"]
    assert lost > 0
    result = tried(folders, retained_ratio=1.0 - lost - 1e-6, inconclusive=inconclusive)["nudged"]
    assert result["accepted"] is accepted
    assert result["retention"]["state"] == "undecided"
    assert ("too few samples to tell" in result["reason"]) is not accepted


def test_an_error_of_one_engine_is_its_reason_in_one_line_and_nobody_elses(ready: Ready, tried: Try) -> None:
    results = tried({"stumbling": ready.engine(STUMBLING), "eager": ready.engine("eager")})
    assert results["stumbling"]["reason"] == "MemoryError: arena of 12 bytes is full"
    assert not results["stumbling"]["accepted"]
    assert results["eager"]["accepted"]


def test_an_engine_that_was_changed_is_never_loaded(ready: Ready, tried: Try, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(ready.engine("onnxruntime"), folder)
    (folder / "operators.json").write_text("{}")
    results = tried({"changed": folder, "gone": tmp_path / "gone"})
    assert "operators.json" in results["changed"]["reason"]
    assert str(tmp_path / "gone") in results["gone"]["reason"]
    assert not results["changed"]["accepted"]
    assert not results["gone"]["accepted"]


def test_each_is_announced_before_it_is_touched_and_told_after_it(
    ready: Ready, tried: Try, events: list[Mapping[str, Any]]
) -> None:
    results = tried({"wrong": ready.engine(WRONG), "eager": ready.engine("eager")})
    told = [(event["event"], event["label"]) for event in events if event["event"] != "alive"]
    assert told == [("trying", "wrong"), ("tried", "wrong"), ("trying", "eager"), ("tried", "eager")]
    reported = {event["label"]: event["result"] for event in events if event["event"] == "tried"}
    assert json.loads(json.dumps(reported)) == results


def test_one_that_takes_too_long_is_refused_with_the_limit(ready: Ready, tried: Try) -> None:
    result = tried({"eager": ready.engine("eager")}, timeout_s=0.0)["eager"]
    assert (result["accepted"], result["reason"]) == (False, "not done after 0 s")


def test_data_that_are_too_large_to_be_kept_are_read_again_to_the_same_end(
    ready: Ready, tried: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"nudged": ready.engine(NUDGED, "int8"), "eager": ready.engine("eager")}
    kept = tried(folders)
    monkeypatch.setattr(trial, "_HELD_BYTES", 0)
    again = tried(folders)
    for label in folders:
        for key in ("accepted", "reason", "parity", "retention"):
            assert again[label][key] == kept[label][key]


def test_what_is_no_candidates_fault_ends_the_stage(ready: Ready, tried: Try, tmp_path: Path) -> None:
    folders = {"eager": ready.engine("eager")}
    with pytest.raises(Exception, match="nan") as caught:
        tried(folders, reference=f"{HERE}:Unscored")
    assert type(caught.value).__module__ == "plaster_ops.errors"
    with pytest.raises(TrainingFailed, match="weights"):
        tried(folders, weights=str(tmp_path / "none.safetensors"))


# ---- the ladder and the race ---------------------------------------------------------------------------------------
class InThisProcess:
    """Runs the stages as they are, without a process each; counts them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.raced: list[str] = []

    def __call__(self, stage: str, spec: Mapping[str, Any], *, folder: Path, on_event: Any, **_: Any) -> dict[str, Any]:
        self.calls[stage] += 1
        folder.mkdir(parents=True, exist_ok=True)
        module: Any = {"build": build, "trial": trial, "measure": measure}[stage]
        result: dict[str, Any] = module.run(json.loads(json.dumps(spec)), folder, on_event)
        (folder / "result.json").write_text(json.dumps(result))
        if stage == "measure":
            self.raced = [row["label"] for row in spec["engines"]]
        return result


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Iterator[InThisProcess]:
    """The stages, with a race that takes a second."""
    quick = replace(
        profiles.RACE,
        total_s=1000.0,
        warmup_s=0.02,
        warmup_limit_s=0.05,
        single_s=0.2,
        probe_s=0.01,
        search_limit_s=0.2,
        throughput_s=0.05,
        certify_limit_s=0.05,
        energy_block_s=0.05,
    )
    monkeypatch.setitem(profiles.PROFILES, "race", quick)
    runner = InThisProcess()
    monkeypatch.setattr(context, "run_stage", runner)
    threads = torch.get_num_threads()
    yield runner
    torch.set_num_threads(threads)


Climb = Callable[..., Ladder]


@pytest.fixture
def ctx(journal: Journal, clock: SteppedClock, tmp_path: Path) -> Callable[..., Context]:
    def make(**engine: Any) -> Context:
        project = Path(__file__).parents[2]
        wanted = {"precisions": ("fp32",), "memory_bytes": 10**12, "timeout_s": 60.0, **engine}
        plain = {"ref": f"{HERE}:Pipeline", "engine": wanted, "measure": {"slo_ms": 50.0, "batches": (1, MAX_BATCH)}}
        return Context(
            settings=Settings(project=project, file=None, tracking_uri="sqlite:///x.db", default=None, pipelines={}),
            name="mine",
            pipeline=PipelineSettings.model_validate(plain),
            journal=journal,
            clock=clock,
            timeline=Timeline(clock.monotonic_s, clock.monotonic_s()),
            tell=lambda _: None,
            folder=tmp_path / "run",
        )

    return make


@pytest.fixture
def climbed(ctx: Callable[..., Context], ready: Ready, stages: InThisProcess) -> Climb:
    del stages

    def run(backends: tuple[str, ...], **engine: Any) -> Ladder:
        prepared = {
            "window": {"learned": None, "seen": None, "cut": None, "end": None},
            "samples": str(ready.samples),
            "calibration": None,
        }
        weights = ready.exported["weights"]
        return climb(ctx(backends=backends, **engine), ready.exported, weights, prepared, "cpu")

    return run


def label_of(backend: str) -> str:
    return f"{backend.replace(':', '.')}-fp32"


def by_backend(ladder: Ladder) -> dict[str, dict[str, Any]]:
    return {row["backend"]: row for row in ladder.rows}


def test_of_all_candidates_the_fastest_that_keeps_the_score_is_first(climbed: Climb, stages: InThisProcess) -> None:
    backends = (SLOW, WRONG, NEAR, STUMBLING, FAST)
    ladder = climbed(backends)
    rows = by_backend(ladder)
    assert list(rows) == [*backends, "eager"]
    assert rows["eager"]["reason"] == "the last resort: not needed"
    assert rows[WRONG]["reason"].startswith("parity with eager failed")
    assert rows[STUMBLING]["reason"].startswith("MemoryError")
    assert [rung.candidate.backend for rung in ladder.rungs] == [FAST, NEAR, SLOW]
    assert [rows[name]["place"] for name in (FAST, NEAR, SLOW)] == [1, 2, 3]
    assert ladder.why == f"latency: {label_of(FAST)}: best p50"
    assert stages.calls == {"build": 5, "trial": 1, "measure": 1}
    assert stages.raced == [label_of(NEAR), label_of(FAST)], "who is twice as slow is not raced"
    assert "p50_ms" not in rows[SLOW]
    for name, least_ms in ((NEAR, 3.0), (FAST, 2.0)):
        assert least_ms <= rows[name]["p50_ms"] < 1.5 * least_ms
        assert 0 < rows[name]["samples_per_s"] <= 1e3 * MAX_BATCH / least_ms
        assert rows[name]["cpu_time_per_inference_s"] > 0


def test_one_that_is_left_wins_without_a_race(climbed: Climb, stages: InThisProcess) -> None:
    ladder = climbed((WRONG, "eager"))
    assert [rung.candidate.label for rung in ladder.rungs] == ["eager-fp32"]
    assert ladder.why == "latency: eager-fp32: the only one that keeps the score"
    assert stages.calls["measure"] == 0


def test_the_smallest_needs_no_race_either(climbed: Climb, stages: InThisProcess) -> None:
    ladder = climbed(("eager", "openvino"), objective="size")
    assert stages.calls["measure"] == 0
    rows = by_backend(ladder)
    first, second = (rung.candidate.backend for rung in ladder.rungs)
    assert rows[first]["engine_bytes"] < rows[second]["engine_bytes"]
    assert ladder.why == f"size: {first}-fp32: best bytes"


def test_where_all_are_refused_the_eager_engine_of_the_export_is_the_last_resort(climbed: Climb, ready: Ready) -> None:
    ladder = climbed((WRONG,))
    (rung,) = ladder.rungs
    assert (rung.candidate.label, rung.candidate.last_resort) == ("eager-fp32", True)
    assert rung.folder == Path(ready.exported["eager"])


def test_where_eager_too_loses_the_score_no_engine_is_taken_and_every_reason_is_told(
    climbed: Climb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "why_refused", lambda *given: (given[0] and _Kept(), "lost on purpose"))
    with pytest.raises(BuildFailed) as caught:
        climbed((WRONG,))
    assert f"{WRONG} fp32: lost on purpose; eager fp32: lost on purpose" in caught.value.message


class _Kept:
    def to_json(self) -> dict[str, Any]:
        return {}


def test_one_that_fails_while_it_is_timed_is_out_and_the_others_are_raced(
    ctx: Callable[..., Context], ready: Ready, stages: InThisProcess, tmp_path: Path
) -> None:
    """Its files are gone since the trial."""
    folders = {"eager": ready.engine("eager"), "openvino": ready.engine("openvino"), "gone": tmp_path / "gone"}
    engines = [Raced(label=label, engine_bytes=1, p50_ms=99.0) for label in folders]
    found = race(ctx(), engines, folders, samples=str(ready.samples), device="cpu")
    assert found.failed.keys() == {"gone"}
    assert found.failed["gone"].startswith("failed while it was timed: ")
    assert [engine.label for engine in found.raced] == ["eager", "openvino"]
    for engine in found.raced:
        assert engine.p50_ms is not None
        assert 0 < engine.p50_ms < 50
        assert (engine.samples_per_s or 0) > 0
    assert stages.calls["measure"] == 4
