"""Stage `inspection`: a stranger's LightningModule and LightningDataModule, looked at step by step for `init`.

It writes nothing: what it finds out becomes the text of a pipeline (`flow.scaffold`), which `rehearsal` then tries.
"""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plaster_ops.data.batches import rolling_loader
from plaster_ops.errors import PlasterError
from plaster_ops.flow.stages.inspecting.code import Call, Sizes, evaluate, find, plan_call, share_arguments
from plaster_ops.flow.stages.inspecting.findings import Findings, Stopped
from plaster_ops.flow.stages.inspecting.held_out import digests, in_order, is_shuffled, loader_name
from plaster_ops.flow.stages.inspecting.parts import Part, Reading, leaves, needs_split, read_alike, read_batch
from plaster_ops.flow.stages.inspecting.scores import Score, choose_score, given_score
from plaster_ops.flow.stages.inspecting.trouble import trouble, wants_network
from plaster_ops.ports import EventSink
from plaster_ops.training.package import package_of, require_data_module

_LOOKED_AT = 20
"""Batches of each loader that are looked at for lengths that vary, and for the number of classes."""
_ANSWERED = 8
"""Held-out batches that the model answers, to find out what scores them."""


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: module, data (references), arguments (`NAME=VALUE` texts), score (an expression or None).

    Result: checks (see `Findings`), missing (`{"module": {name: type}, "data": {...}}`), and draft: what
    `flow.scaffold` writes, None where a check failed before it was known.
    """
    del folder
    findings = Findings(emit)
    draft: dict[str, Any] = {}
    with suppress(Stopped):
        _look(spec, findings, draft)
    missing = {side: (draft.get(side) or {}).get("missing", {}) for side in ("module", "data")}
    return {"checks": findings.rows, "missing": missing, "draft": draft, "complete": "score" in draft}


def _look(spec: Mapping[str, Any], findings: Findings, draft: dict[str, Any]) -> None:
    try:
        targets = find(spec["module"], "--module")[2], find(spec["data"], "--data")[2]
        findings.ok("imports", f"{spec['module']} and {spec['data']}")
    except PlasterError as error:
        findings.bad("imports", error.message, error.next_step)
    given = share_arguments(spec["arguments"], *targets)
    data_call = plan_call(spec["data"], "--data", given[1])
    draft["data"] = data_call.to_json()
    data, batches, rolling = _set_up(data_call, findings)
    draft |= _told_loader(data_call, data, findings)
    call = plan_call(spec["module"], "--module", given[0], _sizes(data, [*batches, *rolling]))
    draft["module"] = call.to_json()
    model = _build(call, data, findings)
    readings = _read(model, call.target, rolling, findings)
    _choose(spec.get("score"), model, readings, findings, draft)
    draft |= _told_batch(rolling[0], readings[0], draft.pop("target"))
    lengths = _lengths(_alike(readings[0], [*rolling, *batches], None))
    draft["dynamic_axes"] = lengths
    if lengths:
        findings.ok("lengths", f"axes that vary: {lengths}; widen their ranges to what will be served")


def _set_up(call: Call, findings: Findings) -> tuple[Any, list[Any], list[Any]]:
    """The data module, set up, with the first batches of its training and its held-out loader."""
    _require_all(call, "--data", findings)
    try:
        data = call.build()
        held_out = rolling_loader(data)
        rolling = list(islice(iter(in_order(held_out) if is_shuffled(held_out) else held_out), _LOOKED_AT))
        data.setup("fit")
        batches = list(islice(iter(data.train_dataloader()), _LOOKED_AT))
    except PlasterError as error:
        findings.bad("data sets up", error.message, error.next_step)
    except Exception as error:
        takes = ", ".join(call.takes()) or "nothing else"
        advice = f"look at that line; --arg NAME=VALUE gives an argument, it also takes {takes}"
        if wants_network(error):
            advice = "there is no network here: fetch the data once where there is, and name its folder with --arg"
        findings.bad("data sets up", trouble(error), advice)
    if not rolling or not batches:
        which = loader_name(data) if not rolling else "train_dataloader"
        findings.bad("data sets up", f"{which} gives no batch", "let it give at least one batch of labelled samples")
    _tell_built("data sets up", call, "", findings)
    return data, batches, rolling


def _told_loader(call: Call, data: Any, findings: Findings) -> dict[str, Any]:
    """Which loader is held out, and what must be done so that it gives the same samples in every process."""
    name = loader_name(data)
    loader = rolling_loader(data)
    shuffled = is_shuffled(loader)
    try:
        first = digests(in_order(loader) if shuffled else loader)
        again = rolling_loader(call.build())
        drawn = digests(in_order(again) if shuffled else again) != first
    except Exception as error:
        findings.bad("held-out data", f"cannot be read twice: {trouble(error)}", "let the data module be built anew")
    mended = [text for found, text in ((shuffled, "shuffled"), (drawn, "drawn anew each time")) if found]
    if mended and not call.is_class:
        findings.warn("held-out data", f"{name} is {' and '.join(mended)}", "let it be the same in every process")
        return {"loader": name, "shuffled": False, "drawn": False}
    if name == "val_dataloader":
        findings.warn("held-out data", "val_dataloader: there is no test_dataloader", "best: the newest labelled data")
    elif mended:
        findings.warn("held-out data", f"{name} is {' and '.join(mended)}: the pipeline mends that", "see class Data")
    else:
        findings.ok("held-out data", f"{name}, the same each time")
    return {"loader": name, "shuffled": shuffled, "drawn": drawn}


def _build(call: Call, data: Any, findings: Findings) -> Any:
    _require_all(call, "--module", findings)
    try:
        model = call.build()
    except Exception as error:
        assumed = ", ".join(f"{name}={call.values[name].text}" for name in call.assumed)
        advice = f"assumed were {assumed}; " if assumed else ""
        findings.bad("module builds", trouble(error), f"{advice}give arguments with --arg NAME=VALUE")
    try:
        require_data_module(data, package_of(model))
    except PlasterError as error:
        told = error.message.replace("model() returned", "--module gives").replace(
            "data(window) returned", "--data gives"
        )
        findings.bad("module builds", told, error.next_step)
    count = sum(parameter.numel() for parameter in model.parameters())
    _tell_built("module builds", call, f": {count:,} parameters", findings)
    return model


def _tell_built(check: str, call: Call, more: str, findings: Findings) -> None:
    if not call.assumed:
        findings.ok(check, f"{call.attribute}{_told_arguments(call)}{more}")
        return
    told = ", ".join(f"{n}={call.values[n].text} ({why})" for n, why in call.assumed.items())
    findings.warn(check, f"{call.attribute} with assumed {told}{more}", "--arg NAME=VALUE says otherwise")


def _require_all(call: Call, flag: str, findings: Findings) -> None:
    if call.missing:
        names = ", ".join(f"{name} ({kind})" for name, kind in call.missing.items())
        flags = " ".join(f"--arg {name}=..." for name in call.missing)
        findings.bad(
            "data sets up" if flag == "--data" else "module builds",
            f"{call.attribute} needs {names}",
            f"{flags}; a value may be an expression such as torch.nn.ReLU() or package.Config(depth=3)",
        )


def _read(model: Any, kind: Any, rolling: Sequence[Any], findings: Findings) -> list[Reading]:
    if type(model).forward is package_of(model).LightningModule.forward:
        told = f"{type(model).__name__} has no forward, and what is served is forward"
        findings.bad("batch understood", told, "give it a forward from inputs to answers; its steps may call it too")
    reading, met = read_batch(model, rolling[0])
    if reading is None:
        findings.bad(
            "batch understood",
            f"no part of a batch ({_shape_of(rolling[0])}) is taken by forward: {met}"[:700],
            "forward must take tensors of the batch and return one row a sample; see docs/pipelines.md, 'Batches'",
        )
    inputs = ", ".join(f"{p.text} {list(p.tensor.shape)}" for p in reading.inputs)
    findings.ok("batch understood", f"inputs {inputs}; targets {', '.join(p.text for p in reading.targets)}")
    shown = ", ".join(f"{p.text or 'tensor'} {list(p.tensor.shape)}" for p in leaves(reading.outputs, ""))
    if reading.wrap and not inspect.isclass(kind):
        findings.bad(
            "forward runs", "forward takes a container of tensors", "name the class itself, or let forward take tensors"
        )
    wrapped = "; it takes a container, the pipeline makes arguments of it" if reading.wrap else ""
    findings.ok("forward runs", f"gives {shown}{wrapped}")
    return [reading, *_alike(reading, rolling[1:_ANSWERED], model)]


def _alike(reading: Reading, batches: Sequence[Any], model: Any) -> list[Reading]:
    found = (read_alike(reading, batch, model) for batch in batches)
    return [alike for alike in found if alike is not None]


def _choose(
    text: str | None, model: Any, readings: Sequence[Reading], findings: Findings, draft: dict[str, Any]
) -> None:
    answers = [(reading.outputs, reading.targets) for reading in readings]
    score = given_score(evaluate(text, "score"), answers) if text else choose_score(model, answers)
    if score is None:
        reading = readings[0]
        targets = ", ".join(f"{p.text} {p.tensor.dtype} {list(p.tensor.shape)}" for p in reading.targets)
        what = f"--score {text} does not take" if text else "no usual score takes"
        findings.bad(
            "score",
            f"{what} these outputs with {targets}",
            "name a metric: --score 'torchmetrics.MeanSquaredError()'; or --draft, and write score as a function",
        )
    findings.ok("score", f"{score.name}({score.arguments}): {score.why}; {score.value:.4g} before training")
    draft["target"] = score.target
    draft["score"] = _score_to_json(score, given=text is not None)


def _score_to_json(score: Score, *, given: bool) -> dict[str, Any]:
    fields = {name: getattr(score, name) for name in ("module", "name", "arguments", "outputs", "targets", "why")}
    return fields | {"plain": score.plain, "given": given}


def _told_batch(batch: Any, reading: Reading, target: Part) -> dict[str, Any]:
    return {
        "inputs": [part.text for part in reading.inputs],
        "names": list(reading.names),
        "wrap": reading.wrap,
        "width": reading.width,
        "target": target.text,
        "split": needs_split(batch, reading, target),
    }


def _lengths(readings: Sequence[Reading]) -> dict[str, dict[int, list[int]]]:
    """Axes of inputs whose sizes differ between batches: `{name or position: {axis: [least, most]}}`."""
    found: dict[str, dict[int, list[int]]] = {}
    for k in range(len(readings[0].inputs)):
        shapes = {tuple(reading.inputs[k].tensor.shape[1:]) for reading in readings}
        if len(shapes) == 1 or len({len(shape) for shape in shapes}) > 1:
            continue
        name = readings[0].names[k] if readings[0].names else str(k)
        sizes = list(zip(*shapes, strict=True))
        found[name] = {axis: [min(s), max(s)] for axis, s in enumerate(sizes, start=1) if len(set(s)) > 1}
    return found


def _sizes(data: Any, batches: Sequence[Any]) -> Sizes:
    """Width of the inputs and number of classes (or width of the targets), as the batches and the data module show."""
    parts = list(leaves(batches[0], "batch"))
    if not parts:
        return Sizes()
    tensor = parts[0].tensor
    width = int(tensor.shape[1 if tensor.dim() in (2, 4) else -1]) if tensor.dim() > 1 else None
    told = next(
        (getattr(data, n) for n in ("num_classes", "n_classes") if isinstance(getattr(data, n, None), int)), None
    )
    if told is not None or len(parts) < 2:
        return Sizes(inputs=width, outputs=told)
    targets = [list(leaves(batch, "batch"))[-1].tensor for batch in batches]
    return Sizes(inputs=width, outputs=_width_of(targets))


def _width_of(targets: Sequence[Tensor]) -> int:
    first = targets[0]
    if not first.is_floating_point() and first.dtype is not torch.bool:
        return int(max(int(t.max()) for t in targets if t.numel())) + 1
    return int(first.shape[1]) if first.dim() > 1 else 1


def _told_arguments(call: Call) -> str:
    return f"({', '.join(f'{name}={value.text}' for name, value in call.values.items())})"


def _shape_of(batch: Any) -> str:
    return ", ".join(f"{part.text} {list(part.tensor.shape)}" for part in leaves(batch, "batch"))[:300] or "no tensors"
