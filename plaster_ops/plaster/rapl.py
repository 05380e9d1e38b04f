"""RAPL: what the CPU packages and their memory drew, from the powercap tree of Linux (Intel, and AMD from 5.8 on)."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plaster_ops.plaster.power import CounterLost, NoCounter, Unwrapped

POWERCAP = Path("/sys/class/powercap")
_UNIT_J = 1e-6
_SAME_UJ = 100_000
_TICK_S = 0.1
"""The counter moves every millisecond; some are read as seldom as every ten."""
_DIE = re.compile(r"(package-\d+)-die-\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """One folder of the tree: its name, its counter's range in microjoules; 0 where the range is not told."""

    path: Path
    name: str
    range_uj: int

    def read_uj(self) -> int:
        """The counter in microjoules; raises `OSError`, `ValueError`."""
        return int((self.path / "energy_uj").read_text())


class RaplCounter:
    """Sum of domains that do not hold each other, in joules since the counter was opened.

    Wrap-around at `max_energy_range_uj` is undone: 262 kJ on most Intel packages, 65.5 kJ on others, where `keep_s` is
    a second.
    """

    source = "rapl"
    tick_s = 0.001
    reason = ""

    def __init__(
        self, domains: Sequence[Domain], *, scope: str, notes: tuple[str, ...] = (), now_s: Callable[[], float]
    ) -> None:
        self.scope, self.notes = scope, notes
        self._now_s = now_s
        self._domains = [
            (
                domain,
                Unwrapped(domain.read_uj(), now_s(), ranges=(domain.range_uj,), unit_j=_UNIT_J, tick_s=_TICK_S),
            )
            for domain in domains
        ]
        self.keep_s = min(counted.keep_s for _, counted in self._domains)

    def read_j(self) -> float:
        """Joules since opening; raises `CounterLost` where one of the domains cannot be read or went back."""
        return sum(counted.advance(_read(domain), self._now_s()) for domain, counted in self._domains) * _UNIT_J

    def rebase(self) -> None:
        """Goes on from here. Raises `CounterLost` where a domain cannot be read."""
        for domain, counted in self._domains:
            counted.rebase(_read(domain), self._now_s())

    def close(self) -> None:
        """Nothing is held open."""


def _read(domain: Domain) -> int:
    try:
        return domain.read_uj()
    except (OSError, ValueError) as error:
        raise CounterLost(f"RAPL domain {domain.name}: {type(error).__name__} while reading it") from error


def open_rapl(root: Path = POWERCAP, *, now_s: Callable[[], float] = time.monotonic) -> RaplCounter | NoCounter:
    """The CPU packages under `root`, or the reason there is no such counter: no tree, no package, no permission.

    Only top-level packages count: core and uncore lie inside them, dram is counted apart, psys holds them all.
    A package that two trees show (MSR and MMIO) is read once, from the former.
    """
    return _open(root, "package", "cpu package", now_s)


def open_dram(root: Path = POWERCAP, *, now_s: Callable[[], float] = time.monotonic) -> RaplCounter | NoCounter:
    """The memory beside the CPU packages under `root`, or the reason there is no such counter."""
    return _open(root, "dram", "dram", now_s)


def _open(root: Path, kind: str, scope: str, now_s: Callable[[], float]) -> RaplCounter | NoCounter:
    if not root.is_dir():
        return NoCounter(f"no RAPL ({root} missing)")
    found = _domains(root, kind)
    if not found:
        return NoCounter(f"no RAPL (no {kind} domain under {root})")
    try:
        kept, notes = _without_repeats(found)
        return RaplCounter(kept, scope=scope, notes=notes, now_s=now_s)
    except PermissionError:
        return NoCounter(f"no RAPL (permission denied: {root}/*/energy_uj is readable by root only)")
    except (OSError, ValueError) as error:
        return NoCounter(f"no RAPL ({type(error).__name__} while reading {root})")


def _domains(root: Path, kind: str) -> list[Domain]:
    """Packages once each by their name; memory once each by the package that it lies under."""
    found: dict[str, Domain] = {}
    folders = sorted(root.glob("intel-rapl*:*"), key=lambda folder: (not folder.name.startswith("intel-rapl:"), folder))
    for folder in folders:
        name, place = _text(folder / "name"), folder.name.partition(":")[2]
        is_package = name.startswith("package-") and ":" not in place
        if is_package if kind == "package" else name == "dram":
            key = name if is_package else f"dram of package {place.partition(':')[0]}"
            range_uj = int(_text(folder / "max_energy_range_uj") or 0)
            found.setdefault(key, Domain(path=folder, name=key, range_uj=range_uj))
    return list(found.values())


def _without_repeats(domains: Sequence[Domain]) -> tuple[list[Domain], tuple[str, ...]]:
    """The domains without dies of one package that show one and the same counter, and what was left out.

    Two dies show the same where their counters, run since the machine was started, lie within 0.1 J.
    """
    kept: list[tuple[Domain, int]] = []
    notes = []
    for domain in domains:
        die, now_uj = _DIE.fullmatch(domain.name), domain.read_uj()
        twin = next(
            (other for other, at_uj in kept if die and _is_die_of(other, die[1]) and _same(at_uj, now_uj)), None
        )
        if twin is None:
            kept.append((domain, now_uj))
        else:
            notes.append(f"{domain.name} repeats the counter of {twin.name}: counted once")
    return [domain for domain, _ in kept], tuple(notes)


def _is_die_of(domain: Domain, package: str) -> bool:
    die = _DIE.fullmatch(domain.name)
    return die is not None and die[1] == package


def _same(one_uj: int, other_uj: int) -> bool:
    return one_uj > 10 * _SAME_UJ and abs(one_uj - other_uj) <= _SAME_UJ


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
