"""Stage `rehearsal`: the pipeline that `init` wrote, tried as a retrain would use it, on a few batches."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from plaster_ops.data.batches import labelled_batches, rolling_loader
from plaster_ops.domain.window import Window
from plaster_ops.engines.export import export_program, run_eager
from plaster_ops.errors import PlasterError
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages import prepare
from plaster_ops.flow.stages.export import survey_inputs
from plaster_ops.flow.stages.inspecting.findings import Findings, Stopped
from plaster_ops.flow.stages.inspecting.held_out import digests
from plaster_ops.flow.stages.inspecting.trouble import trouble
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.scoring import score_of
from plaster_ops.ports import EventSink
from plaster_ops.training.package import package_of

_STEPS, _SCORED, _FEW = 8, 20, 280
_NOWHERE = Window(learned=None, seen=None, cut=None, end=None)


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project (where the pipeline's file is), max_batch. Result: checks, metrics (what validation
    logged), epoch_s (an estimate, None where unknown)."""
    findings = Findings(emit)
    found: dict[str, Any] = {"metrics": {}, "epoch_s": None}
    with suppress(Stopped):
        found |= _try(spec, folder, findings)
    return {"checks": findings.rows, **found}


def _try(spec: Mapping[str, Any], folder: Path, findings: Findings) -> dict[str, Any]:
    try:
        pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    except PlasterError as error:
        findings.bad("pipeline loads", error.message, error.next_step)
    samples = _prepare(spec, folder, pipeline, findings)
    found = _train(pipeline, folder, findings)
    _score(pipeline, findings)
    _export(pipeline, samples, int(spec["max_batch"]), findings)
    return found


def _prepare(spec: Mapping[str, Any], folder: Path, pipeline: Any, findings: Findings) -> Path:
    asked = {"reference": spec["reference"], "project": spec["project"], "needed": 1, "calibration_samples": 300}
    try:
        told = prepare.run(asked, folder, lambda _event: None)
        first, again = (rolling_loader(pipeline.data(_NOWHERE)) for _ in range(2))
        same = digests(first) == digests(again) == digests(first)
    except PlasterError as error:
        findings.bad("data is read", error.message, error.next_step)
    except Exception as error:
        findings.bad("data is read", trouble(error), "retrain reads it in this way: pipeline.data(window)")
    detail = f"{told['train_samples'] or 'unknown'} to train on, {told['eval_samples']} held out"
    overlapping = (told["calibration"] or {}).get("overlapping", 0)
    if not same:
        findings.warn("data is read", f"{detail}; held-out samples differ from process to process",
                      "draw the split from a seed; no random augmentation of what is held out")  # fmt: skip
    elif overlapping:
        findings.warn("data is read", f"{detail}; {overlapping} of the training samples looked at are held out too",
                      "hold out samples that nothing is trained on: the score is flattered")  # fmt: skip
    elif told["eval_samples"] < _FEW:
        findings.warn("data is read", f"{detail}: too few to judge engines below fp32 by a 0/1 score",
                      f"about {_FEW} held-out samples can tell 1 %")  # fmt: skip
    else:
        findings.ok("data is read", detail)
    return Path(told["samples"])


class _Timed:
    """Seconds of each training batch, and the loss after it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._began_s = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self._began_s = time.perf_counter()

    def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began_s)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            self.losses.append(float(loss.detach()))


def _train(pipeline: Any, folder: Path, findings: Findings) -> dict[str, Any]:
    """A few steps and one validation batch with Lightning's own Trainer."""
    model = pipeline.model()
    package = package_of(model)
    timed = type("_Watch", (_Timed, package.Callback), {})()
    trainer = package.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=_STEPS, limit_val_batches=2,
        num_sanity_val_steps=0, callbacks=[timed], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=str(folder),
    )  # fmt: skip
    try:
        trainer.fit(model, datamodule=pipeline.data(_NOWHERE))
    except Exception as error:
        findings.bad("a training step", trouble(error), "mend that line: the retrain would end there, exit 10")
    if not timed.seconds:
        findings.bad("a training step", "the training data has no batches", "look at train_dataloader and drop_last")
    if timed.losses and not math.isfinite(timed.losses[-1]):
        findings.bad("a training step", f"the loss is {timed.losses[-1]}", "lower the learning rate, look at the data")
    metrics = {name: float(v) for name, v in trainer.callback_metrics.items() if getattr(v, "numel", lambda: 1)() == 1}
    logged = f"; logs {', '.join(sorted(metrics))}" if metrics else "; logs nothing"
    if timed.losses:
        findings.ok("a training step", f"loss {timed.losses[0]:.4g} -> {timed.losses[-1]:.4g}{logged}")
    else:
        findings.warn("a training step", f"runs and returns no loss (manual optimisation){logged}",
                      "a loss that is no number would not be noticed")  # fmt: skip
    return {"metrics": metrics, "epoch_s": _epoch_s(pipeline, timed.seconds, findings)}


def _epoch_s(pipeline: Any, seconds: Sequence[float], findings: Findings) -> float | None:
    data = pipeline.data(_NOWHERE)
    data.prepare_data()
    data.setup("fit")
    try:
        batches = len(data.train_dataloader())
    except TypeError:
        findings.warn("time of an epoch", "the training data does not know its length", "train.timeout_s ends it")
        return None
    epoch_s = statistics.median(seconds) * batches
    findings.ok("time of an epoch", f"about {epoch_s:.2g} s on this CPU: {batches} batches, {len(seconds)} were timed")
    return epoch_s


def _score(pipeline: Any, findings: Findings) -> None:
    model, example = pipeline.model().eval(), pipeline.sample_batch(2)
    try:
        parts = [
            Answers(outputs=run_eager(model, inputs), targets=targets, n=len(targets))
            for inputs, targets in islice(
                labelled_batches(rolling_loader(pipeline.data(_NOWHERE)), example, pipeline), _SCORED
            )
        ]
        value = score_of(pipeline.score, parts)
    except PlasterError as error:
        findings.bad("score works", error.message, error.next_step)
    except Exception as error:
        findings.bad("score works", trouble(error), "score takes outputs of forward and targets of a batch")
    findings.ok("score works", f"{value:.4g} with untrained weights, on {sum(p.n for p in parts)} held-out samples")


def _export(pipeline: Any, samples: Path, max_batch: int, findings: Findings) -> None:
    model = pipeline.model().eval()
    example = pipeline.sample_batch(3)
    try:
        specs = survey_inputs(pipeline, model, example, samples)
        export_program(model, example, specs, max_batch)
    except PlasterError as error:
        findings.bad("export works", error.message, error.next_step)
    shapes = [", ".join(["n", *(str(size or "any") for size in s.shape)]) for s in specs]
    told = [f"{s.name} {s.dtype} [{shape}]" for s, shape in zip(specs, shapes, strict=True)]
    findings.ok("export works", ", ".join(told))
