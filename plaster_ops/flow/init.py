"""`plaster-ops init`: a pipeline around a stranger's module and data, tried before a file is written."""

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaster_ops.errors import ChildFailed, UsageError
from plaster_ops.flow.engines import list_engines, usable
from plaster_ops.flow.scaffold import logged_metric, pipeline_text, settings_text
from plaster_ops.flow.settings_file import Addition, plan_addition
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings

Ask = Callable[[str, str], str]
"""Asks the user for the value of an argument: its name, and what is known of it."""

_EPOCHS, _LIMIT_S = 20, 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InitRequest:
    """What the command line asked for. `arguments` are `NAME=VALUE` texts."""

    module: str
    data: str
    name: str | None = None
    arguments: tuple[str, ...] = ()
    score: str | None = None
    draft: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """`ok`: the pipeline would retrain. `files`: what was written, and how. `checks`: rows of the two stages."""

    name: str
    ok: bool
    checks: tuple[Mapping[str, Any], ...]
    files: tuple[tuple[str, str], ...]
    next_step: str
    epoch_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The `--json` object, but for `exit_code`."""
        return {
            "name": self.name,
            "ok": self.ok,
            "checks": [dict(row) for row in self.checks],
            "files": [{"path": path, "how": how} for path, how in self.files],
            "epoch_s": self.epoch_s,
            "next": self.next_step,
        }


def run_init(settings: Settings, request: InitRequest, *, tell: EventSink, ask: Ask | None) -> Outcome:
    """Inspects, writes the pipeline's text to a temporary folder, tries it there, and only then puts files in place.

    Where a check is bad nothing is written, but with `request.draft`: then a file with TODO lines. `ask` None: nobody
    can be asked. Raises `UsageError` for what cannot be begun.
    """
    name = request.name or _name_of(request.module)
    file = settings.project / f"{name}_pipeline.py"
    addition = _checked(settings, name, file)
    with _workplace(settings) as work:
        inspected, request = _inspect(settings, request, work, tell, ask)
        checks = list(inspected["checks"])
        draft = inspected["draft"]
        if not inspected["complete"]:
            return _stopped(name, request, checks, draft, file)
        text = pipeline_text(draft, _class_name(name))
        (work / file.name).write_text(text, encoding="utf-8")
        rehearsed = _stage(settings, "rehearsal", _rehearsal_spec(file.stem, work), work, tell)
        checks += [*rehearsed["checks"], _engines(settings)]
        if any(row["state"] == "bad" for row in checks):
            return _stopped(name, request, checks, draft, file)
    metric = logged_metric(list(rehearsed["metrics"]), draft["score"]["name"])
    section = settings_text(
        name, file.stem, prefix=addition.prefix, metric=metric, timeout_s=_timeout_s(rehearsed["epoch_s"])
    )
    files = _put(file, text, addition, section, name)
    step = f"plaster-ops retrain {name} --profile smoke"
    return Outcome(name=name, ok=True, checks=tuple(checks), files=files, next_step=step, epoch_s=rehearsed["epoch_s"])


def _checked(settings: Settings, name: str, file: Path) -> Addition:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"--name {name!r} is no name", "letters, digits and _ make one, for example --name flow")
    if file.exists():
        raise UsageError(f"{file.name} is there already, and init never overwrites", "give another --name, or move it")
    if name in settings.pipelines:
        raise UsageError(f"pipeline {name!r} is declared already", "give another --name")
    return plan_addition(settings)


def _inspect(
    settings: Settings, request: InitRequest, work: Path, tell: EventSink, ask: Ask | None
) -> tuple[dict[str, Any], InitRequest]:
    """The inspection, repeated with the answers where arguments are missing and somebody can be asked."""
    while True:
        spec = {
            "module": request.module,
            "data": request.data,
            "arguments": list(request.arguments),
            "score": request.score,
        }
        found = _stage(settings, "inspection", spec, work, tell)
        missing = [(side, n, kind) for side, names in found["missing"].items() for n, kind in names.items()]
        if not missing or ask is None:
            return found, request
        tell({"event": "asking"})
        answers = [f"{side}.{n}={ask(n, f'of the {side}, {kind}')}" for side, n, kind in missing]
        request = replace(request, arguments=(*request.arguments, *answers))


def _stopped(
    name: str, request: InitRequest, checks: Sequence[Mapping[str, Any]], draft: Mapping[str, Any], file: Path
) -> Outcome:
    bad = next((row for row in checks if row["state"] == "bad"), None)
    step = bad["next_step"] if bad else ""
    files: tuple[tuple[str, str], ...] = ()
    if request.draft and {"module", "data"} <= draft.keys():
        with file.open("x", encoding="utf-8") as out:
            out.write(pipeline_text(draft, _class_name(name)))
        files = ((file.name, "a draft that does not work yet: look for TODO, and at the check that is bad"),)
        step = f"edit {file.name}, then: plaster-ops retrain {file.stem}:pipeline --dry-run"
    return Outcome(name=name, ok=False, checks=tuple(checks), files=files, next_step=step)


def _put(file: Path, text: str, addition: Addition, section: str, name: str) -> tuple[tuple[str, str], ...]:
    """Both files, or none."""
    with file.open("x", encoding="utf-8") as out:
        out.write(text)
    try:
        how = addition.write(section, name)
    except BaseException:
        file.unlink()
        raise
    return ((file.name, f"the pipeline, {len(text.splitlines())} lines"), (addition.file.name, how))


def _rehearsal_spec(module: str, work: Path) -> dict[str, Any]:
    largest = max(PipelineSettings(ref="m:a").measure.batches)
    return {"reference": f"{module}:pipeline", "project": str(work), "max_batch": largest}


def _stage(settings: Settings, stage: str, spec: Mapping[str, Any], work: Path, tell: EventSink) -> dict[str, Any]:
    tell({"event": "stage", "stage": stage, "state": "start"})
    began_s = time.monotonic()
    env = {"MPLCONFIGDIR": str(work / "matplotlib"), "PLASTER_CACHE": str(work / "cache")}
    limits = Limits(timeout_s=_LIMIT_S, idle_s=None)
    folder = work / stage
    try:
        found = run_stage(stage, spec, folder=folder, limits=limits, on_event=tell, project=settings.project, env=env)
    except ChildFailed as error:
        error.next_step = "your code ended the process that looked at it; the lines above are its last"
        raise
    tell({"event": "stage", "stage": stage, "state": "done", "seconds": time.monotonic() - began_s})
    return found


def _engines(settings: Settings) -> dict[str, Any]:
    names = [name for name in usable(list_engines(settings).backends) if name != "eager"]
    if names:
        return {"name": "engines here", "state": "ok", "detail": ", ".join(names), "next_step": ""}
    return {
        "name": "engines here",
        "state": "warn",
        "detail": "none but eager, the last resort",
        "next_step": "pip install 'plaster-ops[openvino]'",
    }


def _timeout_s(epoch_s: float | None) -> int | None:
    """A limit of the fit where the usual one would cut it off."""
    usual_s = PipelineSettings(ref="m:a").train.timeout_s
    if epoch_s is None or epoch_s * _EPOCHS * 1.5 < usual_s:
        return None
    return 600 * math.ceil(epoch_s * _EPOCHS * 3 / 600)


@contextmanager
def _workplace(settings: Settings) -> Iterator[Path]:
    """A folder below the project's memory that is gone afterwards, with the memory where it was made for it."""
    work = settings.memory / "work"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=work, prefix="init-") as folder:
            yield Path(folder)
    finally:
        for empty in (work, settings.memory):
            with suppress(OSError):
                empty.rmdir()


def _name_of(reference: str) -> str:
    """`NetLightRegression` of `a.b:NetLightRegression` as `net_light_regression`."""
    last = reference.rpartition(":")[2].rpartition(".")[2] or "model"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()


def _class_name(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Pipeline"
