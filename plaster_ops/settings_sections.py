"""The sections of plaster.toml as frozen models: every key, its type, its default and its bounds."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from plaster_ops.domain.durations import parse_lookback
from plaster_ops.domain.gates import GATE_METRICS, Gate
from plaster_ops.errors import SettingsError
from plaster_ops.settings_base import FILLED, LIST, Section, nearest
from plaster_ops.settings_schedule import Alert, CadenceSettings, TriggerSettings

Start = Literal["warm", "scratch", "auto"]
ProfileName = Literal["smoke", "standard", "full"]


class Train(Section):
    """How a model is trained."""

    devices: int | Literal["auto"] = "auto"
    """Ranks on this machine; auto: every visible GPU, or one rank on the CPU."""
    nodes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Machines; auto: as many as an outer launcher says (Slurm, Kubernetes, torchrun), else this one."""
    launcher: str = "auto"
    """What starts the ranks: local, torchrun, or module:attribute; auto: local on one node, torchrun on several."""
    rendezvous: str | None = None
    """HOST:PORT of node 0, where the ranks of all nodes meet; None: its name, and any free port."""
    node_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a fit waits for a node that is late or lost."""
    max_epochs: Annotated[int, Field(ge=1)] = 20
    warm_epochs: Annotated[int, Field(ge=1)] | None = None
    """Most epochs of a warm start; None: `max_epochs`."""
    tune: Annotated[tuple[str, ...], LIST] = ()
    """Names of the parameters that a warm start trains, `*` for any text; empty: all of them."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Validations without a better `target_metric` after which training ends; None: none ends it."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """`target_metric` is better only where it is so by more than this."""
    snapshots: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Weights kept during the fit and scored after it, at most; auto: 20, where that costs next to nothing."""
    target_score: float | None = None
    """Stop once `target_metric`, as logged by the module's validation, reaches this."""
    target_metric: str = "val_score"
    timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    idle_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """No batch from any rank for so long: the gang is stopped."""
    max_restarts: Annotated[int, Field(ge=0)] = 2
    max_resumes: Annotated[int, Field(ge=0)] = 3
    """How often a retrain that was killed is continued by itself when the next one is started."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 300.0
    """A checkpoint inside an epoch after so long without any."""
    grace_s: Annotated[float, Field(ge=0)] = 30.0
    """After SIGTERM or Ctrl-C: time for the ranks to write a checkpoint."""
    seed: int = 0
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads per rank; None: the cores shared out among the ranks."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Passed to the Trainer as it is: precision, accumulate_grad_batches, gradient_clip_val, ..."""

    @field_validator("devices")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or 'auto'")
        return value


class AutoSettings(Section):
    """When `start = "auto"` trains twice, warm and from scratch, and takes the better."""

    every: Annotated[int, Field(ge=1)] = 7
    """Retrains from one race to the next."""
    max_s: Annotated[float, Field(gt=0)] = 1800.0
    """Most seconds of training that the second fit of a race gets."""


