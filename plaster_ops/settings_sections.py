"""The sections of plaster.toml as frozen models: every key, its type, its default and its bounds."""

import difflib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from plaster_ops.domain.drift import DRIFT_WORDS
from plaster_ops.domain.durations import duration_us, parse_lookback
from plaster_ops.domain.gates import GATE_METRICS, Gate
from plaster_ops.domain.schedule import Cadence, zone_of
from plaster_ops.domain.slots import Rules
from plaster_ops.errors import SettingsError

Start = Literal["warm", "scratch", "auto"]
ProfileName = Literal["smoke", "standard", "full"]


_LIST, _FILLED = Field(strict=False), Field(strict=False, min_length=1)
"""TOML has lists and no tuples; what stands in them is still held to its own type."""


class Section(BaseModel):
    """Values are of the type that TOML gave them: no text is a number, no truth value a count, nothing is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
    tune: Annotated[tuple[str, ...], _LIST] = ()
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
    trainer: dict[str, Any] = {}
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

    backends: Annotated[tuple[str, ...], _FILLED] = ("tensorrt", "openvino", "onnxruntime", "inductor")
    """Each is tried at each precision; a name, or module:attribute of a backend of your own. Earlier ones win ties."""
    precisions: Annotated[tuple[Literal["fp32", "bf16", "fp16", "int8", "fp8"], ...], _FILLED] = (
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
    adapters: Annotated[tuple[str, ...], _LIST] = ()
    """Python files of your own that are run before an engine is built or loaded: custom operators, converters."""
    options: dict[str, str | int | float | bool] = {}


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
    batches: Annotated[tuple[Annotated[int, Field(ge=1)], ...], _FILLED] = (1, 2, 4, 8, 16, 32, 64)
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
    """One gate: how much worse than the champion is allowed. Exactly one limit."""

    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_rise_ratio: Annotated[float, Field(ge=0)] | None = None
    max_drop_ratio: Annotated[float, Field(ge=0)] | None = None
    required: bool = False

    def limit(self, name: str) -> float:
        """The one limit that was given."""
        given = [v for v in (self.max_drop, self.max_rise_ratio, self.max_drop_ratio) if v is not None]
        if len(given) != 1:
            raise SettingsError(
                f"gate {name!r} has {len(given)} limits", "give one of max_drop, max_rise_ratio, max_drop_ratio"
            )
        return given[0]


class TriggerSettings(Section):
    """What makes a retrain due besides the clock."""

    min_new_samples: Annotated[int, Field(ge=1)] = 1
    """Fewer samples than this since the last finished retrain: a recorded skip."""
    on_data: bool = False
    """The scheduler looks every `poll_s` whether so many samples are there, and retrains once none came for
    `debounce_s`."""
    poll_s: Annotated[float, Field(ge=1)] = 60.0
    debounce_s: Annotated[float, Field(ge=0)] = 60.0
    on_drift: Annotated[tuple[str, ...], _LIST] = ()
    """The scheduler retrains once where the newest retrain's record says that one of these drifts."""
    cooldown_s: Annotated[float, Field(ge=0)] = 86_400.0
    """After a retrain that drift made due, none is due by drift for so long."""

    @field_validator("on_drift")
    @classmethod
    def _known_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if word not in DRIFT_WORDS:
                raise ValueError(f"unknown word {word!r}; known: {', '.join(DRIFT_WORDS)}{nearest(word, DRIFT_WORDS)}")
        return tuple(dict.fromkeys(words))


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


