"""Stage `evaluate`: engines reloaded from disk; parity of every output with eager, and the task score of each.

All engines answer the same samples of the rolling and the golden set, so that scores can be paired. The eager FP32
reference is the user's own model with the trained weights.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from plaster_ops.data.batches import flat_inputs, golden_loader, labelled_batches, rolling_loader
from plaster_ops.data.samples import load_groups
from plaster_ops.domain.metrics import Better
from plaster_ops.domain.window import Window
from plaster_ops.engines.artifact import Manifest, read_manifest
from plaster_ops.engines.export import run_eager, unflatten
from plaster_ops.engines.parity import ParityReport, compare_outputs, merge_reports
from plaster_ops.engines.registry import load_engine
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.plaster.accuracy import GOLDEN, ROLLING, Answers, direction, judge_set
from plaster_ops.ports import Engine, EventSink
from plaster_ops.training.weights import load_weights

REFERENCE = "reference"


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, window, weights or None, engines [{label, folder}], samples, max_batch, limits.

    Result: `better`, `sets` (see `accuracy.judge_set`), `parity`, `parity_s`, `accepted` and the `reason` if not.
    Without `weights` there is no eager reference: parity is not checked and everything is accepted.
    """
    del folder
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    better = direction(pipeline)
    model = _eager(pipeline, spec["weights"])
    with ExitStack() as stack:
        engines = {row["label"]: _Loaded(Path(row["folder"])) for row in spec["engines"]}
        for loaded in engines.values():
            stack.callback(loaded.engine.close)
        example = pipeline.sample_batch(2)
        examiner = _Examiner(engines, model, example, int(spec["max_batch"]))
        if model is not None:
            examiner.check_batches(load_groups(Path(spec["samples"])))
        emit({"event": "note", "text": "scoring on the evaluation sets"})
        sets: dict[str, Any] = {ROLLING: None, GOLDEN: None}
        window = Window.from_json(spec["window"])
        loaders = {ROLLING: rolling_loader(pipeline.data(window)), GOLDEN: golden_loader(pipeline)}
        for which, loader in loaders.items():
            if loader is not None:
                answers = examiner.answers(labelled_batches(loader, example, pipeline))
                reference = answers.pop(REFERENCE, None)
                sets[which] = judge_set(pipeline.score, answers, which=which, reference=reference)
    parity = examiner.parity()
    reason = _why_refused(parity, sets[ROLLING], next(iter(engines)), better, spec) if parity else ""
    return {
        "better": better.value,
        "sets": sets,
        "parity": summary(parity) if parity else None,
        "parity_s": examiner.parity_s,
        "accepted": not reason,
        "reason": reason,
    }


