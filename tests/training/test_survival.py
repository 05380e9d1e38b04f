"""Two real ranks that are killed or stopped, and end in the weights of two that were not. Each start costs seconds."""

from pathlib import Path
from typing import Any

import pytest

from plaster_ops.errors import Interrupted
from plaster_ops.processes.gang import Limits
from plaster_ops.training.launch import fit
from tests.training.conftest import SpecMaker

PATIENT = Limits(timeout_s=240, idle_s=120, grace_s=0.0, farewell_s=60.0)


def test_ranks_that_were_killed_and_then_stopped_end_in_the_undisturbed_weights(
    tmp_path: Path, make_spec: SpecMaker
) -> None:
    events: list[Any] = []

    def stop_in_the_last_epoch(event: Any) -> None:
        events.append(event)
        if event["event"] == "checkpoint" and (event["epoch"], event["batch"]) == (3, 2):
            raise Interrupted(15)

    quiet = make_spec(reference="noisy:pl_noisy", devices=2, checkpoint_folder=str(tmp_path / "quiet"))
    whole = fit(quiet, folder=tmp_path / "whole", limits=PATIENT, on_event=lambda _event: None)
    spec = make_spec(reference="noisy:pl_killed", devices=2, checkpoint_every_s=1e-9)
    with pytest.raises(Interrupted):
        fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=stop_in_the_last_epoch)
    assert [event["reason"] for event in events if event["event"] == "restart"] == ["fit: rank 1 was killed by SIGKILL"]
    kept = [(event["epoch"], event["batch"]) for event in events if event["event"] == "checkpoint"]
    assert (2, 4) in kept
    assert kept[-1] > (3, 2), "the ranks were given time for one more"
    events.clear()
    again = fit(spec, folder=tmp_path / "fit", limits=PATIENT, on_event=events.append)
    started = next(event for event in events if event["event"] == "attempt")
    assert (started["resumed_from_epoch"], started["resumed_from_batch"]) == kept[-1]
    same = ("weights_digest", "steps", "samples_seen", "samples_learned", "metrics")
    assert [getattr(again.result, name) for name in same] == [getattr(whole.result, name) for name in same]
