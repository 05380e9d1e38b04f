"""Which engines to try, in order. The first that builds, passes parity and keeps the score is taken.

A race between candidates is not in here: they are tried one by one. Loads no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plaster_ops.engines.registry import NOT_IN_THIS_RELEASE, find_backend
from plaster_ops.ports import Availability

REFERENCE = "eager"
"""What every engine is checked against; a candidate itself only after all others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One backend at one precision; `reason` says why it is not tried, and is empty where it is."""

    backend: str
    precision: str
    reason: str = ""

    @property
    def refused(self) -> bool:
        """Whether it is not tried."""
        return bool(self.reason)


def probe_backend(name: str) -> Availability:
    """What the backend of that name says of this machine."""
    return find_backend(name).probe()


def candidates(
    backends: Sequence[str] = (),
    precisions: Sequence[str] = ("fp32",),
    probe: Callable[[str], Availability] = probe_backend,
) -> tuple[Candidate, ...]:
    """Every backend x precision in the order given, backends outermost, refused ones with their reason.

    Without backends: openvino where it can be used, else inductor. `eager` at fp32 is added as the last
    resort. A name that this release knows but has no code for is a refused row; a name nobody knows raises
    `SettingsError`.
    """
    wanted = list(dict.fromkeys(backends)) or _preferred(probe)
    if REFERENCE not in wanted:
        wanted.append(REFERENCE)
    rows: list[Candidate] = []
    for backend in wanted:
        last_resort = backend == REFERENCE and REFERENCE not in backends
        for precision in ("fp32",) if last_resort else dict.fromkeys(precisions):
            rows.append(Candidate(backend=backend, precision=precision, reason=_why_not(backend, precision, probe)))
    if REFERENCE in backends and "fp32" not in precisions:
        rows.append(Candidate(backend=REFERENCE, precision="fp32", reason=_why_not(REFERENCE, "fp32", probe)))
    return tuple(rows)


def _preferred(probe: Callable[[str], Availability]) -> list[str]:
    return ["openvino" if probe("openvino").ok else "inductor"]


def _why_not(backend: str, precision: str, probe: Callable[[str], Availability]) -> str:
    if ":" in backend:
        return ""  # code of the user's own: it is imported by the build, never by this process
    if backend in NOT_IN_THIS_RELEASE:
        return f"backend {backend} is not built into this release"
    found = find_backend(backend)
    available = probe(backend)
    if not available.ok:
        return available.reason
    if precision not in found.precisions():
        return f"{backend} builds {', '.join(found.precisions())} here, not {precision}"
    return ""
