"""A look at some training samples before hours go into training on them: NaN among inputs or labels ends the retrain,
labels are kept to be held against those of the rolling set.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plaster_ops.data.batches import flat_inputs, split_batch
from plaster_ops.data.calibration import RowSet
from plaster_ops.data.features import FeatureRows, named_inputs, named_targets
from plaster_ops.data.spread import at_random, batches_at, known_size
from plaster_ops.errors import DataError, PlasterError

BUDGET_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingLook:
    """What was seen: inputs and labels of `samples` training samples. `reason` says why there are none. `evaluated`:
    how many of them are in an evaluation set too, byte for byte."""

    inputs: FeatureRows
    labels: FeatureRows
    samples: int
    reason: str = ""
    evaluated: int = 0


@dataclass(slots=True)
class _Bad:
    """NaN of one tensor: how many, in how many samples, and where the first one is."""

    values: int = 0
    samples: int = 0
    first: str = ""


def look_at_training(
    loader: Any,
    example: Any,
    pipeline: Any,
    wanted: int,
    *,
    evaluated: RowSet | None = None,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingLook:
    """Reads up to `wanted` samples, drawn from all of the dataset (of a stream the first ones), for `budget_s` seconds
    at most but always one batch.

    Raises `DataError` where a tensor of them holds NaN. A loader that cannot be read this way gives no samples and the
    reason; what is wrong with it shows in training.
    """
    inputs, labels, bad = FeatureRows(), FeatureRows(), dict[str, _Bad]()
    seen = doubled = 0
    until_s = clock() + budget_s
    try:
        for places, batch in _batches(loader, wanted):
            given, targets = split_batch(batch, example, pipeline)
            named, said = named_inputs(flat_inputs(given), example), named_targets(targets)
            rows = int(next(iter(named.values())).shape[0])
            inputs.add(named)
            labels.add(said)
            _note_nan(bad, {**named, **said}, seen, places)
            doubled += rows - len(evaluated.unknown(list(named.values()))) if evaluated is not None else 0
            seen += rows
            if seen >= wanted or clock() >= until_s:
                break
    except PlasterError as error:
        return TrainingLook(inputs=FeatureRows(), labels=FeatureRows(), samples=0, reason=error.message)
    except Exception as error:
        reason = f"the training loader cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return TrainingLook(inputs=FeatureRows(), labels=FeatureRows(), samples=0, reason=reason)
    _refuse(bad, seen, known_size(loader))
    return TrainingLook(
        inputs=inputs, labels=labels, samples=seen, reason="" if seen else "no training samples", evaluated=doubled
    )


def _batches(loader: Any, wanted: int) -> Iterator[tuple[list[int] | None, Any]]:
    """`(positions of all samples read, batch)`; positions None for a stream."""
    count = known_size(loader)
    if not count:
        for batch in loader:
            yield None, batch
        return
    places = at_random(count, wanted)
    for batch in batches_at(loader, places):
        yield places, batch


def _note_nan(bad: dict[str, _Bad], tensors: Mapping[str, Tensor], seen: int, places: list[int] | None) -> None:
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel():
            continue
        wrong = torch.isnan(tensor).reshape(tensor.shape[0], -1)
        rows = torch.nonzero(wrong.any(dim=1)).flatten()
        if not len(rows):
            continue
        found = bad.setdefault(name, _Bad())
        found.values += int(wrong.sum())
        found.samples += len(rows)
        if not found.first:
            position = seen + int(rows[0])
            column = int(torch.nonzero(wrong[rows[0]])[0])
            sample = places[position] if places and position < len(places) else position
            found.first = f"sample {sample}" + (f", value {column}" if wrong.shape[1] > 1 else "")


def _refuse(bad: Mapping[str, _Bad], seen: int, count: int | None) -> None:
    if not bad:
        return
    told = "; ".join(
        f"{name} holds {found.values} NaN in {found.samples} of {seen} training samples, the first in {found.first}"
        for name, found in bad.items()
    )
    whence = f" (counted from 0 in the training dataset of {count})" if count else " (counted from 0 in the stream)"
    raise DataError(
        told + whence,
        "mend or leave out those rows; where NaN is meant for your model, set data.check_samples = 0",
    )
