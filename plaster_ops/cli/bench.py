"""`plaster-ops bench`: the ladder and the seven letters of a model, a run or an engine, without training."""

import time
from pathlib import Path
from typing import Annotated

import typer

from plaster_ops.cli.options import Json, Markdown, Project, Quiet, Server, print_payload

_Target = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN|ENGINE",
        help="A pipeline (name or module:attribute), a run (number, #number, id), or an engine folder.",
    ),
]
_Pipeline = Annotated[
    str | None, typer.Option("--pipeline", help="Whose run or engine that is. Default: the project's default.")
]
_Backends = Annotated[
    str | None, typer.Option("--backends", help="Comma-separated: openvino,onnxruntime,inductor,tensorrt,eager,...")
]
_Precisions = Annotated[str | None, typer.Option("--precisions", help="Comma-separated: fp32,bf16,fp16,int8,fp8.")]
_Objective = Annotated[
    str | None, typer.Option("--objective", help="What the engine is chosen by: latency, throughput, energy, size.")
]
_Device = Annotated[str | None, typer.Option("--device", help="Where engines run: auto, cpu, cuda.")]
_Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of the engines.")]
_Profile = Annotated[str, typer.Option("--profile", help="How long to measure: smoke, standard, full.")]
_NoMeasure = Annotated[bool, typer.Option("--no-measure", help="The ladder alone: nothing is timed at length.")]
_Keep = Annotated[Path | None, typer.Option("--keep", help="Copy the chosen engine to this new folder.")]


def command(
    target: _Target,
    pipeline: _Pipeline = None,
    backends: _Backends = None,
    precisions: _Precisions = None,
    objective: _Objective = None,
    device: _Device = None,
    threads: _Threads = None,
    profile: _Profile = "smoke",
    server: Server = False,
    no_measure: _NoMeasure = False,
    keep: _Keep = None,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Build every engine that can be built of a model, check and race them, and measure the one that is chosen.

    Nothing is trained, recorded or promoted; a model without a champion is measured with the weights it is made with.

    Examples:

    plaster-ops bench digits

    plaster-ops bench mymodule:pipeline --precisions fp32,int8 --objective throughput

    plaster-ops bench 12 --backends inductor --keep engine-12

    plaster-ops bench engine-12 --json
    """
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.cli.retrain import known_profile
    from plaster_ops.flow.bench import BenchRequest, run_bench
    from plaster_ops.processes.signals import stop_on_signals
    from plaster_ops.settings import load_settings

    start_s = time.monotonic()
    settings = load_settings(project)
    request = BenchRequest(
        pipeline=pipeline,
        backends=_words(backends),
        precisions=_words(precisions),
        objective=objective,
        device=device,
        threads=threads,
        profile=known_profile(profile) or "smoke",
        server=server,
        measure=not no_measure,
        keep=keep,
    )
    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        payload = run_bench(settings, target, request, tell=tell, start_s=start_s)
    print_payload(payload, as_json=as_json, as_markdown=as_markdown, quiet=quiet)


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())
