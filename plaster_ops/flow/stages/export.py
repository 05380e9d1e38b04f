"""Stage `export`: the user's model with its trained weights as a graph, with the facts that can be read from it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from torch import Tensor, nn
from torch.export import ExportedProgram

from plaster_ops.data.samples import load_groups
from plaster_ops.engines.artifact import tensor_spec_to_json
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
from plaster_ops.engines.graph import user_inputs
from plaster_ops.errors import BuildFailed, PipelineError
from plaster_ops.flow.loading import load_pipeline
from plaster_ops.flow.stages.build import build_folder
from plaster_ops.ports import EngineSpec, EventSink, TensorSpec

PROGRAM = "program.pt2"


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: reference, project, weights (safetensors), samples (safetensors), max_batch. The graph is made on the CPU.

    With `eager: {"threads": n}` an eager engine is built too, to be timed beside the new one. Result: eager (folder or
    None), program (path), graph_digest, weights_digest, inputs (TensorSpecs as JSON), outputs (names), structure (how
    the outputs nest), facts (`graph_facts`), torch (version). Raises `BuildFailed`, `PipelineError`.
    """
    pipeline = load_pipeline(spec["reference"], Path(spec["project"]))
    weights = Path(spec["weights"])
    model = load_weights(pipeline.model(), weights)
    example = pipeline.sample_batch(3)
    specs = survey_inputs(pipeline, model, example, Path(spec["samples"]) if spec.get("samples") else None)
    emit({"event": "note", "text": "exporting the graph"})
    program = export_program(model, example, specs, int(spec["max_batch"]))
    specs = tuple(replace(s, name=node.name) for s, node in zip(specs, user_inputs(program), strict=True))
    facts = graph_facts(program, model)
    file = folder / PROGRAM
    save_program(program, file)
    return {
        "eager": _eager_engine(spec, program, specs, folder) if spec.get("eager") else None,
        "program": str(file),
        "graph_digest": graph_digest(program),
        "weights_digest": weights_digest(load_file(weights)),
        "inputs": [tensor_spec_to_json(s) for s in specs],
        "outputs": list(output_names(program)),
        "structure": output_structure(program),
        "facts": facts,
        "torch": str(torch.__version__),
    }


def _eager_engine(spec: Mapping[str, Any], program: ExportedProgram, specs: Sequence[TensorSpec], folder: Path) -> str:
    """The eager FP32 engine that the new one is timed beside; made here, where the program is at hand."""
    largest = int(spec["max_batch"])
    wanted = EngineSpec(
        backend="eager",
        precision="fp32",
        device="cpu",
        inputs=tuple(specs),
        batch=(1, min(8, largest), largest),
        threads=int(spec["eager"]["threads"]),
    )
    out = folder / "eager"
    build_folder(program, wanted, out, graph_digest(program), weights_digest(load_file(Path(spec["weights"]))))
    return str(out)


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
