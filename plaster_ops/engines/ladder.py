"""Which engines to try: every backend at every precision, each with a reason where it is not. Loads no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.gpus import visible_gpus
from plaster_ops.engines.key import machine_of
from plaster_ops.engines.options import Schema, check_options
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import SettingsError
from plaster_ops.ports import Availability, Capabilities, Option

REFERENCE = "eager"
"""What every engine is checked against; a candidate itself only where it is named, or after all others have failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One backend at one precision; `reason` says why it is not tried, and is empty where it is.

    `only_built`: it is built for the record and cannot run here. `last_resort`: used only where no other can be.
    """

    backend: str
    precision: str
    reason: str = ""
    only_built: bool = False
    last_resort: bool = False

    @property
    def refused(self) -> bool:
        """Whether it is not tried."""
        return bool(self.reason)

    @property
    def label(self) -> str:
        """What its folders and its evidence are called."""
        return f"{self.backend.replace(':', '.')}-{self.precision}"


@dataclass(frozen=True, slots=True)
class Known:
    """What a backend says of itself; of one of the user's own nothing is known before a child has imported it."""

    availability: Availability
    capabilities: Capabilities | None


def ask_backend(name: str) -> Known:
    """Probe and capabilities of a backend; code of the user's own is not imported by this process."""
    if ":" in name:
        return Known(Availability(ok=True), None)
    found = find_backend(name)
    return Known(found.probe(), found.capabilities())


Ask = Callable[[str], Known]


def candidates(
    backends: Sequence[str],
    precisions: Sequence[str],
    *,
    device: str = "cpu",
    no_calibration: str = "",
    ask: Ask = ask_backend,
) -> tuple[Candidate, ...]:
    """Every backend x precision in the order given, backends outermost, refused ones with their reason.

    `eager` at fp32 is added as the last resort. `no_calibration`: why there is nothing to calibrate with, if so. A name
    nobody knows raises `SettingsError`.
    """
    rows: list[Candidate] = []
    for backend in dict.fromkeys(backends):
        known = ask(backend)
        for precision in dict.fromkeys(precisions):
            reason = _why_not(backend, precision, known, device, no_calibration)
            built = not reason and known.capabilities is not None and not known.capabilities.runs_here
            rows.append(Candidate(backend=backend, precision=precision, reason=reason, only_built=built))
    if not any(row.backend == REFERENCE and row.precision == "fp32" for row in rows):
        reason = _why_not(REFERENCE, "fp32", ask(REFERENCE), device, "")
        rows.append(Candidate(backend=REFERENCE, precision="fp32", reason=reason, last_resort=True))
    return tuple(rows)


def check_candidates(backends: Sequence[str], options: Mapping[str, Option], ask: Ask = ask_backend) -> None:
    """Raises `SettingsError` for a backend nobody knows, and for options that none of the backends takes."""
    schemas: dict[str, Schema | None] = {}
    for backend in backends:
        capabilities = ask(backend).capabilities
        schemas[backend] = capabilities.options if capabilities else None
    check_options(options, schemas)


def stack(backends: Sequence[str], device: str, ask: Ask = ask_backend) -> dict[str, str]:
    """What the choice of an engine rests on besides the model: versions, what is missing, and the machine."""
    found = {"machine": machine_of(device), "device": device}
    for backend in backends:
        availability = ask(backend).availability
        if not availability.ok:
            found[backend] = "absent"
        for package, number in availability.versions:
            found[f"{backend}.{package}"] = number
    return found


def needs_calibration(backends: Sequence[str], precisions: Sequence[str], ask: Ask = ask_backend) -> bool:
    """Whether any candidate that can be tried quantises."""
    for backend in backends:
        known = ask(backend)
        capabilities = known.capabilities
        if capabilities is None:
            if {"int8", "fp8"} & set(precisions):
                return True
        elif known.availability.ok and set(capabilities.calibrated) & set(capabilities.precisions) & set(precisions):
            return True
    return False


def engine_device(wanted: str, backends: Sequence[str], ask: Ask = ask_backend) -> str:
    """`cpu` or `cuda:0` for the setting `auto`, `cpu` or `cuda`. Raises `SettingsError` for a GPU that is not there."""
    if wanted == "cpu":
        return "cpu"
    missing = _why_no_gpu()
    if wanted == "cuda":
        if missing:
            raise SettingsError(f"engine.device = 'cuda': {missing}", "set it to auto or cpu")
        return "cuda:0"
    usable = any("cuda" in known.devices for name in backends if (known := ask(name).capabilities) is not None)
    return "cpu" if missing or not usable else "cuda:0"


def _why_no_gpu() -> str:
    if not visible_gpus():
        return "no NVIDIA GPU is visible"
    try:
        return "the installed torch is a CPU build" if version("torch").endswith("+cpu") else ""
    except PackageNotFoundError:
        return "torch is not installed"


def _why_not(backend: str, precision: str, known: Known, device: str, no_calibration: str) -> str:
    capabilities = known.capabilities
    if not known.availability.ok:
        return known.availability.reason
    if capabilities is None:
        return ""
    if precision not in capabilities.precisions:
        return f"{backend} builds {', '.join(capabilities.precisions)} here, not {precision}"
    if device.partition(":")[0] not in capabilities.devices and capabilities.runs_here:
        return f"{backend} is for {' and '.join(capabilities.devices)}, engines of this pipeline run on {device}"
    if precision in capabilities.emulated and device == "cpu":
        return (
            f"this CPU ({this_cpu().model}) has no {precision} arithmetic: {backend} would emulate it, slower than fp32"
        )
    if precision in capabilities.calibrated and no_calibration:
        return f"{precision} has nothing to be calibrated with: {no_calibration}"
    return ""