class EngineSettings(Section):
    """How an engine is built and chosen."""

    backends: Annotated[tuple[str, ...], FILLED] = ("tensorrt", "openvino", "onnxruntime", "inductor")
    """Each is tried at each precision; a name, or module:attribute of a backend of your own. Earlier ones win ties."""
    precisions: Annotated[tuple[Literal["fp32", "bf16", "fp16", "int8", "fp8"], ...], FILLED] = (
        "fp32",
        "bf16",
        "int8",
    )
    objective: Literal["latency", "throughput", "energy", "size"] = "latency"
    """What the engine is chosen by among those that keep the score."""
    retained_ratio: Annotated[float, Field(gt=0, le=1)] = 0.99
    """The engine keeps at least this share of the eager FP32 score."""
    max_lost_score: Annotated[float, Field(ge=0)] = 0.01
    """The same for scores that can be zero or negative: a difference."""
    inconclusive: Literal["reject", "accept"] = "reject"
    """What becomes of an engine below fp32 whose loss the held-out samples cannot tell."""
    calibration_samples: Annotated[int, Field(ge=1)] = 300
    """Training inputs that int8 and fp8 are calibrated with, at most."""
    refit: bool = True
    """Put new weights into the last engine where its backend can."""
    rebuild_every: Annotated[int, Field(ge=0)] = 10
    """Refits after which the engine is built in full again; 0: never for that."""
    ladder_every_days: Annotated[float, Field(ge=0)] = 7.0
    """All candidates are tried again after so long; 0: in every retrain."""
    max_batch: Annotated[int, Field(ge=2)] | None = None
    """Largest batch the engine takes; None: the largest of measure.batches."""
    threads: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where engines run; auto: the first visible GPU where torch and a backend can use it, else the CPU."""
    timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    """Most memory that one build or trial may take, with all it starts; None: four fifths of what is free."""
    adapters: Annotated[tuple[str, ...], LIST] = ()
    """Python files of your own that are run before an engine is built or loaded: custom operators, converters."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Measure(Section):
    """How engines are measured."""

    profile: ProfileName = "standard"
    slo_ms: Annotated[float, Field(gt=0)] = 7.0
    estimate_energy: bool = False
    """Guess at the CPU's power from its TDP; kept apart from what is measured, and never in a verdict."""
    cpu_tdp_w: Annotated[float, Field(gt=0)] | None = None
    """TDP of the whole CPU, in W, as its maker gives it; needed for a guess."""
    cpu_threads: Annotated[int, Field(ge=1)] | None = None
    """Hardware threads of that CPU; None: those that this machine shows."""
    batches: Annotated[tuple[Annotated[int, Field(ge=1)], ...], FILLED] = (1, 2, 4, 8, 16, 32, 64)
    """What the throughput search may use; each once, however often it is named."""
    pin: bool = True
    server: bool = False
    """Also find the largest rate of randomly arriving queries whose p99 is within the limit."""
    max_queue_delay_ms: Annotated[float, Field(ge=0)] = 0.0
    """Server mode: how long the oldest query may wait for a full batch; 0: the server answers whatever waits."""

    @field_validator("batches")
    @classmethod
    def _each_once(cls, batches: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(batches))


class GateSettings(Section):
    """One gate: how much worse than the champion is allowed, and bounds of the value itself. At least one of them."""

    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_rise_ratio: Annotated[float, Field(ge=0)] | None = None
    max_drop_ratio: Annotated[float, Field(ge=0)] | None = None
    floor: float | None = None
    """The engine's own value must not be below this, in the metric's unit; asked of the first engine too."""
    ceiling: float | None = None
    """It must not be above this."""
    required: bool = False

    def limit(self, name: str) -> float | None:
        """The one limit against the champion that was given; None where only bounds were."""
        given = [v for v in (self.max_drop, self.max_rise_ratio, self.max_drop_ratio) if v is not None]
        if len(given) > 1 or (not given and not self.is_bounded):
            raise SettingsError(
                f"gate {name!r} has {len(given)} limits",
                "give one of max_drop, max_rise_ratio, max_drop_ratio, or a floor or a ceiling, or both kinds",
            )
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise SettingsError(
                f"gate {name!r} has its floor {self.floor:g} above its ceiling {self.ceiling:g}", "swap them"
            )
        return given[0] if given else None

    def declared(self, name: str, *, asks_champion: bool = True) -> Gate:
        """The gate as the domain knows it; `asks_champion` False leaves its bounds alone."""
        return Gate(
            name=name,
            metric=GATE_METRICS[name],
            limit=self.limit(name) if asks_champion else None,
            floor=self.floor,
            ceiling=self.ceiling,
            required=self.required,
        )

    @property
    def is_bounded(self) -> bool:
        """Whether the value itself is asked for, whoever is champion."""
        return self.floor is not None or self.ceiling is not None


