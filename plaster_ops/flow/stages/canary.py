"""Stage `canary`: an engine loaded in a fresh process answers recorded inputs as it did when it was recorded, or not.

No code of the pipeline is loaded: only what would serve.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plaster_ops.engines.parity import compare_outputs, merge_reports
from plaster_ops.flow.stages.examiner import Loaded, summary
from plaster_ops.ports import EventSink

MOST_SAMPLES, MOST_GROUPS = 16, 4
"""What is kept of the samples: the first ones of the first shapes."""


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: engine (folder), answers (file, or None where none were kept).

    Result: `samples`, `reason` (empty where it agrees within the parity limit of its precision) and `parity`. Without
    recorded answers the engine is only loaded, and `samples` is 0. Raises what loading raises.
    """
    del folder
    loaded = Loaded(Path(spec["engine"]))
    try:
        if spec["answers"] is None:
            return {"samples": 0, "reason": "", "parity": None}
        emit({"event": "note", "text": "the engine answers recorded inputs"})
        return _compare(loaded, load_file(Path(spec["answers"])))
    finally:
        loaded.engine.close()


def keep_answers(loaded: Loaded, groups: Sequence[tuple[Tensor, ...]], file: Path) -> None:
    """Writes the first inputs of each shape and what the engine answers to them, both flat, as `run` reads them."""
    kept: dict[str, Tensor] = {}
    most = min(MOST_SAMPLES, loaded.manifest.spec.batch[2])
    for number, group in enumerate(groups[:MOST_GROUPS]):
        inputs = tuple(tensor[:most] for tensor in group)
        for side, tensors in (("in", inputs), ("out", loaded.answer(inputs))):
            kept |= {f"g{number}/{side}{k}": tensor.contiguous().clone() for k, tensor in enumerate(tensors)}
    save_file(kept, file)


def _compare(loaded: Loaded, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    manifest, reports, samples = loaded.manifest, [], 0
    for group in sorted({name.partition("/")[0] for name in kept}):
        inputs, recorded = (_side(kept, f"{group}/{side}") for side in ("in", "out"))
        with torch.no_grad():
            answers = loaded.answer(inputs)
        reports.append(compare_outputs(recorded, answers, manifest.outputs, manifest.spec.precision))
        samples += int(inputs[0].shape[0])
    merged = merge_reports(reports)
    reason = "; ".join(reason.replace("eager", "its recorded answer") for reason in merged.reasons)
    return {"samples": samples, "reason": reason, "parity": summary(merged)}


def _side(kept: Mapping[str, Tensor], prefix: str) -> tuple[Tensor, ...]:
    count = sum(name.startswith(prefix) for name in kept)
    return tuple(kept[f"{prefix}{k}"] for k in range(count))
