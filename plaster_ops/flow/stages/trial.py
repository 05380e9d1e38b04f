"""Stage `trial`: candidates of the ladder one after the other - parity, the score they keep, and how fast about.

An event `trying` is sent before a candidate is touched and `tried` with its result after it, so that a candidate that
kills this process, or hangs in it, is known by name and the others' results are not lost with it.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from plaster_ops.data.batches import flat_inputs
from plaster_ops.data.samples import load_groups
from plaster_ops.domain.metrics import Better
from plaster_ops.engines.export import unflatten
from plaster_ops.errors import PlasterError
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.examiner import Loaded, Parity, Reference, evaluation_pieces, joined, summary
from plaster_ops.flow.stages.verdict import why_refused
from plaster_ops.plaster.accuracy import Answers, direction
from plaster_ops.plaster.resampling import SetScore
from plaster_ops.plaster.scoring import evaluate_set
from plaster_ops.ports import EventSink

_HELD_BYTES = 1_000_000_000
_ALIVE_EVERY_S = 1.0
_ROUGH_S, _ROUGH_RUNS = 0.25, 200


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, window, weights, samples, structure, max_batch, batch (for the rough timing), limits,
    candidates [{label, folder}], and timeout_s for each.

    Result: `results`, label -> `{"accepted", "reason", "parity", "retention", "rough_ms", "rough_batch_ms"}`; what was
    not reached is None. A candidate that raises is a result with its reason.
    """
    del folder
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    trial = _Trial(pipeline, spec, emit)
    results = {}
    for row in spec["candidates"]:
        label = str(row["label"])
        emit({"event": "trying", "label": label})
        results[label] = trial.examine(Path(row["folder"]))
        emit({"event": "tried", "label": label, "result": results[label]})
    return {"results": results}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One labelled batch with what the eager model answered."""

    inputs: Any
    targets: Any
    n: int
    eager: tuple[Tensor, ...]


class _Trial:
    """The questions of a trial: kept in memory with eager's answers, or read again where they are too large."""

    def __init__(self, pipeline: Any, spec: Mapping[str, Any], emit: EventSink) -> None:
        self._pipeline, self._spec, self._emit = pipeline, spec, emit
        self._told_s = 0.0
        self._max_batch = int(spec["max_batch"])
        self._reference = Reference(pipeline, spec["weights"], pipeline.sample_batch(2))
        self._groups = load_groups(Path(spec["samples"]))
        self._better: Better = direction(pipeline)
        self._held: list[_Asked] | None = []
        answers, used_bytes = [], 0
        for inputs, targets, n in self._pieces():
            eager = self._reference.answer(inputs)
            answers.append(self._labelled(eager, targets, n))
            used_bytes += sum(tensor.nbytes for tensor in eager) + _bytes_of(inputs)
            if self._held is not None:
                self._held.append(_Asked(inputs, targets, n, eager))
            if used_bytes > _HELD_BYTES:
                self._held = None
            self._alive()
        self._theirs: SetScore = evaluate_set(pipeline.score, joined(answers))

    def examine(self, folder: Path) -> dict[str, Any]:
        """Parity, score and rough speed of the engine in that folder."""
        found: dict[str, Any] = {"accepted": False, "reason": "", "parity": None, "retention": None}
        found |= {"rough_ms": None, "rough_batch_ms": None, "parity_s": 0.0}
        try:
            loaded = Loaded(folder)
            try:
                return found | self._examine(loaded)
            finally:
                loaded.engine.close()
        except PlasterError as error:
            return found | {"reason": error.message}
        except Exception as error:
            return found | {"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}

    def _examine(self, loaded: Loaded) -> dict[str, Any]:
        until_s = time.monotonic() + float(self._spec["timeout_s"])
        parity = Parity(loaded)
        parity.check_batches(self._reference, self._groups, self._max_batch)
        answers = []
        for asked in self._asked():
            answer = loaded.answer(asked.inputs)
            parity.add(asked.eager, answer)
            answers.append(self._labelled(answer, asked.targets, asked.n))
            self._alive()
            if time.monotonic() > until_s:
                return {"reason": f"not done after {self._spec['timeout_s']:g} s", "parity": self._summary(parity)}
        mine = evaluate_set(self._pipeline.score, joined(answers), like=self._theirs)
        report = parity.report()
        assert report is not None
        retention, reason = why_refused(report, mine, self._theirs, self._better, self._spec)
        found: dict[str, Any] = {"parity": summary(report), "retention": retention.to_json(), "reason": reason}
        found["parity_s"] = parity.seconds
        return found | {"accepted": not reason} | (self._rough_speed(loaded) if not reason else {})

    def _rough_speed(self, loaded: Loaded) -> dict[str, float]:
        group = max(self._groups, key=lambda tensors: int(tensors[0].shape[0]))
        batch = min(int(self._spec["batch"]), self._max_batch)
        found = {}
        for name, rows in (("rough_ms", 1), ("rough_batch_ms", batch)):
            inputs = tuple(tensor[:rows] for tensor in group)
            found[name] = _median_ms(loaded, inputs)
            self._alive()
        return found

    def _asked(self) -> Any:
        if self._held is not None:
            return iter(self._held)
        return (_Asked(inputs, targets, n, self._reference.answer(inputs)) for inputs, targets, n in self._pieces())

    def _pieces(self) -> Any:
        for _, pieces in evaluation_pieces(self._pipeline, self._spec["window"], self._max_batch):
            yield from pieces

    def _labelled(self, answer: Sequence[Tensor], targets: Any, n: int) -> Answers:
        return Answers(outputs=unflatten(str(self._spec["structure"]), answer), targets=targets, n=n)

    def _summary(self, parity: Parity) -> dict[str, Any] | None:
        report = parity.report()
        return summary(report) if report else None

    def _alive(self) -> None:
        if time.monotonic() - self._told_s > _ALIVE_EVERY_S:
            self._told_s = time.monotonic()
            self._emit({"event": "alive"})


def _bytes_of(inputs: Any) -> int:
    return sum(tensor.nbytes for tensor in flat_inputs(inputs))


def _median_ms(loaded: Loaded, inputs: tuple[Tensor, ...]) -> float:
    """Of up to 200 calls after three to warm up, a quarter of a second at most."""
    for _ in range(3):
        loaded.engine.run(*inputs)
    began_s = time.perf_counter()
    taken: list[float] = []
    while not taken or (len(taken) < _ROUGH_RUNS and time.perf_counter() - began_s < _ROUGH_S):
        start_s = time.perf_counter()
        loaded.engine.run(*inputs)
        taken.append(time.perf_counter() - start_s)
    return 1e3 * statistics.median(taken)
