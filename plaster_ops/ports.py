"""Every seam on one page. Rooms implement these; `flow.wiring` chooses; tests bring their own.

torch appears only in annotations: importing this module loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.window import Watermark, Window

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


# ---- the user's pipeline -------------------------------------------------------------------------------------------
@runtime_checkable
class Pipeline(Protocol):
    """What a user brings; README.md shows it. Optional members: `source`, `golden`, `higher_is_better`, `dynamic_axes`,
    `slices`.

    `model()` -> a LightningModule whose `forward` is what is served. `data(window)` -> a LightningDataModule.
    `score` -> a torchmetrics metric, or a function `(outputs, targets) -> float`. `sample_batch(n)` -> the inputs of
    `forward` for n samples: a tensor, a tuple of tensors, or a dict of tensors.
    """

    def model(self) -> Any: ...

    def data(self, window: Window) -> Any: ...

    def sample_batch(self, n: int) -> Any: ...


class Source(Protocol):
    """Where data arrives. Positions are watermarks; ranges are `(after, upto]`, `after=None` from the beginning.

    Optional members: `times(after, upto)` -> pairs (seconds since the epoch when samples came into being, how many);
    `report(window)` -> what became of its files, as `data.arrival` of docs/json.md; `name`.
    `remarks(after)` -> sentences on what people should know of the data at or below that position;
    `train_rows(window)` and `held_out_rows(window)` -> the rows of a window as a `pyarrow.Table`;
    `lookout()` -> an object with `newest` and `count` that leave no trace, for whoever waits for data; without it
    those of the source are called.
    """

    def newest(self) -> Watermark | None: ...

    def count(self, after: Watermark | None, upto: Watermark | None) -> int: ...

    def cut(self, after: Watermark | None, upto: Watermark | None) -> Watermark | None: ...

    def arrived_at(self, upto: Watermark | None) -> float | None: ...


# ---- engines -------------------------------------------------------------------------------------------------------
Option = str | int | float | bool
Calibration = Sequence[tuple["Tensor", ...]]
"""Real inputs to quantise with: per shape a tuple of inputs [n, ...]; none of them is in an evaluation set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input. `shape` is without the batch axis; a dynamic axis is None and its range is in `ranges`, in order."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpec:
    """What an engine is built as. `batch` is (min, opt, max); unknown `options` are refused by the backend.

    `calibration` is the digest of the inputs that a quantised engine was calibrated with, empty for any other.
    """

    backend: str
    precision: str
    device: str
    inputs: tuple[TensorSpec, ...]
    batch: tuple[int, int, int]
    threads: int = 1
    options: tuple[tuple[str, Option], ...] = ()
    calibration: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """Whether a backend can be used here; `reason` is empty only when it can."""

    ok: bool
    reason: str = ""
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a backend does on this machine. Asking imports nothing heavy.

    `precisions` build here and answer rightly; those that are also in `emulated` have no instructions on this device
    and run slower than fp32. `calibrated` need real inputs. `refit`: "in_place" where new weights go into a built
    engine, "none" where an engine is built anew. `falls_back`: operators that it does not know run outside the engine;
    else it takes a graph whole or not at all. `runs_here` False: it builds here, and what it builds needs another
    device. `options`: name -> default, or the words an option may be, the default first. `libraries`: modules that its
    engines run on.
    """

    precisions: tuple[str, ...]
    emulated: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ("int8",)
    devices: tuple[str, ...] = ("cpu",)
    refit: str = "none"
    falls_back: bool = False
    runs_here: bool = True
    options: Mapping[str, Option | tuple[str, ...]] = field(default_factory=dict)
    libraries: tuple[str, ...] = ("torch",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """How much of the graph the engine took. `flops_ratio` weighs operators by FLOPs, `ops_ratio` counts them.

    `engines`: pieces the model was cut into. `segments`: runs of operators between them that stay outside.
    `fallback_ops`: their kinds. `ops_supported`: operators the backend knows, whether or not the engine took them.
    `boundary_bytes`: what crosses between engine and outside for one sample. `precision_ratio`: share of the FLOPs
    that runs in the precision that was asked for. `layers`: layers of the built engine, after fusion. `uncounted_ops`:
    kinds outside the engine for which no FLOP formula is known, so that `flops_ratio` does not see them. `time_ratio`:
    share of a forward's time inside the engine. `from_cache`: a cache of the backend's held a part of the build.
    `has_flops`: False where `flops_ratio` is a share of operators, because FLOPs were counted of none or not where they
    run. None where a backend cannot tell.
    """

    ops_total: int
    ops_in_engine: int
    flops_ratio: float
    engines: int
    graph_breaks: int = 0
    fallback_ops: tuple[str, ...] = ()
    segments: int = 0
    ops_supported: int | None = None
    boundary_bytes: int | None = 0
    precision_ratio: float | None = None
    layers: int | None = None
    uncounted_ops: tuple[str, ...] = ()
    time_ratio: float | None = None
    from_cache: bool = False
    has_flops: bool = True

    @property
    def ops_ratio(self) -> float:
        """Operators inside engines / all operators."""
        return self.ops_in_engine / self.ops_total if self.ops_total else 0.0


class Engine(Protocol):
    """A loaded engine. Inputs and outputs are CPU tensors, batch first; outputs are flat, in graph order."""

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]: ...

    def effective_precision(self) -> str: ...

    def close(self) -> None: ...


class EngineBackend(Protocol):
    """Turns an exported program into files in a folder, and such a folder into an engine.

    `refit` puts the program's weights into a loaded engine, in place, writes that engine's files to `folder`, and
    returns the seconds of the in-place call alone; it raises `RefitUnsupported` before anything was changed where it
    cannot. What it gives is verified by the caller.
    """

    name: str

    def probe(self) -> Availability: ...

    def capabilities(self) -> Capabilities: ...

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage: ...

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float: ...

    def load(self, folder: Path, spec: EngineSpec) -> Engine: ...


# ---- tracking ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """Where a record went: ids of the tracker."""

    tracking_uri: str
    experiment: str
    run_id: str
    model_version: int | None = None


class Tracker(Protocol):
    """The shared memory. `record` is idempotent by the record's uid: replaying it changes nothing.

    `ledger` tells who was champion when: `lines` is the whole ledger, oldest first, as plain mappings; those up to the
    seq `since` were told before. Telling them again changes nothing.
    """

    def record(self, run: RunRecord) -> Tracked: ...

    def point(self, pipeline: str, aliases: Mapping[str, str]) -> None: ...

    def ledger(self, pipeline: str, lines: Sequence[Mapping[str, Any]], since: int) -> None: ...


# ---- progress and time ---------------------------------------------------------------------------------------------
EventSink = Callable[[Mapping[str, Any]], None]
"""Receives `{"event": ..., ...}` from workers: see docs/workers.md for the events."""


class Clock(Protocol):
    """The one source of time, so that tests can step it."""

    def now_utc(self) -> float: ...

    def monotonic_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks."""

    def now_utc(self) -> float:
        """Seconds since the epoch."""
        import time

        return time.time()

    def monotonic_s(self) -> float:
        """Seconds of the monotonic clock."""
        import time

        return time.monotonic()
