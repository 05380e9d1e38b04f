"""`plaster-ops retrain`: the one command that cron, the scheduler and people run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from plaster_ops.cli.options import Json, Markdown, Name, ProfileOption, Project, Quiet, Server, print_payload
from plaster_ops.errors import Busy, PlasterError, UsageError

FAIL_ON = ("worse", "inconclusive", "not_comparable")

_EPILOG = """Examples:

plaster-ops retrain --compare last

plaster-ops retrain digits --devices 2 --compare champion --json

plaster-ops retrain mymodule:pipeline --profile smoke

plaster-ops retrain --ladder

plaster-ops retrain --resume

plaster-ops retrain --nodes 2 --node-rank 0 --rendezvous node0:29400    (on node 0; --node-rank 1 on the other)

srun --nodes 2 --ntasks-per-node 1 plaster-ops retrain    (nodes, their numbers and node 0's name come from Slurm)

Exit codes: 0 done or nothing new; 2 wrong use; 3 held by a gate; 4 and 5 only with --fail-on; 6 a required gate
was not measured; 10 training failed; 11 no engine; 12 nothing could be recorded; 75 busy; 124 timed out;
130/143 interrupted."""


_Compare = Annotated[
    str, typer.Option("--compare", help="Baseline to show: last, champion, previous, best, or a run (number or id).")
]
_Resume = Annotated[
    str | None, typer.Option("--resume", help="Continue an unfinished run (the newest, or RUN).", metavar="[RUN]")
]
_Scratch = Annotated[bool, typer.Option("--scratch", help="Start from new weights, not from the champion's.")]
_Devices = Annotated[int | None, typer.Option("--devices", min=1, help="DDP ranks on this machine.")]
_Nodes = Annotated[
    int | None,
    typer.Option("--nodes", min=1, help="Machines that share the project folder; the same command is started on each."),
]
_NodeRank = Annotated[
    int | None,
    typer.Option(
        "--node-rank", min=0, help="Which of them this is. Node 0 runs the retrain, the others take part in its fit."
    ),
]
_Launcher = Annotated[
    str | None,
    typer.Option("--launcher", help="What starts the ranks: auto, local, torchrun, or module:attribute."),
]
_Rendezvous = Annotated[
    str | None,
    typer.Option("--rendezvous", help="Where node 0 listens. Default: its name, any free port.", metavar="HOST[:PORT]"),
]
_NoMeasure = Annotated[bool, typer.Option("--no-measure", help="Train and build, but do not time anything.")]
_NoPromote = Annotated[bool, typer.Option("--no-promote", help="Hold the new engine whatever the gates say.")]
_Ladder = Annotated[
    bool, typer.Option("--ladder", help="Try every backend and precision again, whatever the last retrain chose.")
]
_Estimate = Annotated[
    bool, typer.Option("--estimate-energy", help="Guess at the CPU's power too, from measure.cpu_tdp_w.")
]
FailOn = Annotated[
    str | None, typer.Option("--fail-on", help=f"Comma-separated verdicts that fail too: {', '.join(FAIL_ON)}.")
]
_Trigger = Annotated[
    str, typer.Option("--trigger", help="Who asks, for the record: manual, cron, service, data, drift.")
]
_Slot = Annotated[
    str | None, typer.Option("--slot", help="The instant this was due, ISO 8601, for the record.", metavar="INSTANT")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def command(
    name: Name = None,
    compare: _Compare = "last",
    resume: _Resume = None,
    scratch: _Scratch = False,
    devices: _Devices = None,
    nodes: _Nodes = None,
    node_rank: _NodeRank = None,
    launcher: _Launcher = None,
    rendezvous: _Rendezvous = None,
    profile: ProfileOption = None,
    server: Server = False,
    no_measure: _NoMeasure = False,
    no_promote: _NoPromote = False,
    ladder: _Ladder = False,
    estimate_energy: _Estimate = False,
    fail_on: FailOn = None,
    dry_run: _DryRun = False,
    trigger: _Trigger = "manual",
    slot: _Slot = None,
    project: Project = None,
    as_json: Json = False,
    as_markdown: Markdown = False,
    quiet: Quiet = False,
) -> None:
    """Retrain a model on the data that arrived, rebuild its engine, measure it against an earlier one, and decide."""
    from plaster_ops.cli.start import process_start
    from plaster_ops.flow.retrain import Request
    from plaster_ops.settings import load_settings

    start, settings = process_start(), load_settings(project)
    with _told_as_json(settings, name, trigger, as_json=as_json):
        part = _part(settings, name, nodes, node_rank, rendezvous)
        if part.idle or part.node > 0:
            raise typer.Exit(_follow(settings, name, launcher, part, dry_run=dry_run, quiet=quiet))
    request = Request(
        compare=compare,
        scratch=scratch,
        devices=devices,
        part=part,
        launcher=launcher,
        profile=known_profile(profile),
        measure=not no_measure,
        promote=not no_promote,
        fail_on=known_fail_on(fail_on),
        trigger=_known_trigger(trigger),
        slot=_known_slot(slot),
        ladder=ladder,
        estimate_energy=estimate_energy,
        server=server,
    )
    if dry_run:
        from plaster_ops.flow.plan import describe_plan

        typer.echo(describe_plan(settings, name, request))
        return
    with _told_as_json(settings, name, trigger, as_json=as_json):
        payload = _run(settings, name, request, start=start, resume=resume, quiet=quiet)
    print_payload(payload, as_json=as_json, as_markdown=as_markdown, quiet=quiet)
    raise typer.Exit(int(payload["exit_code"]))


def _run(settings: Any, name: str | None, request: Any, *, start: Any, resume: str | None, quiet: bool) -> Any:
    """The retrain, with its progress on stderr; the first signal stops it in order."""
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.session import run_retrain
    from plaster_ops.processes.signals import stop_on_signals

    with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
        return run_retrain(settings, name, request, start=start, tell=tell, resume=resume)


@contextmanager
def _told_as_json(settings: Any, name: str | None, trigger: str, *, as_json: bool) -> Iterator[None]:
    """With --json an error is an object on stdout too."""
    try:
        yield
    except PlasterError as error:
        if as_json:
            print_payload(_failure(error, settings, name, trigger), as_json=True, as_markdown=False, quiet=False)
        raise


def _part(settings: Any, name: str | None, nodes: int | None, node_rank: int | None, rendezvous: str | None) -> Any:
    """Which node this is, by the command line, the settings and the environment; the last is told on stderr."""
    from plaster_ops.training.nodes.part import Asked, find_part

    train = settings.pipeline(name)[1].train
    asked = Asked(nodes=nodes, node_rank=node_rank, rendezvous=rendezvous)
    part = find_part(asked, nodes=train.nodes, rendezvous=train.rendezvous, environment=os.environ)
    if part.told:
        typer.echo(part.told, err=True)
    return part


def _follow(settings: Any, name: str | None, launcher: str | None, part: Any, *, dry_run: bool, quiet: bool) -> int:
    """A node that only takes part in fits; its own exit code is 0 whatever became of the run."""
    from plaster_ops.cli.progress import progress_to_stderr
    from plaster_ops.flow.nodes import run_follower
    from plaster_ops.processes.signals import stop_on_signals

    if not (part.idle or dry_run):
        with stop_on_signals(), progress_to_stderr(quiet=quiet) as tell:
            run_follower(settings, name, launcher, part, tell)
    return 0


def _failure(error: PlasterError, settings: Any, name: str | None, trigger: str) -> dict[str, Any]:
    from plaster_ops.report.json_text import bare_payload

    payload = getattr(error, "payload", None)
    if payload is not None:
        return dict(payload)
    mlflow = {"tracking_uri": settings.tracking_uri, "experiment": None, "run_id": None, "model_version": None}
    verdict = "busy" if isinstance(error, Busy) else "failed"
    return bare_payload(
        _called(settings, name),
        verdict=verdict,
        exit_code=int(error.exit_code),
        reasons=[error.message],
        mlflow=mlflow,
        trigger=trigger,
    )


def _called(settings: Any, name: str | None) -> str:
    """The pipeline that was meant; the name as it was given where there is none of it."""
    try:
        return str(settings.pipeline(name)[0])
    except UsageError:
        return name or ""


def known_profile(profile: str | None) -> str | None:
    """The profile if there is one of that name; `UsageError` else."""
    if profile not in (None, "smoke", "standard", "full"):
        raise UsageError(f"unknown profile {profile!r}", "choose smoke, standard or full")
    return profile


def _known_trigger(trigger: str) -> str:
    from plaster_ops.domain.run import Trigger

    if trigger not in set(Trigger):
        raise UsageError(f"unknown trigger {trigger!r}", f"one of {', '.join(Trigger)}")
    return trigger


def _known_slot(slot: str | None) -> str | None:
    try:
        if slot is not None:
            datetime.fromisoformat(slot)
    except ValueError:
        raise UsageError(f"--slot {slot!r} is no date", "for example: --slot 2026-11-24T02:00:00+00:00") from None
    return slot


def known_fail_on(text: str | None) -> frozenset[str]:
    """The verdicts that `--fail-on` names; raises `UsageError` for others."""
    words = frozenset(word.strip().replace("-", "_") for word in (text or "").split(",") if word.strip())
    unknown = words - set(FAIL_ON)
    if unknown:
        raise UsageError(f"--fail-on does not know {', '.join(sorted(unknown))}", f"it knows {', '.join(FAIL_ON)}")
    return words


command.__doc__ = f"{command.__doc__}\n\n{_EPILOG}"
