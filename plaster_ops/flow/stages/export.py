"""Stage `export`: the user's model with its trained weights as a graph, with the facts that can be read from it.

An engine of the same architecture is refitted here, where the program is in memory: a process of its own would cost
more than the refit.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.export import ExportedProgram

from plaster_ops.data.samples import load_groups
from plaster_ops.engines.artifact import Manifest, spec_from_json, tensor_spec_to_json, verify
from plaster_ops.engines.export import (
    export_program,
    flatten_inputs,
    graph_digest,
    graph_facts,
    input_names,
    input_specs,
    output_names,
    output_structure,
    save_program,
    weights_digest,
)
from plaster_ops.engines.graph import all_weights, user_inputs
from plaster_ops.engines.key import engine_key
from plaster_ops.engines.refit import refit_folder, reuse_folder
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, PipelineError, PlasterError
from plaster_ops.flow.code_identity import loaded_code
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.build import build_folder
from plaster_ops.flow.stages.examiner import batches_to_check
from plaster_ops.ports import EngineSpec, EventSink, TensorSpec

log = logging.getLogger(__name__)

PROGRAM = "program.pt2"


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, weights (safetensors), samples (safetensors), max_batch. The graph is made on the CPU.
    `weights` None: the model as model() makes it, whose weights are written beside the program.

    With `eager: {"threads", "device"}` an eager engine is built too, to be timed beside the new one. With `previous:
    {"folder", "spec", "out", "rebuild"}` that engine is reused or refitted into `out` where it can be; `spec`
    is what it would be built as today, without inputs, `rebuild` a reason not to try. Result: eager (folder or None),
    program (path), graph_digest, weights_digest, inputs (TensorSpecs as JSON), outputs (names), structure (how the
    outputs nest), facts (`graph_facts`), torch (version), weights (path), again (see `engine_again`),
    code (`loaded_code`). Raises
    `BuildFailed`, `PipelineError`.
    """
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    weights = Path(spec["weights"]) if spec["weights"] else folder / "weights.safetensors"
    model = load_weights(pipeline.model(), weights) if spec["weights"] else write_weights(pipeline.model(), weights)
    example = pipeline.sample_batch(3)
    specs = survey_inputs(pipeline, model, example, Path(spec["samples"]) if spec.get("samples") else None)
    emit({"event": "note", "text": "exporting the graph"})
    program = export_program(model, example, specs, int(spec["max_batch"]))
    specs = tuple(replace(s, name=node.name) for s, node in zip(specs, user_inputs(program), strict=True))
    facts = graph_facts(program, model)
    file = folder / PROGRAM
    save_program(program, file)
    weights_of_graph = weights_digest(all_weights(program))
    return {
        "eager": _eager_engine(spec, program, specs, folder) if spec.get("eager") else None,
        "again": engine_again(spec["previous"], program, specs, spec.get("samples")) if spec.get("previous") else None,
        "program": str(file),
        "weights": str(weights),
        "graph_digest": graph_digest(program),
        "weights_digest": weights_of_graph,
        "inputs": [tensor_spec_to_json(s) for s in specs],
        "outputs": list(output_names(program)),
        "structure": output_structure(program),
        "facts": facts,
        "torch": str(torch.__version__),
        "code": loaded_code(Path(spec["project"])),
    }


def _eager_engine(spec: Mapping[str, Any], program: ExportedProgram, specs: Sequence[TensorSpec], folder: Path) -> str:
    """The eager FP32 engine that the new one is timed beside; made here, where the program is at hand.

    A model that does not run in FP32 where its engine will, for want of memory say, has it on the CPU.
    """
    largest, out = int(spec["max_batch"]), folder / "eager"
    digests = graph_digest(program), weights_digest(all_weights(program))
    wanted = EngineSpec(
        backend="eager",
        precision="fp32",
        device=str(spec["eager"].get("device", "cpu")),
        inputs=tuple(specs),
        batch=(1, min(8, largest), largest),
        threads=int(spec["eager"]["threads"]),
    )
    try:
        build_folder(program, wanted, out, *digests)
    except (BuildFailed, RuntimeError):
        if wanted.device == "cpu":
            raise
        log.exception("the model does not run in eager FP32 on %s", wanted.device)
        build_folder(program, replace(wanted, device="cpu"), out, *digests)
    return str(out)


