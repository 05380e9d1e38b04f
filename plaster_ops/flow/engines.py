"""What engine backends there are here, what each can do, and why not: one row a backend."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.gpus import visible_gpus
from plaster_ops.engines.registry import find_backend, known_backends
from plaster_ops.errors import PlasterError
from plaster_ops.ports import Option
from plaster_ops.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """One backend. `ok` False: `reason` says why. `emulated` precisions build and are slower than fp32 here.

    `runs_here` False: it builds here, and its engines need another device. `options`: name -> default.
    """

    name: str
    ok: bool
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    refit: str = ""
    falls_back: bool = False
    runs_here: bool = True
    options: dict[str, Option | tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """All backends, and the devices that they were asked on."""

    backends: tuple[Backend, ...]
    cpu: str
    cpu_has: tuple[str, ...]
    gpus: tuple[str, ...]


def list_engines(settings: Settings) -> Listing:
    """Built-in backends, installed plugins, and those of the user's own that the settings name."""
    named = [name for pipeline in settings.pipelines.values() for name in pipeline.engine.backends]
    own = list(dict.fromkeys(name for name in named if ":" in name))
    cpu = this_cpu()
    has = (("bf16", cpu.has_bf16), ("int8 dot products", cpu.has_int8_dot), ("avx512", cpu.has_avx512))
    return Listing(
        backends=tuple(_look(name) for name in (*known_backends(), *own)),
        cpu=cpu.model,
        cpu_has=tuple(name for name, there in has if there),
        gpus=tuple(
            f"{gpu.name} (compute capability {gpu.capability[0]}.{gpu.capability[1]})" for gpu in visible_gpus()
        ),
    )


def _look(name: str) -> Backend:
    if ":" in name:
        return Backend(name=name, ok=True, reason="code of your own: imported by builds only")
    try:
        found = find_backend(name)
        available, able = found.probe(), found.capabilities()
    except PlasterError as error:
        return Backend(name=name, ok=False, reason=error.message)
    return Backend(
        name=name,
        ok=available.ok,
        reason=available.reason or ("" if able.runs_here else "builds here, runs on an NVIDIA GPU only"),
        versions=dict(available.versions),
        precisions=able.precisions,
        emulated=able.emulated,
        devices=able.devices,
        refit=able.refit,
        falls_back=able.falls_back,
        runs_here=able.runs_here,
        options=dict(able.options),
    )


def usable(backends: Sequence[Backend]) -> list[str]:
    """Names of those that can serve here."""
    return [backend.name for backend in backends if backend.ok and backend.runs_here]
