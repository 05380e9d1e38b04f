"""The swap and what follows it: under its lock, only with the engine there, and MLflow told or waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from plaster_ops.domain.lineage import PromotionKind
from plaster_ops.errors import BuildFailed, Busy, TrackingUnavailable
from plaster_ops.flow import champion
from plaster_ops.flow.champion import Changed, crown, engine_of, tell_tracker
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.settings import Settings
from plaster_ops.tracking.memory_store import MemoryTracker
from plaster_ops.tracking.outbox import sync
from tests.flow.champions import add_run, champions, ledger, make_project


class Store(MemoryTracker):
    """MLflow, opened and closed as the flow does."""

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_project(tmp_path_factory.mktemp("champion") / "project")


@pytest.fixture
def ports(settings: Settings) -> Iterator[Ports]:
    with open_ports(settings) as opened:
        yield opened


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store()
    monkeypatch.setattr(Ports, "tracker", lambda _: found)
    return found


def test_nobody_is_crowned_while_another_holds_the_lock(
    settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)

    @contextmanager
    def taken(*_: object) -> Iterator[None]:
        raise Busy("engines are being pruned", "try again")
        yield

    monkeypatch.setattr(champion, "promotion_lock", taken)
    _, folder = engine_of(ports, held)
    with pytest.raises(Busy):
        crown(ports, held, folder, expected=first, kind=PromotionKind.PROMOTE, reason="r", forced=False)
    assert len(ledger(settings)) == 1


def test_an_engine_that_was_pruned_after_it_was_looked_at_is_not_crowned(settings: Settings, ports: Ports) -> None:
    (first,) = champions(settings, 1)
    held = add_run(settings, against=first)
    _, folder = engine_of(ports, held)
    folder.rename(folder.with_name("gone"))
    with pytest.raises(BuildFailed, match="was removed meanwhile"):
        crown(ports, held, folder, expected=first, kind=PromotionKind.PROMOTE, reason="r", forced=False)
    assert len(ledger(settings)) == 1


def test_a_rollback_tells_the_aliases_and_sends_nothing(settings: Settings, ports: Ports, store: Store) -> None:
    champions(settings, 2)
    sync(ports.journal, store)
    later = add_run(settings, against=None)
    assert tell_tracker(ports, "digits", send=False) == "1 of the runs that it speaks of wait to be sent"
    assert later.uid not in store.plans
    assert tell_tracker(ports, "digits", send=True) is None
    assert later.uid in store.plans
    assert store.aliases["digits"] == {"champion": 2, "previous": 1, "challenger": 3}


@pytest.mark.parametrize("send", [True, False])
def test_a_store_that_is_away_is_told_whatever_was_to_be_sent(
    settings: Settings, ports: Ports, store: Store, send: bool
) -> None:
    champions(settings, 1)
    store.fail_with = TrackingUnavailable("nobody answers", "")
    assert tell_tracker(ports, "digits", send=send) == "nobody answers"


def test_a_store_that_cannot_even_be_opened_is_told_and_nothing_is_raised(
    settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Ports) -> None:
        raise TrackingUnavailable("the store is of a later MLflow", "")

    champions(settings, 1)
    monkeypatch.setattr(Ports, "tracker", away)
    assert tell_tracker(ports, "digits", send=False) == "the store is of a later MLflow"


@pytest.mark.parametrize("waits", [None, "nobody answers"])
def test_aliases_that_wait_are_never_called_set(settings: Settings, waits: str | None) -> None:
    first, second = champions(settings, 2)
    changed = Changed(
        pipeline="digits",
        verdict="rolled_back",
        reasons=("p99 doubled",),
        run=first,
        before=second,
        by="kim",
        waits=waits,
    )
    assert changed.lines() == [
        "digits: #1 is champion in place of #2: p99 doubled",
        "MLflow's aliases are set" if waits is None else "MLflow's aliases wait: nobody answers; run: plaster-ops sync",
        "there is no champion before it",
    ]
    assert changed.to_json()["mlflow"] == {"pointed": waits is None, "waits": waits}
