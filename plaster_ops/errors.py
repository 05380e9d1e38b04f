"""The one family of errors, each with the exit code a shell, cron or Kubernetes sees.

A message names the value that is wrong and the next step. Nothing here prints or exits; `cli` does.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller. Documented in README.md; every code has a test."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    HELD = 3
    NOT_COMPARABLE = 4
    INCONCLUSIVE = 5
    NOT_MEASURED = 6
    TRAINING_FAILED = 10
    BUILD_FAILED = 11
    NOT_RECORDED = 12
    BUSY = 75
    TIMED_OUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


class PlasterError(Exception):
    """Base of every error that plaster-ops raises on purpose.

    `next_step` is one sentence that tells the reader what to do; it is printed under the message.
    """

    exit_code = ExitCode.UNEXPECTED

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.payload: dict[str, object] | None = None
        """The `--json` object of the run that failed, where one had been opened."""


class Unexpected(PlasterError):
    """Something that plaster-ops did not foresee, wrapped where it would otherwise leave a run open."""


class UsageError(PlasterError):
    """A command line, a setting, or a pipeline that cannot be used as it is."""

    exit_code = ExitCode.USAGE


class SettingsError(UsageError):
    """plaster.toml (or [tool.plaster-ops]) holds something that is not a setting."""


class PipelineError(UsageError):
    """The user's pipeline does not load or does not fulfil the contract."""


class DataError(UsageError):
    """The pipeline's data cannot be used: an empty golden set, rows of the wrong shape."""


class NotComparable(PlasterError):
    """Two runs have no common ground: another device, other inputs, no engine."""

    exit_code = ExitCode.NOT_COMPARABLE


class EngineGone(NotComparable):
    """The engine of a run is neither on disk nor can be built again: only its recorded numbers are left."""


class TrainingFailed(PlasterError):
    """The fit ended without a usable model: NaN loss, a crash past the restart bound."""

    exit_code = ExitCode.TRAINING_FAILED


class WeightsDiffer(TrainingFailed):
    """The champion's weights do not fit the model as it is today."""


class Postponed(TrainingFailed):
    """The fit lacks something from outside: a node that did not come, room on a disk. The run waits to be resumed."""


class BuildFailed(PlasterError):
    """No engine that may be used: export, build or parity failed, or a digest does not match."""

    exit_code = ExitCode.BUILD_FAILED


class MemoryLimit(BuildFailed):
    """A stage took more memory than it was allowed and was stopped with everything it started."""


class RefitUnsupported(BuildFailed):
    """New weights cannot go into that engine; it is built anew instead. The message says why."""


class ArtifactTampered(BuildFailed):
    """A file of a stored engine differs from its manifest; it is never loaded."""


class OutdatedArtifact(ArtifactTampered):
    """A stored engine of an earlier release, which this one does not read; it is rebuilt from its weights."""


class NotRecorded(PlasterError):
    """The journal cannot be written, so nothing that happens could be recorded."""

    exit_code = ExitCode.NOT_RECORDED


class RecordsGone(PlasterError):
    """What a run kept of its numbers is missing, damaged, or of a release that this one does not read."""

    exit_code = ExitCode.NOT_COMPARABLE


class TrackingUnavailable(PlasterError):
    """The tracking store could not be reached; the record stays in the journal for `sync`."""


class Busy(PlasterError):
    """Another process holds this pipeline's lock."""

    exit_code = ExitCode.BUSY


class TimedOut(PlasterError):
    """A stage ran past its limit and was stopped with everything it started."""

    exit_code = ExitCode.TIMED_OUT


class Interrupted(PlasterError):
    """SIGINT or SIGTERM: everything was stopped. A retrain that can go on says so in `next_step` instead."""

    exit_code = ExitCode.TERMINATED

    def __init__(self, signal_number: int) -> None:
        name = "SIGINT" if signal_number == 2 else "SIGTERM"
        super().__init__(f"stopped by {name}", "run the same command again")
        self.exit_code = ExitCode.INTERRUPTED if signal_number == 2 else ExitCode.TERMINATED


class ChildFailed(PlasterError):
    """A worker process ended without a result. Carries the stage, how it ended and its last words."""

    def __init__(self, stage: str, ending: str, log_tail: str, kind: str = "", exit_code: int = 1) -> None:
        super().__init__(f"{stage}: {ending}", "")
        self.stage = stage
        self.ending = ending
        self.log_tail = log_tail
        self.kind = kind
        self.exit_code = ExitCode(exit_code)
