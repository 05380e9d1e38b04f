"""One family of errors; every one of them says with which code the process ends."""

import signal

import pytest

from plaster_ops import errors
from plaster_ops.errors import ChildFailed, ExitCode, Interrupted, PlasterError

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PlasterError)]

CODES = {
    "SettingsError": 2,
    "PipelineError": 2,
    "DataError": 2,
    "NotComparable": 4,
    "TrainingFailed": 10,
    "BuildFailed": 11,
    "ArtifactTampered": 11,
    "NotRecorded": 12,
    "RecordsGone": 4,
    "Busy": 75,
    "TimedOut": 124,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_an_error_carries_the_exit_code_of_its_kind(name: str, code: int) -> None:
    error = getattr(errors, name)("what is wrong", "what to do")
    assert (int(error.exit_code), error.message, error.next_step) == (code, "what is wrong", "what to do")
    assert str(error) == "what is wrong"


def test_no_error_ends_with_the_code_of_success() -> None:
    assert len(FAMILY) > 10
    assert ExitCode.DONE not in {kind.exit_code for kind in FAMILY}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_as_a_shell_expects_and_promises_nothing_to_resume(number: int, code: int) -> None:
    error = Interrupted(number)
    assert int(error.exit_code) == code
    assert error.next_step == "run the same command again"
    assert signal.Signals(number).name in error.message


def test_a_failed_child_keeps_the_code_and_the_last_words_of_the_child() -> None:
    error = ChildFailed("build", "killed by SIGKILL", "out of memory", kind="signal", exit_code=11)
    assert (error.exit_code, error.log_tail, error.kind) == (ExitCode.BUILD_FAILED, "out of memory", "signal")
    assert error.message == "build: killed by SIGKILL"


def test_a_child_cannot_invent_an_exit_code() -> None:
    with pytest.raises(ValueError, match="77"):
        ChildFailed("build", "ended", "", exit_code=77)
