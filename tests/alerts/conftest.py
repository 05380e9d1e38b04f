"""Receivers for the tests of this room."""

from collections.abc import Iterator

import pytest

from plaster_ops.domain.alert import AlertMessage, AlertState
from tests.alerts.receivers import Web, web_receiver


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is spoken to as it is."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def web() -> Iterator[Web]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def message() -> AlertMessage:
    return AlertMessage(
        id="a" * 32,
        project="shop",
        pipeline="digits",
        condition="regressed",
        state=AlertState.FIRING,
        reason="#12 was held: accuracy gate failed: accuracy/rolling_score -0.0800, allowed 0.01",
        since="2026-11-23T02:03:00+00:00",
        at="2026-11-23T02:03:00+00:00",
        run={"index": 12, "id": "m" * 32, "uid": "u" * 32},
        link="http://mlflow:5000/#/runs/mmm",
        look="runs/00012/artifacts",
    )
