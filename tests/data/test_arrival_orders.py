"""Whatever the order of arrival: nothing leaks, nothing is lost, nothing is learned twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.data.world import World

CONTENT = st.lists(
    st.tuples(st.integers(1, 60), st.one_of(st.integers(0, 1), st.integers(0, 1), st.none())), min_size=1, max_size=5
)
WHICH = st.integers(0, 1000)
LOOKBACK = st.sampled_from(["all", "all", "20d", "last 7"])
STEP = st.one_of(
    st.tuples(st.just("land"), CONTENT, st.sampled_from(["csv", "parquet"])),
    st.tuples(st.just("land"), CONTENT, st.sampled_from(["csv", "parquet"])),
    st.tuples(st.just("grow"), WHICH, CONTENT),
    st.tuples(st.just("revise"), WHICH, CONTENT),
    st.tuples(st.just("copy"), WHICH),
    st.tuples(st.just("rename"), WHICH),
    st.tuples(st.just("rotate"), WHICH, CONTENT),
    st.tuples(st.just("delete"), WHICH),
    st.tuples(st.just("retrain"), st.booleans(), LOOKBACK, st.sampled_from([None, 0.0, 0.5, 2.0])),
    st.tuples(st.just("retrain"), st.just(True), st.just("all"), st.none()),
    st.tuples(st.just("rollback")),
)


REWRITTEN_THEN_COPIED = [
    ("land", [(48, 0), (45, 0)], "parquet"), ("retrain", True, "all", None), ("revise", 0, [(41, 0)]), ("copy", 0),
]  # fmt: skip
COPIED_THEN_REWRITTEN = [
    ("land", [(48, 0), (5, 0)], "csv"), ("retrain", True, "all", None), ("copy", 0), ("revise", 1, [(41, 0)]),
]  # fmt: skip


def play(world: World, steps: list[tuple[Any, ...]]) -> None:
    for number, (kind, *given_) in enumerate(steps):
        STEPS[kind](world, number, *given_)


def some(world: World, which: int) -> str | None:
    names = sorted(world.files)
    return names[which % len(names)] if names else None


def land(world: World, number: int, content: Any, kind: str) -> None:
    world.write(f"day-{number:03d}.{kind}", content)


def grow(world: World, _: int, which: int, content: Any) -> None:
    """Not where another file holds the same rows: that would be rows written twice, which only a key could tell."""
    path = some(world, which)
    if path is not None and list(world.files.values()).count(world.files[path]) == 1:
        world.write(path, content, keep=len(world.files[path]))


def revise(world: World, _: int, which: int, content: Any) -> None:
    if (path := some(world, which)) is not None:
        world.write(path, content)


def copy(world: World, number: int, which: int) -> None:
    if (path := some(world, which)) is not None:
        world.copy(path, f"copy-{number}.{path.rpartition('.')[2]}")


def rename(world: World, number: int, which: int) -> None:
    if (path := some(world, which)) is not None:
        world.rename(path, f"moved-{number}.{path.rpartition('.')[2]}")


def rotate(world: World, number: int, which: int, content: Any) -> None:
    """As logs are: the file takes another name, and a new one begins under its own."""
    if (path := some(world, which)) is not None:
        rename(world, number, which)
        world.write(path, content)


def delete(world: World, _: int, which: int) -> None:
    if len(world.files) > 1 and (path := some(world, which)) is not None:
        world.delete(path)


def retrain(world: World, _: int, promoted: bool, lookback: str, ratio: float | None) -> None:
    usable = lookback if world.dated or not lookback.endswith("d") else "20s"
    world.retrain(promoted=promoted, lookback=usable, ratio=ratio)


def rollback(world: World, _: int) -> None:
    if world.chain:
        world.chain.pop()


STEPS: dict[str, Callable[..., None]] = {
    "land": land, "grow": grow, "revise": revise, "copy": copy, "rename": rename, "rotate": rotate, "delete": delete,
    "retrain": retrain, "rollback": rollback,
}  # fmt: skip


@pytest.mark.parametrize(("dated", "holdout", "delay"), [(True, "6d", "0s"), (False, 4, "3s"), (True, 3, "5d")])
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to make a failure smaller takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(steps=REWRITTEN_THEN_COPIED)
@example(steps=COPIED_THEN_REWRITTEN)
@given(steps=st.lists(STEP, min_size=4, max_size=16))
def test_no_order_of_arrival_leaks_loses_or_doubles_a_row(
    tmp_path: Path, dated: bool, holdout: str | int, delay: str, steps: list[tuple[Any, ...]]
) -> None:
    world = World.new(tmp_path / "project", dated=dated, holdout=holdout, delay=delay)
    play(world, steps)
    world.settle()
