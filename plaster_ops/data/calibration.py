"""Inputs to quantise with: spread evenly over the training data, and never one that an evaluation set holds."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from plaster_ops.data.batches import flat_inputs, split_batch
from plaster_ops.data.samples import SampleKeeper
from plaster_ops.data.spread import batches_at, evenly, known_size
from plaster_ops.errors import PlasterError

_SPARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """`file` None: there are no such inputs, and `reason` says why. `overlapping` were left out for being evaluated."""

    file: str | None
    digest: str
    samples: int
    overlapping: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return {
            "file": self.file,
            "digest": self.digest,
            "samples": self.samples,
            "overlapping": self.overlapping,
            "reason": self.reason,
        }


class RowSet:
    """The samples of the evaluation sets, by what their inputs are, byte for byte."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def add(self, inputs: Sequence[Tensor]) -> None:
        """One batch of flat inputs [b, ...]."""
        self._known.update(_row_digests(inputs))

    def unknown(self, inputs: Sequence[Tensor]) -> list[int]:
        """Rows of the batch that are not in the set."""
        return [row for row, digest in enumerate(_row_digests(inputs)) if digest not in self._known]


def keep_calibration(data: Any, example: Any, pipeline: Any, evaluated: RowSet, most: int, file: Path) -> Calibration:
    """Writes up to `most` inputs of the training loader's samples to `file`, in the form of `SampleKeeper`."""
    keeper = SampleKeeper(most)
    kept = left_out = 0
    try:
        for batch in _training_batches(data, most):
            inputs = flat_inputs(split_batch(batch, example, pipeline)[0])
            rows = evaluated.unknown(inputs)
            left_out += int(inputs[0].shape[0]) - len(rows)
            if rows:
                keeper.add([tensor[rows] for tensor in inputs])
                kept += len(rows)
            if kept >= most:
                break
    except PlasterError as error:
        return Calibration(file=None, digest="", samples=0, overlapping=left_out, reason=error.message)
    except Exception as error:
        reason = f"the training loader cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Calibration(file=None, digest="", samples=0, overlapping=left_out, reason=reason)
    if not kept:
        reason = f"all {left_out} training inputs are in an evaluation set" if left_out else "no training inputs"
        return Calibration(file=None, digest="", samples=0, overlapping=left_out, reason=reason)
    count = keeper.save(file)
    return Calibration(file=str(file), digest=_digest(file), samples=count, overlapping=left_out)


def _training_batches(data: Any, wanted: int) -> Iterator[Any]:
    """Batches of samples spread evenly over the dataset, then half as many from between them for those that are left
    out; of a stream its first ones."""
    data.setup("fit")
    loader = data.train_dataloader()
    count = known_size(loader)
    if not count:
        yield from loader
        return
    first = evenly(count, wanted)
    spare = sorted(set(evenly(count, wanted + round(wanted * _SPARE))) - set(first))
    yield from batches_at(loader, first + spare)


def _row_digests(inputs: Sequence[Tensor]) -> Iterator[bytes]:
    rows = int(inputs[0].shape[0])
    if not rows:
        return
    forms = "".join(f"{tensor.dtype}{tuple(tensor.shape[1:])}" for tensor in inputs).encode()
    columns = [tensor.detach().cpu().contiguous().reshape(rows, -1).view(torch.uint8).numpy() for tensor in inputs]
    for row in range(rows):
        digest = hashlib.blake2b(forms, digest_size=16)
        for column in columns:
            digest.update(column[row].tobytes())
        yield digest.digest()


def _digest(file: Path) -> str:
    """SHA-256 over names, types, shapes and values, not over how the file was written."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(file).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
