"""Paired evidence of two engines that were measured side by side: what `compare` turns into a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedRatios:
    """log(now / then) of one metric, one entry per fresh measuring process.

    `per_process`: trimmed mean over the process's paired blocks. `within_se`: standard error of that mean over the
    blocks of the process; it says nothing about restarts. `pairs`: number of block pairs behind each entry.
    """

    key: str
    per_process: tuple[float, ...]
    within_se: tuple[float, ...]
    pairs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.per_process:
            raise ValueError(f"{self.key}: no process has a pair of blocks; use Unmeasured with a reason")
        if not len(self.per_process) == len(self.within_se) == len(self.pairs):
            raise ValueError(f"{self.key}: per_process, within_se and pairs differ in length")

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return {
            "key": self.key,
            "per_process": list(self.per_process),
            "within_se": list(self.within_se),
            "pairs": list(self.pairs),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "PairedRatios":
        """The ratios that `to_json` wrote."""
        return cls(
            key=fields["key"],
            per_process=tuple(float(value) for value in fields["per_process"]),
            within_se=tuple(float(value) for value in fields["within_se"]),
            pairs=tuple(int(value) for value in fields["pairs"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """now - then of one score over the same samples, in the score's own unit and sign, with two intervals.

    `method` names the test: `mcnemar_midp` (0/1 per sample), `paired_bootstrap`, `paired_jackknife`, `paired_t`,
    `identical`, or `unresampled`, which has no intervals and no p-value.
    `gained` and `lost` count samples that are right only now and only then, where a sample is right or wrong.
    """

    key: str
    delta: float
    ci95: tuple[float, float] | None
    ci90: tuple[float, float] | None
    p_value: float | None
    method: str
    n: int
    gained: int | None = None
    lost: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return {
            "key": self.key,
            "delta": self.delta,
            "ci95": list(self.ci95) if self.ci95 else None,
            "ci90": list(self.ci90) if self.ci90 else None,
            "p_value": self.p_value,
            "method": self.method,
            "n": self.n,
            "gained": self.gained,
            "lost": self.lost,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "PairedDifference":
        """The difference that `to_json` wrote."""
        return cls(
            key=fields["key"],
            delta=float(fields["delta"]),
            ci95=_bounds(fields["ci95"]),
            ci90=_bounds(fields["ci90"]),
            p_value=None if fields["p_value"] is None else float(fields["p_value"]),
            method=fields["method"],
            n=int(fields["n"]),
            gained=fields.get("gained"),
            lost=fields.get("lost"),
        )


def _bounds(found: Sequence[float] | None) -> tuple[float, float] | None:
    return (float(found[0]), float(found[1])) if found else None
