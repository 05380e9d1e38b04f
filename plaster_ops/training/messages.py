"""What the parent asks of a fit and what it gets back: plain values that survive JSON. See docs/workers.md."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

WEIGHTS = "weights.safetensors"
"""The file of a fit's weights, in its folder."""

_PLACE_NOT_WORK = (
    "devices",
    "accelerator",
    "threads",
    "checkpoint_folder",
    "checkpoint_every_s",
    "resume_from",
    "snapshots",
    "snapshot_folder",
    "snapshot_share",
)

Stopped = Literal["target", "patience", "max_time", "max_epochs", "max_steps", "model"]
"""What ended a fit; `model`: a callback or hook of the user's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitSpec:
    """One fit. `window` is `Window.to_json()`; paths are absolute texts.

    `devices` counts ranks on this machine: "auto" is every visible GPU, or one process on a CPU. `accelerator` "auto"
    is "gpu" where there is one. `threads` are per rank, None shares the cores out. `trainer` goes to Lightning's
    `Trainer` as it is. `target_metric` names a logged metric; training stops when it reaches `target_score`.
    `checkpoint_folder` belongs to this fit alone: a complete checkpoint in it is where the fit goes on. One is written
    at the end of every epoch, and inside one after `checkpoint_every_s` seconds without any.
    `resume_from` is set by `launch`. `max_s`: training ends after so many seconds, weights and all; None: never.
    `tune`: patterns of the parameters that train in a warm start; none: all. `patience`: validations without
    `target_metric` better by more than `min_delta` after which training ends. `snapshots`: weights kept for the
    learning curve in `snapshot_folder`, at most; `snapshot_share`: and only while that takes no larger part of the fit.
    """

    reference: str
    project: str
    window: Mapping[str, Any]
    max_epochs: int
    checkpoint_folder: str
    start: Literal["warm", "scratch"] = "scratch"
    warm_weights: str | None = None
    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    threads: int | None = None
    seed: int = 0
    target_score: float | None = None
    target_metric: str = "val_score"
    target_higher_is_better: bool = True
    trainer: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_every_s: float = 300.0
    resume_from: str | None = None
    max_s: float | None = None
    tune: tuple[str, ...] = ()
    patience: int | None = None
    min_delta: float = 0.0
    snapshots: int = 0
    snapshot_folder: str | None = None
    snapshot_share: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FitSpec":
        """The spec that `to_json` wrote."""
        known = {f.name for f in fields(cls)}
        plain = {name: value for name, value in values.items() if name in known}
        return cls(**{**plain, "tune": tuple(plain.get("tune", ()))})

    def fit_id(self) -> str:
        """SHA-256 of what is trained, whatever the machine: a checkpoint of another fit is never resumed."""
        work = {name: value for name, value in self.to_json().items() if name not in _PLACE_NOT_WORK}
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What one fit gave.

    `fit_s`: rank 0, from `on_train_start` to `on_train_end`, validation and checkpoints included; after a resume plus
    what the checkpoint had behind it. `samples_seen`: real batch sizes summed over ranks and epochs, those included
    that a distributed sampler repeats to even the ranks out; None where a batch does not tell its size.
    `samples_learned`: each sample of an epoch once, summed over epochs; None where repeats cannot be told apart, and
    `learned_reason` says why. `train_samples_per_s` = `steady_samples` / `steady_s`: of `samples_seen` and `fit_s`
    without the first tenth of the first epoch of every attempt that is in them. `step_samples`: the largest batch times
    ranks times accumulated batches. `time_to_target_s`, `epochs_to_target`, `samples_to_target` (learned): up to the
    last training step before the target was found reached. `rank_times_s`: each rank's own time in the last attempt;
    `rank_works_s`: that part of it in which it got its data and did its forward passes, empty on GPUs.
    `peak_gpu_bytes`: most that torch allocated on a GPU, of the largest rank in the last attempt; None on a CPU.
    `reached_target`: None where no target was set or its metric is not logged. `curves`: points
    `{"key", "step", "value", "timestamp_ms"}`, one a metric an epoch, at most 1,000. Weights are those of the last
    step, not of the best epoch; `weights_s`: seconds of training up to it. `stopped`: what ended the fit.
    `trained_ratio`: the part of the parameters that trained; None where it has none. `snapshots_s`: seconds of the
    last attempt that went into snapshots; `snapshots_reason`: why there are no more of them.
    `hyperparameters`: what module (`module.lr`) and data module (`data.batch_size`) saved of their arguments, as texts.
    `inside_reason`: why there were checkpoints at the end of epochs only; empty where there were others.
    """

    weights_file: str
    weights_digest: str
    weights_bytes: int
    epochs: int
    steps: int
    fit_s: float
    samples_seen: int | None
    train_samples_per_s: float | None
    last_loss: float | None
    time_to_target_s: float | None
    reached_target: bool | None
    resumed_from_epoch: int | None
    world_size: int
    accelerator: str
    lightning: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    rank_times_s: tuple[float, ...] = ()
    rank_works_s: tuple[float, ...] = ()
    steady_s: float = 0.0
    steady_samples: int | None = None
    samples_learned: int | None = None
    learned_reason: str = ""
    step_samples: int | None = None
    epochs_to_target: int | None = None
    samples_to_target: int | None = None
    device_name: str = ""
    peak_gpu_bytes: int | None = None
    weights_s: float | None = None
    stopped: Stopped | None = None
    trained_ratio: float | None = None
    snapshots_s: float = 0.0
    snapshots_reason: str = ""
    curves: tuple[Mapping[str, Any], ...] = ()
    inside_reason: str = ""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FitResult":
        """The result that `to_json` wrote."""
        known = {f.name for f in fields(cls)}
        plain: dict[str, Any] = {name: value for name, value in values.items() if name in known}
        for name in ("rank_times_s", "rank_works_s", "curves"):
            plain[name] = tuple(plain.get(name, ()))
        return cls(**plain)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOutcome:
    """A fit as its parent saw it. `wall_s` = `launch_s` + what `result.fit_s` gained during this call.

    `launch_s` is everything that is not training: starting and ending the processes, and attempts that were lost.
    """

    result: FitResult
    wall_s: float
    launch_s: float
    attempts: int
    restarts: int
