"""The stages of a retrain without a process: they answer at once with what real ones answer, and step the clock.

`Walk` stands in the place of `run_stage` and of `fit`; `Store` in that of the tracker.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plaster_ops.engines.artifact import Manifest, hash_files, read_manifest, spec_from_json, write_manifest
from plaster_ops.plaster.raw_files import write_raw
from plaster_ops.plaster.timing import Timed
from plaster_ops.plaster.turns import EAGER, SINGLE, THROUGHPUT, Block
from plaster_ops.ports import Availability, Capabilities, Coverage
from plaster_ops.processes.gang import Limits
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.training.messages import FitOutcome, FitResult, FitSpec
from tests.conftest import SteppedClock

BACKEND = "tests.flow.walk:Backend"
SECONDS = {
    "prepare": 1.0,
    "ageing": 5.0,
    "export": 2.0,
    "build": 4.0,
    "trial": 2.5,
    "evaluate": 1.5,
    "examine": 2.0,
    "measure": 5.0,
    "scores": 1.25,
    "page": 0.0,
}
FIT_S, LAUNCH_S, PARITY_S, AGAIN_S = 10.0, 3.0, 0.5, 0.25
SHAPE = ("float32[1, 8, 8]",)
INPUTS = [{"name": "images", "dtype": "float32", "shape": [1, 8, 8], "ranges": []}]


class Backend:
    """A backend that is always there and builds what it is asked for; it is never loaded."""

    name = BACKEND

    def probe(self) -> Availability:
        return Availability(ok=True)

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("fp32", "int8"), refit="in_place")

    def refit(self, *_: Any) -> float:
        raise AssertionError("the export stage is doubled")

    def build(self, *_: Any) -> Coverage:
        raise AssertionError("the build stage is doubled")

    def load(self, *_: Any) -> Any:
        raise AssertionError("the measure stage is doubled")


class Store(MemoryTracker):
    """A tracker in memory that has no runs of dead processes to close."""

    def sweep_stale(self, *_: Any) -> list[str]:
        return []


@dataclass
class Walk:
    """What arrives and how good it turns out. `errors` maps a stage to what it raises.

    `score_drop` is what the new engine loses against each earlier one, `slower` how much its latency grows,
    `refused` the precisions that fail parity.
    """

    clock: SteppedClock
    arrived: int = 10
    holdout: int = 2
    golden: int | None = 5
    """Samples of the golden set; None: the pipeline has none."""
    score_drop: float = 0.0
    slower: float = 0.0
    pace: float = 1.0
    """How long the machine of today takes for what took one: of every engine alike."""
    refused: tuple[str, ...] = ()
    again: str = "refit"
    """What the export stage finds it can do with the last engine."""
    speeds: dict[str, float] = field(default_factory=dict)
    """Milliseconds of a query by the ending of the engine folder's name; 1 where none fits."""
    times: dict[str, Any] | None = None
    """What the source says of when its samples came into being."""
    target_s: float | None = None
    """When the fit reached its target; None: none was set."""
    samples_to_target: int = 160
    scope: str = ""
    """What an energy counter would count, had it counted anything."""
    errors: dict[str, BaseException] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    """What the last child of each stage may take."""
    deadly: dict[str, BaseException] = field(default_factory=dict)
    """Candidates that end the trial they are in."""
    tell: Any = None
    before: dict[str, Any] = field(default_factory=dict)
    """Called before a stage of that name works."""
    starts: dict[str, float | BaseException] = field(default_factory=lambda: {"warm": 0.9, "scratch": 0.9})
    """What each start scores, or what its fit raises."""
    start_s: dict[str, float] = field(default_factory=dict)
    """How long the fit of a start takes; FIT_S where it is not named."""
    fits: list[FitSpec] = field(default_factory=list)
    spread: float = 0.02
    """Half the width of the interval of what two starts differ by."""
    curve: tuple[float, ...] = ()
    """Scores of the snapshots, one an epoch; without any none were kept."""

    def run_stage(self, stage: str, spec: Mapping[str, Any], *, folder: Path, **more: Any) -> dict[str, Any]:
        self.limits[stage] = more["limits"]
        self._enter(stage, spec)
        folder.mkdir(parents=True, exist_ok=True)
        self.clock.step(SECONDS[stage])
        self.tell = more["on_event"]
        more["on_event"]({"event": "note", "text": f"{stage} works"})
        found: dict[str, Any] = getattr(self, f"_{stage}")(spec, folder)
        return found

    def fit(self, spec: FitSpec, *, folder: Path, **more: Any) -> FitOutcome:
        self._enter("fit", spec.to_json())
        self.fits.append(spec)
        ending = self.starts[spec.start]
        if isinstance(ending, BaseException):
            self.clock.step(LAUNCH_S)
            raise ending
        fit_s = self.start_s.get(spec.start, FIT_S)
        if self.curve and spec.snapshot_folder:
            Path(spec.snapshot_folder).mkdir(parents=True, exist_ok=True)
            (Path(spec.snapshot_folder) / "epoch-000001.safetensors").write_bytes(b"weights of an epoch")
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "weights.safetensors"
        weights.write_bytes(f"weights of a {spec.start} fit".encode())
        self.clock.step(LAUNCH_S)
        more["on_event"]({"event": "fit_started", "rank": 0})
        self.clock.step(fit_s)
        more["on_event"]({"event": "fit_ended", "rank": 0})
        result = FitResult(
            weights_file=str(weights),
            weights_digest="w" * 64,
            weights_bytes=weights.stat().st_size,
            epochs=3,
            steps=30,
            fit_s=fit_s,
            samples_seen=240,
            train_samples_per_s=24.0,
            last_loss=0.1,
            time_to_target_s=self.target_s,
            reached_target=None if self.target_s is None else True,
            epochs_to_target=None if self.target_s is None else 2,
            samples_to_target=None if self.target_s is None else self.samples_to_target,
            samples_learned=240,
            step_samples=32,
            resumed_from_epoch=None,
            world_size=1,
            accelerator="cpu",
            lightning="pytorch_lightning",
            rank_times_s=(fit_s,),
        )
        return FitOutcome(result=result, wall_s=fit_s + LAUNCH_S, launch_s=LAUNCH_S, attempts=1, restarts=0)

    def _enter(self, stage: str, spec: Mapping[str, Any]) -> None:
        self.calls[stage] += 1
        self.specs[stage] = spec
        if stage in self.before:
            self.before[stage]()
        if stage in self.errors:
            raise self.errors[stage]

    def _examine(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        self._enter("prepare", spec["prepare"])
        prepared = self._prepare(spec["prepare"], folder)
        if prepared["skip"]:
            return {"prepared": prepared, "evaluation": None}
        asked = {**spec["evaluate"], "window": prepared["window"], "samples": prepared["samples"]}
        self._enter("evaluate", asked)
        return {"prepared": prepared, "evaluation": self._evaluate(asked, folder)}

    def _page(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        del folder
        Path(spec["target"]).write_text("<!doctype html>", encoding="utf-8")
        return {"page_bytes": 15}

    def _prepare(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        seen, learned = spec["seen"], spec["learned"]
        cut = max(learned or 0, self.arrived - self.holdout)
        found: dict[str, Any] = {
            "window": {"learned": learned, "seen": seen, "cut": cut, "end": self.arrived},
            "source": "counted",
            "arrived_at": self.clock.epoch - 60.0,
            "fresh_samples": self.arrived - (seen or 0),
            "new_samples": self.arrived - (learned or 0),
            "absorbed_samples": cut - (learned or 0),
            "times": self.times,
            "skip": f"nothing new arrived since {seen}" if seen == self.arrived else "",
        }
        if found["skip"]:
            return found
        (folder / "samples.safetensors").write_bytes(b"samples")
        digests = {f"{name}_digest": name[0] * 64 for name in ("train", "eval", "golden")}
        counts = {
            "train_samples": cut,
            "eval_samples": self.arrived - cut,
            "golden_samples": self.golden,
            "samples_kept": 2,
        }
        found |= {"drift": self._drift(spec["inspect"], folder)} if spec.get("inspect") else {}
        if spec.get("replay_ratio") is not None and learned is not None:
            counts |= {"warm_train_samples": 7, "warm_train_digest": "w" * 64}
        return found | digests | counts | {"better": "higher", "samples": str(folder / "samples.safetensors")}

    def _drift(self, asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Three of twelve features have drifted since any earlier run."""
        (folder / "data_sketch.json").write_text(f"sketch {self.arrived}")
        share = {"value": 0.25, "n": 12, "reason": "against #1"} if asked["earlier"] else {"reason": "the first"}
        told = {"of": "inputs", "against": {each["which"]: each["index"] for each in asked["earlier"]}, "notes": []}
        return told | {"sketch": str(folder / "data_sketch.json"), "figures": {"accuracy/input_drift_ratio": share}}

    def _export(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        assert Path(spec["weights"]).is_file()
        facts = {"params_count": 100, "weights_bytes": 400, "layers_count": 2, "flops_uncounted_ops": []}
        if spec.get("eager"):
            make_engine(folder / "eager", {**USUAL, "backend": "eager"})
        return {
            "eager": str(folder / "eager"),
            "weights": spec["weights"],
            "again": self._once_more(spec["previous"]) if spec.get("previous") else None,
            "program": str(folder / "program.pt2"),
            "graph_digest": "g" * 64,
            "weights_digest": "w" * 64,
            "inputs": INPUTS,
            "outputs": ["output"],
            "structure": "",
            "facts": facts,
            "torch": "2",
        }

    def _once_more(self, previous: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"decision": self.again, "reason": f"{self.again} it is", "manifest": None}
        found |= {"call_s": None, "rel_err": None, "stage_s": AGAIN_S}
        if previous["rebuild"] and self.again == "refit":
            return found | {"decision": "rebuild", "reason": previous["rebuild"]}
        if self.again in ("refit", "reuse"):
            refits = read_manifest(Path(previous["folder"])).refits + (self.again == "refit")
            spec = previous["spec"] | {"inputs": INPUTS}
            found["manifest"] = make_engine(Path(previous["out"]), spec, refits=refits)
            found["call_s"] = 0.001
        return found

    def _trial(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        del folder
        results = {}
        for row in spec["candidates"]:
            self.tell({"event": "trying", "label": row["label"]})
            if row["label"] in self.deadly:
                raise self.deadly[row["label"]]
            results[row["label"]] = self._tried(row)
            self.tell({"event": "tried", "label": row["label"], "result": results[row["label"]]})
        return {"results": results}

    def _tried(self, row: Mapping[str, Any]) -> dict[str, Any]:
        ok = not row["folder"].endswith(self.refused) if self.refused else True
        retention = {"engine": 0.9, "reference": 0.9, "loss": 0.0, "loss_ci90": [0.0, 0.0], "retained_ratio": 1.0}
        return {
            "accepted": ok,
            "reason": "" if ok else "parity with eager failed: output is off",
            "parity": {"ok": ok, "rel_err_max": 1e-6},
            "retention": retention,
            "rough_ms": self._speed(row["folder"]),
            "rough_batch_ms": 4.0,
            "parity_s": PARITY_S,
        }

    def _speed(self, folder: str) -> float:
        return next((ms for ending, ms in self.speeds.items() if folder.endswith(ending)), 1.0)

    def _build(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        del folder
        return make_engine(Path(spec["out"]), spec["spec"])

    def _evaluate(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        labels = [row["label"] for row in spec["engines"]]
        ok = not any(Path(row["folder"]).name.endswith(self.refused) for row in spec["engines"][:1] if self.refused)
        del folder
        return {
            "better": "higher",
            "sets": {
                "rolling": self._scored(labels, "accuracy/rolling_score"),
                "golden": self._scored(labels, "accuracy/engine_score") if self.golden else None,
            },
            "parity": {"ok": ok, "cosine_min": 0.9999, "abs_err_max": 1e-6},
            "parity_s": PARITY_S,
            "retention": None,
            "accepted": ok,
            "reason": "" if ok else "parity with eager failed: output is off",
        }

    def _scored(self, labels: list[str], key: str) -> dict[str, Any]:
        score = {"value": 0.9, "ci95": [0.88, 0.92], "n": 500, "method": "proportion"}
        drop = self.score_drop
        paired = {
            "key": key,
            "delta": -drop,
            "ci95": [-drop - 0.002, -drop + 0.002],
            "ci90": [-drop - 0.0015, -drop + 0.0015],
            "p_value": 1e-6 if drop else 1.0,
            "method": "mcnemar_midp",
            "n": 500,
            "gained": 0,
            "lost": round(500 * drop),
        }
        now = score | {"value": 0.9 - drop}
        return {
            "n": 500,
            "engines": {label: now if i == 0 else score for i, label in enumerate(labels)},
            "reference": now,
            "agreement": None,
            "paired": dict.fromkeys(labels[1:], paired),
            "changed": dict.fromkeys(labels[1:]),
        }

    def _scores(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        del folder
        if spec["snapshots"]:
            last = spec["weights"][0]
            made = [
                {
                    **last,
                    "epoch": epoch,
                    "step": 10 * epoch,
                    "samples": 80 * epoch,
                    "fit_s": 3.0 * epoch,
                    "value": score,
                }
                for epoch, score in enumerate(self.curve, start=1)
            ]
            points = [row | {"label": f"epoch {row['epoch']}", "ci95": None, "reason": ""} for row in made]
            return {"better": "higher", "n": 500, "points": points, "scores": {}, "paired": {}}
        first, second = (float(self.starts[row["label"]]) for row in spec["weights"])  # type: ignore[arg-type]
        labels = [row["label"] for row in spec["weights"]]
        delta = first - second
        bounds = [delta - self.spread, delta + self.spread]
        scores = {
            label: {"value": value, "ci95": [value - 0.02, value + 0.02], "reason": ""}
            for label, value in zip(labels, (first, second), strict=True)
        }
        paired = {labels[1]: {"key": "k", "delta": delta, "ci95": bounds, "ci90": bounds, "p_value": 0.5, "n": 500}}
        return {"better": "higher", "n": 500, "points": [], "scores": scores, "paired": paired}

    def _measure(self, spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        labels = [row["label"] for row in spec["engines"]]
        is_race = spec["profile"] == "race"
        speeds = {row["label"]: self._speed(row["folder"]) if is_race else 1.0 for row in spec["engines"]}
        blocks = [
            block
            for i, label in enumerate(labels)
            for block in self._blocks(label, is_new=i == 0 and not is_race, speed=speeds[label])
        ]
        if spec["eager"]:
            blocks += [replace(block, kind=EAGER, label=EAGER) for block in self._blocks(EAGER, is_new=False)[:4]]
        write_raw(folder / "raw.npz", blocks)
        result = {
            "schema": 1,
            **{name: spec[name] for name in ("process", "profile", "slo_ms", "device", "threads")},
            "engines": {
                row["label"]: {"folder": row["folder"], "load_s": 0.1, "first_inference_ms": 2.0}
                for row in spec["engines"]
            },
            "search": {
                label: {"ended": "batches", "probes": [{"batch": 8, "rate_per_s": 8e3 / ms, "fit": "inside"}]}
                for label, ms in speeds.items()
            }
            if is_race
            else None,
            "chosen_batches": dict.fromkeys(labels, 8),
            "energy": {"source": "none", "scope": self.scope, "reason": "no NVML, no RAPL"},
            "machine": {"notes": [], "suspect": None},
            "peak_host_bytes": 1_000_000,
        }
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result

    def _blocks(self, label: str, *, is_new: bool, speed: float = 1.0) -> list[Block]:
        factor = (1.0 + self.slower * is_new) * speed * self.pace
        blocks = []
        for kind, batch, queries in ((SINGLE, 1, 200), (THROUGHPUT, 8, 200)):
            for index in range(4):
                latencies = [int(1_000_000 * factor) + 10 * (query % 7) for query in range(queries)]
                timed = Timed(
                    latencies_ns=latencies,
                    start_ns=index * 10**9,
                    window_ns=sum(latencies),
                    cpu_s=sum(latencies) * 1e-9,
                )
                blocks.append(Block(kind=kind, label=label, index=index, position=index, batch=batch, timed=timed))
        return blocks


USUAL = {"backend": BACKEND, "precision": "fp32", "device": "cpu", "inputs": INPUTS, "batch": [1, 8, 64]}


def make_engine(folder: Path, spec: Mapping[str, Any] | None = None, refits: int = 0) -> dict[str, Any]:
    """An engine folder whose manifest is true; what the build stage would say of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(b"\x01" * 1000)
    manifest = Manifest(
        spec=spec_from_json(spec or USUAL),
        files=hash_files(folder),
        versions=(("test", "1"),),
        build_s=4.0,
        coverage=Coverage(ops_total=10, ops_in_engine=10, flops_ratio=1.0, engines=1, graph_breaks=0),
        effective_precision="fp32",
        weights_digest="w" * 64,
        graph_digest="g" * 64,
        outputs=("output",),
        key="k" * 64,
        refits=refits,
        refit_s=0.001 if refits else None,
    )
    write_manifest(folder, manifest)
    return manifest.to_json() | {"folder": str(folder), "digest": manifest.digest}