def engine_again(
    previous: Mapping[str, Any], program: ExportedProgram, specs: Sequence[TensorSpec], samples: str | None
) -> dict[str, Any]:
    """The engine of the last retrain for the new weights: `{"decision", "reason", "manifest", "call_s", "stage_s"}`.

    `decision`: reuse, refit, rebuild (the same candidate is built anew), or ladder (the graph is another one). Seconds
    are of the whole step; what cannot be done is a reason, never an error.
    """
    began_s = time.perf_counter()
    old, out = Path(previous["folder"]), Path(previous["out"])
    found: dict[str, Any] = {"decision": "rebuild", "reason": "", "manifest": None, "call_s": None, "rel_err": None}
    try:
        manifest = verify(old)
        wanted = replace(spec_from_json({**previous["spec"], "inputs": []}), inputs=tuple(specs))
        digests = graph_digest(program), weights_digest(all_weights(program))
        if manifest.graph_digest != digests[0]:
            return found | {"decision": "ladder", "reason": "the graph is another one"}
        key = engine_key(digests[0], wanted, find_backend(wanted.backend).probe().versions)
        if manifest.key == key and manifest.weights_digest == digests[1]:
            found |= {"decision": "reuse", "manifest": _told(reuse_folder(old, out), out)}
            found["reason"] = "graph, weights and stack are those of the last engine"
        elif previous.get("rebuild"):
            found["reason"] = str(previous["rebuild"])
        else:
            refitted = refit_folder(old, program, out, _probes(samples, wanted.batch[2]), spec=wanted)
            found |= {"decision": "refit", "manifest": _told(refitted.manifest, out), "call_s": refitted.call_s}
            found |= {"rel_err": refitted.rel_err, "reason": "the graph is that of the last engine"}
    except PlasterError as error:
        found["reason"] = error.message
    except Exception as error:
        log.exception("the last engine could not be used again")
        found["reason"] = f"the last engine cannot be used again: {type(error).__name__}: {str(error)[:300]}"
    return found | {"stage_s": time.perf_counter() - began_s}


def _told(manifest: Manifest, out: Path) -> dict[str, Any]:
    return manifest.to_json() | {"folder": str(out), "digest": manifest.digest}


def _probes(samples: str | None, max_batch: int) -> list[tuple[Tensor, ...]]:
    """Batch 1, a middle and the largest of the stored samples, of two shapes at most: all are checked later."""
    if samples is None or not Path(samples).is_file():
        return []
    return list(batches_to_check(load_groups(Path(samples))[:2], max_batch))


def write_weights(model: Any, file: Path) -> nn.Module:
    """The untrained module, in eval mode on the CPU, with its weights stored in `file`."""
    if not isinstance(model, nn.Module):
        raise PipelineError(f"model() returned {type(model).__name__}", "return the LightningModule that is served")
    save_model(model, str(file))
    return model.cpu().eval()


def load_weights(model: Any, weights: Path) -> nn.Module:
    """The module with those weights, in eval mode on the CPU. Raises `BuildFailed` where names or shapes differ."""
    if not isinstance(model, nn.Module):
        raise PipelineError(f"model() returned {type(model).__name__}", "return the LightningModule that is served")
    try:
        load_model(model, weights, strict=True)
    except (RuntimeError, SafetensorError, FileNotFoundError) as error:
        words = " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:400]
        raise BuildFailed(
            f"the weights {weights.name} do not fit model(): {words}",
            "model() must build the architecture that was trained; start anew with --scratch",
        ) from error
    return model.cpu().eval()


def survey_inputs(pipeline: Any, model: nn.Module, example: Any, samples: Path | None) -> tuple[TensorSpec, ...]:
    """The inputs' shapes from real batches: `sample_batch` twice, and every shape among the stored samples."""
    batches: list[tuple[Tensor, ...]] = [flatten_inputs(example), flatten_inputs(pipeline.sample_batch(2))]
    for batch, rows in zip(batches, (3, 2), strict=True):
        _check_rows(batch, rows)
    if samples is not None and samples.is_file():
        batches += load_groups(samples)
    declared = getattr(pipeline, "dynamic_axes", None)
    axes = declared() if callable(declared) else declared
    return input_specs(batches, axes, input_names(model, example))


def _check_rows(batch: Sequence[Tensor], rows: int) -> None:
    found = [int(t.shape[0]) if t.dim() else 0 for t in batch]
    if any(n != rows for n in found):
        raise PipelineError(
            f"sample_batch({rows}) returned inputs of {found} samples", "let it return n samples, batch first"
        )
