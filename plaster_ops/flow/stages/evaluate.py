"""Stage `evaluate`: engines reloaded from disk; parity of every output with eager, and the task score of each.

All engines answer the same samples of the rolling and the golden set, so that scores can be paired.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from plaster_ops.data.samples import load_groups
from plaster_ops.flow.canary import CANARY
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.canary import keep_answers
from plaster_ops.flow.stages.examiner import Loaded, Parity, Piece, Reference, evaluation_pieces, joined, structured
from plaster_ops.flow.stages.examiner import summary as summary
from plaster_ops.flow.stages.verdict import why_refused
from plaster_ops.plaster.accuracy import GOLDEN, ROLLING, Answers, direction, judge_again, observe
from plaster_ops.plaster.answer_record import ANSWERS, SetRecord, save_answers
from plaster_ops.plaster.scoring import evaluate_set
from plaster_ops.plaster.slices import slice_names
from plaster_ops.ports import EventSink

REFERENCE = "reference"
Slicing = Callable[[Any, Any, int], tuple[tuple[str, ...], ...]]


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, window, weights or None, engines [{label, folder}], samples, max_batch, limits.

    Result: `better`, `sets` (see `accuracy.judge_set`), `parity`, `parity_s`, `retention`, `accepted` and the `reason`
    if not; what every engine answered is kept in `answers.npz`, and a few answers of the first one, as they are, in
    `canary.safetensors`. Without `weights` there is no eager reference: parity
    is not checked and everything is accepted.
    """
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    better = direction(pipeline)
    max_batch = int(spec["max_batch"])
    reference = Reference(pipeline, spec["weights"], pipeline.sample_batch(2)) if spec["weights"] else None
    with ExitStack() as stack:
        engines = {row["label"]: Loaded(Path(row["folder"])) for row in spec["engines"]}
        for loaded in engines.values():
            stack.callback(loaded.engine.close)
        first = next(iter(engines.values()))
        parity = Parity(first)
        if reference is not None:
            groups = load_groups(Path(spec["samples"]))
            parity.check_batches(reference, groups, max_batch)
            keep_answers(first, groups, folder / CANARY)
        emit({"event": "note", "text": "scoring on the evaluation sets"})
        sets: dict[str, Any] = {ROLLING: None, GOLDEN: None}
        records: dict[str, SetRecord] = {}
        whole: dict[str, list[Answers]] = {}
        for which, pieces in evaluation_pieces(pipeline, spec["window"], max_batch):
            sliced = partial(slice_names, pipeline) if which == ROLLING else _no_slices
            found = _ask_all(pieces, engines, reference, parity, sliced)
            for label, answers in found.items():
                whole.setdefault(label, []).extend(answers)
            eager = found.pop(REFERENCE, None)
            records[which] = observe(pipeline.score, found, reference=eager, better=better)
            sets[which] = judge_again(records[which], which, better)
    save_answers(records, folder / ANSWERS)
    report = parity.report()
    result = {
        "better": better.value,
        "sets": sets,
        "parity": summary(report) if report else None,
        "parity_s": parity.seconds,
        "retention": None,
        "accepted": True,
        "reason": "",
    }
    if report is None:
        return result
    theirs = evaluate_set(pipeline.score, joined(whole[REFERENCE]))
    mine = evaluate_set(pipeline.score, joined(whole[next(iter(engines))]), like=theirs)
    retention, reason = why_refused(report, mine, theirs, better, spec)
    return result | {"retention": retention.to_json(), "accepted": not reason, "reason": reason}


def _ask_all(
    pieces: Any, engines: Mapping[str, Loaded], reference: Reference | None, parity: Parity, sliced: Slicing
) -> dict[str, list[Answers]]:
    """Answers of every engine, and of `reference`, to all pieces; those that fit together are joined."""
    found: dict[str, list[Answers]] = {label: [] for label in engines}
    if reference is not None:
        found[REFERENCE] = []
    for piece in pieces:
        _ask(piece, engines, reference, parity, sliced, found)
    return {label: joined(parts) for label, parts in found.items()}


def _ask(
    piece: Piece,
    engines: Mapping[str, Loaded],
    reference: Reference | None,
    parity: Parity,
    sliced: Slicing,
    found: Mapping[str, list[Answers]],
) -> None:
    inputs, targets, n = piece
    slices = sliced(inputs, targets, n)
    answers = {label: loaded.answer(inputs) for label, loaded in engines.items()}
    first = next(iter(engines))
    for label, answer in answers.items():
        found[label].append(_labelled(engines[label], answer, targets, n, slices))
    if reference is not None:
        eager = reference.answer(inputs)
        parity.add(eager, answers[first])
        found[REFERENCE].append(_labelled(engines[first], eager, targets, n, slices))


def _labelled(
    loaded: Loaded, answer: Sequence[Any], targets: Any, n: int, slices: tuple[tuple[str, ...], ...]
) -> Answers:
    return Answers(outputs=structured(loaded, answer), targets=targets, n=n, slices=slices)


def _no_slices(inputs: Any, targets: Any, n: int) -> tuple[tuple[str, ...], ...]:
    del inputs, targets, n
    return ()