class CadenceSettings(Section):
    """When a retrain is due by the clock, and what becomes of a slot that cannot run then. Read by the scheduler."""

    cron: str | None = None
    """Five fields of a crontab line, or @hourly, @daily, @weekly, @monthly, @yearly."""
    every: str | None = None
    """A duration instead (6h, 1d), counted from `start`, else from 1970."""
    timezone: str = "UTC"
    jitter_s: Annotated[float, Field(ge=0)] = 0.0
    """Each slot is due up to so much later than planned, always by the same part of it."""
    start: datetime | None = None
    end: datetime | None = None
    """No slot is before the first and after the second; without an offset in `timezone`."""
    missed: Literal["run_once", "run_all", "skip"] = "run_once"
    overlap: Literal["skip", "queue"] = "skip"
    late_s: Annotated[float, Field(ge=1)] = 60.0
    """A slot found later than this was missed."""
    priority: int = 0
    retries: Annotated[int, Field(ge=0)] = 2
    backoff_s: Annotated[float, Field(ge=0)] = 60.0
    """Before the first retry; each later one waits twice as long."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _known_cadence(self) -> Self:
        self.cadence()
        return self

    def cadence(self) -> Cadence | None:
        """The slots of it; None where it is due by nothing but data, drift or a hand. Raises `ValueError`."""
        if self.cron is None and self.every is None:
            zone_of(self.timezone)
            return None
        return Cadence(
            cron=self.cron,
            every_s=None if self.every is None else duration_us(self.every) / 1e6,
            timezone=self.timezone,
            jitter_s=self.jitter_s,
            start_s=self._instant_s(self.start),
            end_s=self._instant_s(self.end),
        )

    def rules(self) -> Rules:
        """What is done with slots that were missed or overlap."""
        return Rules(missed=self.missed, overlap=self.overlap, late_s=self.late_s)

    def _instant_s(self, at: datetime | None) -> float | None:
        if at is None:
            return None
        return (at if at.tzinfo is not None else at.replace(tzinfo=zone_of(self.timezone))).timestamp()


class SchedulerSettings(Section):
    """The scheduler of this project, whoever keeps it: the service, cron, systemd or Kubernetes."""

    devices: Annotated[int, Field(ge=1)] | Annotated[tuple[str, ...], _FILLED] = 1
    """How many retrains may run at once on this machine; or a list, one an entry, each with CUDA_VISIBLE_DEVICES set
    to its entry ("0", "1,2", a UUID)."""
    lock_dir: str | None = None
    """Where the locks of the devices lie; projects of one machine that name the same folder take turns on them."""
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    """So many slots may wait, of all pipelines; one more is skipped."""
    grace_s: Annotated[float, Field(ge=0)] = 600.0
    """SIGTERM to the service: what runs may end for so long, then it is stopped, to be continued later."""
    stop_s: Annotated[float, Field(ge=0)] = 60.0
    """A retrain that is stopped or timed out has so long between SIGTERM and SIGKILL."""
    listen: str = "127.0.0.1:8075"
    """Where /healthz, /metrics and the status page are served; "" for nowhere."""
    check_s: Annotated[float, Field(ge=0)] = 900.0
    """A slot that has not started so long after it was due is late: `schedule check` and alerts say so."""

    @property
    def device_count(self) -> int:
        """How many retrains may run at once."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    def visible(self, number: int) -> str | None:
        """CUDA_VISIBLE_DEVICES of that device; None where it is left as it is."""
        return None if isinstance(self.devices, int) else self.devices[number]

    def lock_folder(self, memory: Path) -> Path:
        """Where the locks of the devices lie; a relative `lock_dir` is relative to the project."""
        return memory / "locks" if self.lock_dir is None else memory.parent / self.lock_dir


class Budgets(Section):
    """Limits that alert and never gate."""

    data_to_deploy_s: Annotated[float, Field(gt=0)] | None = None


class Alert(Section):
    """Where to tell of a change of state; the address stands in an environment variable."""

    kind: Literal["webhook", "slack", "smtp"]
    url_env: str
    """Its name. For smtp: smtp[s]://user:password@host:port/?from=ADDRESS&to=ADDRESS."""

    @field_validator("url_env")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError("must be the name of an environment variable; the address itself never stands in settings")
        return value


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
    alerts: Annotated[tuple[Alert, ...], _LIST] = ()

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
        floor would be a second accuracy gate: it is left out where there is a first.
        """
        gates = {"golden": _default_gates()["golden"], **self.gates} if self.gates else {}
        return tuple(
            Gate(name=name, metric=GATE_METRICS[name], limit=gate.limit(name), required=gate.required)
            for name, gate in gates.items()
            if has_golden or name != "golden" or "accuracy" not in gates
        )

    def margins(self) -> dict[str, float]:
        """Margins of the verdict rule by metric key: a gate's limit where one is declared (the golden floor is not)."""
        return {gate.metric.key: gate.limit for gate in self.declared_gates() if gate.name != "golden"}

    def max_batch(self) -> int:
        """The largest batch an engine must take."""
        return self.engine.max_batch or max(2, *self.measure.batches)


def nearest(word: str, known: Iterable[str] = GATE_METRICS) -> str:
    """A hint at the known word that is most like this one; empty where none is."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
