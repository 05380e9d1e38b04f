"""What `calibrate` found, as a table."""

from typing import Any

from plaster_ops.domain.metrics import CATALOGUE

_HEAD = ("", "metric", "two copies differ by up to", "largest seen", "margin", "verdicts here")


def _cells(floor: Any) -> list[str]:
    word = "can be had" if floor.is_below else "inconclusive (too_noisy)"
    metric = CATALOGUE[floor.key]
    shown = (f"{value:.2%}" for value in (floor.half_width, floor.largest, floor.margin))
    return [metric.letter.value, floor.key, *shown, word]


def noise_view(calibration: Any, *, plain: bool) -> Any:
    """The floors of a `flow.calibrate.Calibration`, what they rest on above, what to do below."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if 2 <= place <= 4 else "left", no_wrap=True)
    for floor in calibration.floors:
        table.add_row(*_cells(floor))
    return Group(Text(_title(calibration)), table, Text(_advice(calibration)))


def noise_markdown(calibration: Any) -> str:
    """The same as GitHub Markdown."""
    rows = [list(_HEAD), ["-"] * len(_HEAD), *(_cells(floor) for floor in calibration.floors)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{_title(calibration)}\n\n{table}\n\n{_advice(calibration)}\n"


def _title(calibration: Any) -> str:
    count = max((floor.comparisons for floor in calibration.floors), default=0)
    times = "once" if count == 1 else f"{count} times"
    return (
        f"{calibration.pipeline}: the engine of run #{calibration.run} against itself, {times}, profile"
        f" {calibration.profile}, {calibration.device}"
    )


def _advice(calibration: Any) -> str:
    noisy = [floor.key for floor in calibration.floors if not floor.is_below]
    if not noisy:
        return "every margin is wider than this machine's noise; retrain and compare judge by it from now on"
    return (
        f"this machine is too noisy to judge {', '.join(noisy)} by these margins: such verdicts will be inconclusive;"
        " measure longer (--profile standard), on a quieter machine, or widen the gate"
    )
