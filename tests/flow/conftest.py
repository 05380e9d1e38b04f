"""A project whose stages are doubled, and one retrain of it as a call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.flow import context, train, wiring
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.session import Start, run_retrain
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from tests.conftest import SteppedClock
from tests.flow.walk import BACKEND, Store, Walk

Retrain = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project `digits` with one gate that can fail: accuracy, by more than 0.01."""
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)
    plain = {
        "ref": "m.digits:pipeline",
        "engine": {"backends": [BACKEND], "precisions": ["fp32"]},
        "measure": {"profile": "standard", "batches": [1, 8]},
        "gates": {"accuracy": {"max_drop": 0.01}, "latency": {"max_rise_ratio": 0.05}},
    }
    return Settings(
        project=project,
        file=None,
        tracking_uri="http://127.0.0.1:9",
        default="digits",
        pipelines={"digits": PipelineSettings.model_validate(plain)},
    )


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    tracker = Store()
    monkeypatch.setattr(wiring.Ports, "tracker", lambda _ports: tracker)
    return tracker


@pytest.fixture
def walk(clock: SteppedClock, store: Store, monkeypatch: pytest.MonkeyPatch) -> Walk:
    del store
    double = Walk(clock)
    monkeypatch.setattr(context, "run_stage", double.run_stage)
    monkeypatch.setattr(train, "fit", double.fit)
    monkeypatch.setattr(wiring, "SystemClock", lambda: clock)
    return double


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def retrain(settings: Settings, walk: Walk, clock: SteppedClock, events: list[dict[str, Any]]) -> Retrain:
    """One retrain, not timed unless `measure=True` is asked for. Returns the `--json` object."""
    del walk

    def run(*, resume: str | None = None, project: Settings = settings, **asked: Any) -> dict[str, Any]:
        request = Request(**{"measure": False, **asked})
        start = Start(monotonic_s=clock.monotonic - 0.5, epoch_s=clock.epoch - 0.5)
        return run_retrain(project, None, request, start=start, tell=lambda e: events.append(dict(e)), resume=resume)

    return run
