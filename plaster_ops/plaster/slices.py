"""Slices of an evaluation set that the pipeline declares: asking for them, and the score where it is worst."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain.metrics import Better
from plaster_ops.errors import PipelineError, PlasterError
from plaster_ops.plaster.answers import Answers, pick
from plaster_ops.plaster.resampling import Floats, SetScore, score_of_samples
from plaster_ops.plaster.scoring import evaluate_set, score_of

Rows = npt.NDArray[np.int64]

FEWEST = 30
"""Samples that a slice needs: below, one answer moves its score by more than three points."""
_NAMED = 12
_ADVICE = "return one label a sample (text, a whole number, or None), or a dict of such lists by name"


def slice_names(pipeline: Any, inputs: Any, targets: Any, n: int) -> tuple[tuple[str, ...], ...]:
    """Per sample of this batch the slices that it is in, by the pipeline's `slices(inputs, targets)`.

    Empty where the pipeline has no such member. Raises `PipelineError` where it fails or gives something else than n
    labels.
    """
    member = getattr(pipeline, "slices", None)
    if member is None:
        return ()
    if not callable(member):
        raise PipelineError(f"slices of the pipeline is {type(member).__name__}, not a function", _ADVICE)
    try:
        found = member(inputs, targets)
    except Exception as error:
        raise PipelineError(
            f"slices(inputs, targets) of the pipeline fails: {type(error).__name__}: {error}",
            "it receives one batch of the evaluation set, as the loader gives it",
        ) from error
    columns = {"": found} if not isinstance(found, Mapping) else found
    labelled = [_labels(str(name), labels, n) for name, labels in columns.items()]
    return tuple(tuple(label for column in labelled if (label := column[row]) is not None) for row in range(n))


def _labels(name: str, labels: Any, n: int) -> list[str | None]:
    plain = labels.tolist() if hasattr(labels, "tolist") else labels
    what = f"slices(inputs, targets) of the pipeline gave {name + ': ' if name else ''}"
    if not isinstance(plain, list | tuple):
        raise PipelineError(f"{what}{type(labels).__name__}, not a list of labels", _ADVICE)
    if len(plain) != n:
        raise PipelineError(f"{what}{len(plain)} labels for {n} samples", _ADVICE)
    for label in plain:
        if label is not None and not isinstance(label, str | int):
            raise PipelineError(f"{what}the label {label!r}, a {type(label).__name__}", _ADVICE)
    return [None if label is None else f"{name}={label}" if name else str(label) for label in plain]


def members_of(parts: Sequence[Answers]) -> dict[str, Rows]:
    """Slice to the numbers of its samples within the set, slices in the order of their names."""
    members: dict[str, list[int]] = {}
    number = 0
    for part in parts:
        for offset, names in enumerate(part.slices):
            for name in names:
                members.setdefault(name, []).append(number + offset)
        number += part.n
    return {name: np.array(members[name]) for name in sorted(members)}


def worst_slice(
    metric: Any, parts: Sequence[Answers], better: Better, *, scored: SetScore | None = None, budget_s: float = 0.3
) -> dict[str, Any]:
    """`{"worst", "score", "scores", "left_out", "undefined"}`; `worst` and `score` are None where no slice counts.

    `scores`: slice to its score, of those with at least `FEWEST` samples. `left_out`: slice to its samples, where they
    are fewer. `undefined`: slices on which the score gives no finite number. `budget_s` is for the interval of the
    worst one. A set without slices gives no mapping entries. `scored`: the set's own score, whose samples' scores, if
    it is their mean, are all that is looked at.
    """
    members = members_of(parts)
    if scored is not None and scored.per_sample is not None:
        return worst_of_means(scored.per_sample, members, better)
    return _worst(
        members,
        lambda rows: score_of(metric, pick(parts, rows)),
        lambda rows: evaluate_set(metric, pick(parts, rows), budget_s=budget_s),
        better,
    )


def worst_of_means(per_sample: Floats, members: Mapping[str, Rows], better: Better) -> dict[str, Any]:
    """The same of a score that is the mean of `per_sample`."""
    return _worst(
        members,
        lambda rows: float(per_sample[rows].mean()),
        lambda rows: score_of_samples(per_sample[rows]),
        better,
    )


def _worst(
    members: Mapping[str, Rows],
    value_of: Callable[[Rows], float],
    scored: Callable[[Rows], SetScore],
    better: Better,
) -> dict[str, Any]:
    scores: dict[str, float] = {}
    undefined: list[str] = []
    for name, rows in members.items():
        if len(rows) < FEWEST:
            continue
        try:
            scores[name] = value_of(rows)
        except PlasterError:
            undefined.append(name)
        except Exception:  # the score is known to work on the whole set: here it has too little to go on
            undefined.append(name)
    found: dict[str, Any] = {"worst": None, "score": None, "scores": scores, "undefined": undefined}
    found["left_out"] = {name: len(rows) for name, rows in members.items() if len(rows) < FEWEST}
    if scores:
        worst = (min if better is Better.HIGHER else max)(scores, key=lambda name: scores[name])
        found |= {"worst": worst, "score": scored(members[worst]).to_json()}
    return found


def in_words(found: Mapping[str, Any]) -> str:
    """Which slice is worst, of how many, and which do not count."""
    told = [f"worst: {found['worst']} (of {len(found['scores'])} slices)"] if found["worst"] else []
    if found["left_out"]:
        few = [f"{name} ({n})" for name, n in list(found["left_out"].items())[:_NAMED]]
        more = len(found["left_out"]) - len(few)
        told.append(f"fewer than {FEWEST} samples: {', '.join(few)}" + (f" and {more} more" if more else ""))
    if found["undefined"]:
        told.append(f"the score is not defined on: {', '.join(found['undefined'][:_NAMED])}")
    return "; ".join(told) or "no sample is in a slice"