class _Loaded:
    """An engine with what its manifest says of its outputs."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = read_manifest(folder)
        self.engine: Engine = load_engine(folder)


class _Examiner:
    """Asks every engine, and eager, the same questions; keeps answers, and how far the first engine is from eager."""

    def __init__(self, engines: Mapping[str, _Loaded], model: Any, example: Any, max_batch: int) -> None:
        self._engines = engines
        self._first = next(iter(engines.values()))
        self._model = model
        self._example = example
        self._max_batch = max_batch
        self._reports: list[ParityReport] = []
        self.parity_s = 0.0

    def check_batches(self, groups: Sequence[tuple[Tensor, ...]]) -> None:
        """Parity at batch 1, a middle batch and the largest, for every shape among the kept samples."""
        began_s = time.monotonic()
        for group in groups:
            n = int(group[0].shape[0])
            for size in sorted({1, min(n, max(1, self._max_batch // 2)), min(n, self._max_batch)}):
                inputs = tuple(tensor[:size] for tensor in group)
                self._compare(self._ask_eager(self._structured(inputs)), self._first.engine.run(*inputs))
        self.parity_s += time.monotonic() - began_s

    def answers(self, batches: Iterator[tuple[Any, Any]]) -> dict[str, list[Answers]]:
        """Answers of every engine (and `reference`) to all batches; batches that fit together are joined."""
        found: dict[str, list[Answers]] = {label: [] for label in self._engines}
        if self._model is not None:
            found[REFERENCE] = []
        for inputs, targets in batches:
            for piece_inputs, piece_targets, n in self._pieces(inputs, targets):
                self._ask_all(piece_inputs, piece_targets, n, found)
        return {label: _joined(parts) for label, parts in found.items()}

    def parity(self) -> ParityReport | None:
        """The worst over all batches; None without an eager reference."""
        return merge_reports(self._reports) if self._reports else None

    def _ask_all(self, inputs: Any, targets: Any, n: int, found: dict[str, list[Answers]]) -> None:
        flat = flat_inputs(inputs)
        for label, loaded in self._engines.items():
            answer = tuple(tensor.clone() for tensor in loaded.engine.run(*flat))
            outputs = unflatten(loaded.manifest.structure, answer)
            found[label].append(Answers(outputs=outputs, targets=targets, n=n))
            if loaded is self._first and self._model is not None:
                eager = self._ask_eager(inputs)
                self._compare(eager, answer)
                outputs = unflatten(loaded.manifest.structure, eager)
                found[REFERENCE].append(Answers(outputs=outputs, targets=targets, n=n))

    def _pieces(self, inputs: Any, targets: Any) -> Iterator[tuple[Any, Any, int]]:
        """A batch in pieces that the engine takes."""
        rows = int(flat_inputs(inputs)[0].shape[0])
        for start in range(0, rows, self._max_batch):
            part = slice(start, min(rows, start + self._max_batch))
            yield _rows(inputs, part), _rows(targets, part), part.stop - part.start

    def _structured(self, flat: tuple[Tensor, ...]) -> Any:
        if isinstance(self._example, Mapping):
            return dict(zip(self._example, flat, strict=True))
        return flat

    def _ask_eager(self, inputs: Any) -> tuple[Tensor, ...]:
        return tuple(leaf.clone() for leaf in pytree.tree_leaves(run_eager(self._model, inputs)))

    def _compare(self, eager: Sequence[Tensor], answer: Sequence[Tensor]) -> None:
        manifest = self._first.manifest
        self._reports.append(compare_outputs(eager, answer, manifest.outputs, manifest.spec.precision))


def _eager(pipeline: Any, weights: str | None) -> Any:
    if weights is None:
        return None
    model = pipeline.model()
    load_weights(model, Path(weights))
    return model.eval().float()


def _rows(structure: Any, part: slice) -> Any:
    return pytree.tree_map(lambda leaf: leaf[part] if isinstance(leaf, Tensor) and leaf.dim() else leaf, structure)


def _joined(parts: Sequence[Answers]) -> list[Answers]:
    """Neighbouring answers whose tensors differ only in the batch axis become one."""
    groups: dict[str, list[Answers]] = {}
    for part in parts:
        groups.setdefault(_shape_key(part), []).append(part)
    return [_concatenated(group) for group in groups.values()]


def _shape_key(part: Answers) -> str:
    leaves, spec = pytree.tree_flatten((part.outputs, part.targets))
    shapes = [tuple(leaf.shape[1:]) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves]
    return f"{spec}{shapes}"


def _concatenated(group: Sequence[Answers]) -> Answers:
    flat = [pytree.tree_flatten((part.outputs, part.targets)) for part in group]
    columns = zip(*(leaves for leaves, _ in flat), strict=True)
    joined = [torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
    outputs, targets = pytree.tree_unflatten(joined, flat[0][1])
    return Answers(outputs=outputs, targets=targets, n=sum(part.n for part in group))


def summary(parity: ParityReport) -> dict[str, Any]:
    """The report with the worst cosine and error over all outputs."""
    cosines = [o.cosine_min for o in parity.outputs if o.cosine_min is not None]
    errors = [o.abs_err_max for o in parity.outputs if o.abs_err_max is not None]
    plain = parity.to_json()
    plain["cosine_min"] = min(cosines, default=None)
    plain["abs_err_max"] = max(errors, default=None)
    return plain


def _why_refused(
    parity: ParityReport, rolling: Mapping[str, Any], label: str, better: Better, spec: Mapping[str, Any]
) -> str:
    """Why the engine may not be used: parity, or too much of the eager score lost. Empty where it may."""
    if not parity.ok:
        return "parity with eager failed: " + "; ".join(parity.reasons)
    mine, eager = rolling["engines"][label]["value"], rolling["reference"]["value"]
    lost = eager - mine if better is Better.HIGHER else mine - eager
    if mine > 0 and eager > 0:
        retained = mine / eager if better is Better.HIGHER else eager / mine
        if retained < float(spec["retained_ratio"]):
            return f"the engine keeps {retained:.4f} of the eager score {eager:.4f}, needed {spec['retained_ratio']}"
    elif lost > float(spec["max_lost_score"]):
        return f"the engine loses {lost:.4f} of the eager score {eager:.4f}, allowed {spec['max_lost_score']}"
    return ""