class DataSettings(Section):
    """Which arrived data is trained on; new data always is. Acted on by sources that give rows of a window."""

    window: str = "all"
    """Old data that is trained on again: all, a duration (90d), or `last 50000` rows."""
    replay_ratio: Annotated[float, Field(ge=0)] | None = None
    """A warm start trains on so many times the new rows of the old ones, drawn at random; None: on all of them."""
    check_samples: Annotated[int, Field(ge=0)] = 2048
    """Training samples looked at for NaN and labels before training; 0: none are."""

    @field_validator("window")
    @classmethod
    def _known_window(cls, value: str) -> str:
        parse_lookback(value)
        return value


class Retention(Section):
    """What `prune` leaves of a pipeline's files, beside champions, baselines and the challenger."""

    keep_engines: Annotated[int, Field(ge=1)] = 10
    """Engines of the newest runs."""
    keep_samples: Annotated[int, Field(ge=0)] = 20
    """Newest runs whose raw samples stay."""


class Budgets(Section):
    """Limits that alert and never gate."""

    data_to_deploy_s: Annotated[float, Field(gt=0)] | None = None
    latency_p99_ms: Annotated[float, Field(gt=0)] | None = None
    """Of `latency/e2e_p99_ms`."""
    engine_bytes: Annotated[int, Field(gt=0)] | None = None
    """Of `size/engine_bytes`."""
    energy_per_inference_j: Annotated[float, Field(gt=0)] | None = None
    """Of 1 / `energy/inferences_per_j`."""


def _default_gates() -> dict[str, GateSettings]:
    return {
        "accuracy": GateSettings(max_drop=0.005),
        "golden": GateSettings(max_drop=0.05),
        "latency": GateSettings(max_rise_ratio=0.05),
    }


class PipelineSettings(Section):
    """One pipeline. `ref` is module:attribute, looked up with the project folder first on the import path."""

    ref: str
    start: Start = "warm"
    auto: AutoSettings = AutoSettings()
    trigger: TriggerSettings = TriggerSettings()
    data: DataSettings = DataSettings()
    cadence: CadenceSettings = CadenceSettings()
    train: Train = Train()
    engine: EngineSettings = EngineSettings()
    measure: Measure = Measure()
    gates: dict[str, GateSettings] = Field(default_factory=_default_gates)
    inconclusive: Literal["promote", "hold"] = "promote"
    budgets: Budgets = Budgets()
    alerts: Annotated[tuple[Alert, ...], LIST] = ()
    report: bool = True
    """Each retrain writes its page, `report.html`, among its artifacts."""

    @field_validator("gates")
    @classmethod
    def _known_gates(cls, gates: dict[str, GateSettings]) -> dict[str, GateSettings]:
        for name, gate in gates.items():
            if name not in GATE_METRICS:
                raise ValueError(f"unknown gate {name!r}; known gates: {', '.join(GATE_METRICS)}{nearest(name)}")
            gate.limit(name)
        return gates

    def declared_gates(self, *, has_golden: bool = True) -> tuple[Gate, ...]:
        """The gates as the domain knows them; the golden floor joins any others, by default at 0.05.

        `has_golden` False: the pipeline has no golden set and the headline score is the rolling one, so that the golden
        floor would be a second accuracy gate: it is left out where there is a first, but for bounds of its own.
        """
        gates = {"golden": _default_gates()["golden"], **self.gates} if self.gates else {}
        twice = not has_golden and "accuracy" in gates
        return tuple(
            gate.declared(name, asks_champion=not twice or name != "golden")
            for name, gate in gates.items()
            if not twice or name != "golden" or gate.is_bounded
        )

    def margins(self) -> dict[str, float]:
        """Margins of the verdict rule by metric key: a gate's limit where it has one (the golden gate's is not)."""
        return {
            gate.metric.key: gate.limit
            for gate in self.declared_gates()
            if gate.name != "golden" and gate.limit is not None
        }

    def max_batch(self) -> int:
        """The largest batch an engine must take."""
        return self.engine.max_batch or max(2, *self.measure.batches)
