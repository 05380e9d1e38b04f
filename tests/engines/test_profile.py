"""The share of a forward that an engine spends in its own code, told from the operators it hands back to torch."""

import time
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from plaster_ops.engines.profile import time_inside
from plaster_ops.ports import Coverage

VALUES = torch.rand(40_000)
Work = Callable[[Tensor], object]


class PartlyOutside:
    """Works outside by one of torch's operators, then `inside_ratio` times as long in code of its own."""

    def __init__(self, outside: Work, inside_ratio: float) -> None:
        self.outside = outside
        self.inside_ratio = inside_ratio
        self.calls: list[tuple[Tensor, ...]] = []

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.calls.append(inputs)
        began_s = time.perf_counter()
        self.outside(inputs[0])
        outside_s = time.perf_counter() - began_s
        until_s = began_s + outside_s * (1 + self.inside_ratio)
        while time.perf_counter() < until_s:
            pass
        return inputs

    def effective_precision(self) -> str:
        return "fp32"

    def close(self) -> None:
        """Holds nothing."""


def coverage(engines: int, fallback_ops: Sequence[str] = ()) -> Coverage:
    inside = 3 if engines else 0
    return Coverage(
        ops_total=3 + len(fallback_ops),
        ops_in_engine=inside,
        flops_ratio=0.5,
        engines=engines,
        fallback_ops=tuple(fallback_ops),
    )


def share(outside: Work, inside_ratio: float, *fallback_ops: str) -> float | None:
    """The middle one of three: a neighbour on the machine may take the time of one."""
    found = [time_inside(PartlyOutside(outside, inside_ratio), coverage(1, fallback_ops), [VALUES]) for _ in range(3)]
    known = sorted(each for each in found if each is not None)
    return known[len(known) // 2] if len(known) == len(found) else None


@pytest.mark.parametrize(("engines", "wanted"), [(0, 0.0), (1, 1.0)])
def test_what_is_wholly_outside_or_inside_is_known_without_a_run(engines: int, wanted: float) -> None:
    engine = PartlyOutside(torch.sort, 1.0)
    assert time_inside(engine, coverage(engines), [VALUES]) == wanted
    assert engine.calls == []


@pytest.mark.parametrize(("inside_ratio", "wanted"), [(0.0, 0.0), (1.0, 0.5), (4.0, 0.8)])
def test_time_in_operators_outside_is_told_from_time_in_the_engine(inside_ratio: float, wanted: float) -> None:
    assert share(torch.sort, inside_ratio, "aten::sort") == pytest.approx(wanted, abs=0.2)


@pytest.mark.parametrize("name", ["aten::sort.stable", "sort_stable"])
def test_an_operator_is_known_by_any_of_its_names(name: str) -> None:
    assert share(lambda values: torch.sort(values, stable=True), 1.0, name) == pytest.approx(0.5, abs=0.2)


def test_operators_outside_are_summed() -> None:
    def sort_twice(values: Tensor) -> None:
        torch.sort(values)
        torch.cumsum(values, 0)

    both = share(sort_twice, 1.0, "aten::sort", "aten::cumsum")
    assert both == pytest.approx(0.5, abs=0.2)


def test_an_operator_that_calls_another_one_outside_is_counted_once() -> None:
    found = share(
        lambda values: torch.linalg.inv(values[:40_000].reshape(200, 200)), 1.0, "linalg_inv", "linalg_inv_ex"
    )
    assert found == pytest.approx(0.5, abs=0.25)  # counted twice, nothing would be left inside


def test_where_the_profiler_does_not_name_what_is_outside_the_share_is_unknown() -> None:
    assert share(torch.sort, 1.0, "mine::twist") is None


def test_it_is_run_on_the_inputs_that_were_given() -> None:
    engine = PartlyOutside(torch.sort, 0.0)
    time_inside(engine, coverage(1, ["aten::sort"]), [VALUES, VALUES[:3]])
    assert len(engine.calls) > 1
    assert all(len(call) == 2 and call[0] is VALUES for call in engine.calls)
