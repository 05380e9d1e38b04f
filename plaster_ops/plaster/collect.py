"""One measuring process from loaded engines to raw evidence: warm-up, single stream, eager, throughput, server.

Holds engines as plain callables and real inputs as ready queries; knows nothing of files or of user code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plaster_ops.plaster.open_loop import Kept, OpenLoop, Point
from plaster_ops.plaster.profiles import Profile
from plaster_ops.plaster.search import Found
from plaster_ops.plaster.sustained import Sustained
from plaster_ops.plaster.timing import RunQuery, Turn, interleave, no_garbage_collection
from plaster_ops.plaster.turns import EAGER, SINGLE, Bench, Block, Parts, block_count, bounded_count
from plaster_ops.plaster.warmup import Warmth, warm_up

_EAGER_BLOCKS = 4
_LEAST_ROUNDS = 2
_PATIENCE = 10
_SPLIT_QUERIES = 400
_SPLIT_LIMIT_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What is measured how. `labels` are compared; `chosen_batches` is None in the process that searches for them.

    `fastest_batches` and `points` are what that process found besides. `max_queue_delay_ms` None: no server.
    """

    labels: tuple[str, ...]
    profile: Profile
    slo_ms: float
    batches: tuple[int, ...]
    process: int = 0
    chosen_batches: Mapping[str, int] | None = None
    fastest_batches: Mapping[str, int] = field(default_factory=dict)
    points: Mapping[str, Point] = field(default_factory=dict)
    max_queue_delay_ms: float | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """Who comes first alternates with the process."""
        return self.labels if self.process % 2 == 0 else tuple(reversed(self.labels))


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """Everything one process found out."""

    blocks: tuple[Block, ...]
    warmths: Mapping[str, Warmth]
    found: Found | None
    chosen_batches: Mapping[str, int]
    parts: Mapping[str, Parts]
    """Where the time of a call goes, for engines on a GPU; per query in ms."""
    fastest_batches: Mapping[str, int] = field(default_factory=dict)
    points: Mapping[str, Point] | None = None
    served: tuple[Kept, ...] = ()


def collect(bench: Bench, setup: Setup) -> Collected:
    """Measures the engines on the bench turn by turn, with the garbage collector off.

    An engine labelled "eager" that is not among `setup.labels` gets a few blocks of its own.
    """
    sustained = Sustained(bench=bench, labels=setup.order, profile=setup.profile, slo_ms=setup.slo_ms)
    engines, searching = len(setup.labels), setup.chosen_batches is None
    serving = setup.max_queue_delay_ms is not None
    planned_s = setup.profile.needed_s(engines, searching=searching, eager=EAGER in bench.runs, server=serving)
    bench.progress.begin(planned_s, bench.clock_ns())
    with no_garbage_collection():
        warmths = {label: _warm(bench, setup, bench.runs[label]) for label in setup.order}
        take_single_stream(bench, setup, warmths)
        parts = _split_calls(bench, setup, warmths)
        if EAGER in bench.runs and EAGER not in setup.labels:
            warmths[EAGER] = _warm(bench, setup, bench.runs[EAGER])
            _take_eager(bench, setup, warmths[EAGER])
        given = setup.chosen_batches
        found = sustained.search(setup.batches) if searching else None
        wanted = found.chosen if found else given or {}
        chosen = sustained.measure({label: int(wanted.get(label, 1)) for label in setup.order}, found)
        fastest = found.fastest() if found else dict(setup.fastest_batches)
        sustained.measure_offline({label: batch for label, batch in fastest.items() if batch != chosen[label]})
        points, served = _serve(bench, setup, found)
    bench.progress.finish(setup.order[-1])
    return Collected(
        blocks=tuple(bench.blocks),
        warmths=warmths,
        found=found,
        chosen_batches=chosen,
        fastest_batches=fastest,
        points=points,
        served=served,
        parts=parts,
    )


def _serve(bench: Bench, setup: Setup, found: Found | None) -> tuple[Mapping[str, Point] | None, tuple[Kept, ...]]:
    """Server mode, one engine after the other: a search where batches were searched, else one run that confirms."""
    if setup.max_queue_delay_ms is None:
        return None, ()
    server = OpenLoop(
        bench=bench,
        profile=setup.profile,
        slo_ms=setup.slo_ms,
        max_queue_delay_ms=setup.max_queue_delay_ms,
        process=setup.process,
    )
    points = dict(setup.points)
    for label in setup.order:
        if found is not None:
            points[label] = server.search(label, found)
        elif label in points:
            server.confirm(label, points[label])
    return points, tuple(server.kept)


def take_single_stream(bench: Bench, setup: Setup, warmths: Mapping[str, Warmth]) -> None:
    """Batch 1, one query at a time: every engine answers the same samples, block by block; at least two rounds."""
    profile, engines = setup.profile, len(setup.labels)
    mean_s = sum(warmths[label].p50_ns for label in setup.labels) * 1e-9 / engines
    count = block_count(profile.block_s, mean_s)
    stop_ns = bench.clock_ns() + round(1e9 * profile.single_s * engines)
    number = 0
    while number < _LEAST_ROUNDS or bench.clock_ns() < stop_ns:
        for turn in interleave(setup.order, number):
            query_s = max(mean_s, warmths[turn.label].p50_ns * 1e-9)
            bench.take(SINGLE, turn, batch=1, count=count, limit_s=_PATIENCE * count * query_s)
        number += 1


def _split_calls(bench: Bench, setup: Setup, warmths: Mapping[str, Warmth]) -> dict[str, Parts]:
    """A pass of its own: events inside a call cost time that a timed block must not hold. At most a second each."""
    found = {}
    for label in setup.order:
        if label in bench.splits:
            count = max(1, min(_SPLIT_QUERIES, round(_SPLIT_LIMIT_S * 1e9 / warmths[label].p50_ns)))
            queries = bench.inputs.queries(1)
            parts = bench.splits[label]((queries * -(-count // len(queries)))[:count])
            if parts is not None:
                found[label] = parts
    return found


def _take_eager(bench: Bench, setup: Setup, warmth: Warmth) -> None:
    block_s = setup.profile.eager_s / _EAGER_BLOCKS
    count = bounded_count(block_s * 1e9 / warmth.p50_ns)
    for index in range(_EAGER_BLOCKS):
        turn = Turn(label=EAGER, index=index, position=index)
        bench.take(EAGER, turn, batch=1, count=count, limit_s=4 * block_s)


def _warm(bench: Bench, setup: Setup, run: RunQuery) -> Warmth:
    return warm_up(
        run,
        bench.inputs.queries(1),
        least_s=setup.profile.warmup_s,
        limit_s=setup.profile.warmup_limit_s,
        clock_ns=bench.clock_ns,
        cpu_s=bench.cpu_s,
    )
