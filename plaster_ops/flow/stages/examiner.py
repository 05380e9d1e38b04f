"""Asking engines and the eager model the same questions: parity on chosen batches, answers to whole evaluation sets.

Shared by the stages `evaluate` and `trial`; the eager FP32 reference is the user's own model with the trained weights.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from plaster_ops.data.batches import flat_inputs, golden_loader, labelled_batches, rolling_loader
from plaster_ops.domain.window import Window
from plaster_ops.engines.artifact import Manifest, read_manifest
from plaster_ops.engines.export import run_eager, unflatten
from plaster_ops.engines.parity import ParityReport, compare_outputs, merge_reports
from plaster_ops.engines.registry import load_engine
from plaster_ops.plaster.accuracy import GOLDEN, ROLLING, Answers
from plaster_ops.ports import Engine
from plaster_ops.training.weights import load_weights

Piece = tuple[Any, Any, int]


class Loaded:
    """An engine with what its manifest says of its outputs."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = read_manifest(folder)
        self.engine: Engine = load_engine(folder)

    def answer(self, inputs: Any) -> tuple[Tensor, ...]:
        """Flat outputs in memory of their own."""
        return tuple(tensor.clone() for tensor in self.engine.run(*flat_inputs(inputs)))


class Reference:
    """The user's model, eager, FP32, with the trained weights."""

    def __init__(self, pipeline: Any, weights: str, example: Any) -> None:
        self._model = pipeline.model()
        load_weights(self._model, Path(weights))
        self._model.eval().float()
        self._example = example

    def answer(self, inputs: Any) -> tuple[Tensor, ...]:
        """Flat outputs in memory of their own, for inputs as the loaders give them or flat."""
        return tuple(leaf.clone() for leaf in pytree.tree_leaves(run_eager(self._model, self._structured(inputs))))

    def whole(self, inputs: Any) -> Any:
        """Outputs in memory of their own, nested as `forward` nests them."""
        found = run_eager(self._model, self._structured(inputs))
        return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, found)

    def _structured(self, inputs: Any) -> Any:
        if isinstance(self._example, Mapping) and isinstance(inputs, tuple):
            return dict(zip(self._example, inputs, strict=True))
        return inputs


class Parity:
    """How far one engine is from eager, gathered over batches."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._reports: list[ParityReport] = []
        self.seconds = 0.0

    def add(self, eager: Sequence[Tensor], answer: Sequence[Tensor]) -> None:
        """One batch."""
        manifest = self._loaded.manifest
        self._reports.append(compare_outputs(eager, answer, manifest.outputs, manifest.spec.precision))

    def check_batches(self, reference: Reference, groups: Sequence[tuple[Tensor, ...]], max_batch: int) -> None:
        """Batch 1, a middle batch and the largest, for every shape among the kept samples."""
        began_s = time.monotonic()
        for inputs in batches_to_check(groups, max_batch):
            self.add(reference.answer(inputs), self._loaded.answer(inputs))
        self.seconds += time.monotonic() - began_s

    def report(self) -> ParityReport | None:
        """The worst over all batches; None where none was compared."""
        return merge_reports(self._reports) if self._reports else None


def batches_to_check(groups: Sequence[tuple[Tensor, ...]], max_batch: int) -> Iterator[tuple[Tensor, ...]]:
    """Of every group of samples its first one, half of the largest batch, and the largest batch there is."""
    for group in groups:
        rows = int(group[0].shape[0])
        for size in sorted({1, min(rows, max(1, max_batch // 2)), min(rows, max_batch)}):
            yield tuple(tensor[:size] for tensor in group)


def evaluation_pieces(
    pipeline: Any, window: Mapping[str, Any], max_batch: int
) -> Iterator[tuple[str, Iterator[Piece]]]:
    """`(set, its labelled batches)` for the rolling set and the golden one, cut to what an engine takes."""
    example = pipeline.sample_batch(2)
    loaders = {ROLLING: rolling_loader(pipeline.data(Window.from_json(window))), GOLDEN: golden_loader(pipeline)}
    for which, loader in loaders.items():
        if loader is not None:
            batches = labelled_batches(loader, example, pipeline)
            yield which, (piece for inputs, targets in batches for piece in pieces_of(inputs, targets, max_batch))


def structured(loaded: Loaded, flat: Sequence[Tensor]) -> Any:
    """Flat outputs as the user's forward nests them."""
    return unflatten(loaded.manifest.structure, flat)


def joined(parts: Sequence[Answers]) -> list[Answers]:
    """Neighbouring answers whose tensors differ only in the batch axis become one."""
    groups: dict[str, list[Answers]] = {}
    for part in parts:
        groups.setdefault(_shape_key(part), []).append(part)
    return [_concatenated(group) for group in groups.values()]


def summary(parity: ParityReport) -> dict[str, Any]:
    """The report with the worst cosine and error over all outputs."""
    cosines = [o.cosine_min for o in parity.outputs if o.cosine_min is not None]
    errors = [o.abs_err_max for o in parity.outputs if o.abs_err_max is not None]
    relative = [o.rel_err for o in parity.outputs if o.rel_err is not None]
    plain = parity.to_json()
    plain["cosine_min"] = min(cosines, default=None)
    plain["abs_err_max"] = _finite(max(errors, default=None))
    plain["rel_err_max"] = _finite(max(relative, default=None))
    return plain


def _finite(value: float | None) -> float | None:
    return value if value is not None and value - value == 0 else None


def pieces_of(inputs: Any, targets: Any, max_batch: int) -> Iterator[Piece]:
    """One labelled batch, cut to at most that many samples."""
    rows = int(flat_inputs(inputs)[0].shape[0])
    for start in range(0, rows, max_batch):
        part = slice(start, min(rows, start + max_batch))
        yield _rows(inputs, part), _rows(targets, part), part.stop - part.start


def _rows(structure: Any, part: slice) -> Any:
    return pytree.tree_map(lambda leaf: leaf[part] if isinstance(leaf, Tensor) and leaf.dim() else leaf, structure)


def _shape_key(part: Answers) -> str:
    leaves, spec = pytree.tree_flatten((part.outputs, part.targets))
    shapes = [tuple(leaf.shape[1:]) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves]
    return f"{spec}{shapes}"


def _concatenated(group: Sequence[Answers]) -> Answers:
    flat = [pytree.tree_flatten((part.outputs, part.targets)) for part in group]
    columns = zip(*(leaves for leaves, _ in flat), strict=True)
    whole = [torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
    outputs, targets = pytree.tree_unflatten(whole, flat[0][1])
    slices = tuple(names for part in group for names in part.slices)
    return Answers(outputs=outputs, targets=targets, n=sum(part.n for part in group), slices=slices)
