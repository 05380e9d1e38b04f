"""Whether an engine answers as the eager model does: every output, every element, with a reason in words if not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from plaster_ops.errors import SettingsError

LIMITS: Mapping[str, float] = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 2e-2, "int8": 1e-1, "fp8": 1e-1}
"""Largest |engine - eager| over the largest |eager| of an output, by precision. Below fp32 this catches what is broken;
whether what is left is good enough, the score decides."""
MISMATCHES: Mapping[str, float] = {"fp32": 0.0, "bf16": 0.02, "fp16": 0.02, "int8": 0.05, "fp8": 0.05}
"""Largest share of the elements of an integer or boolean output that may differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputParity:
    """One output, over all samples seen. A field that does not apply to its kind is None.

    `cosine_min`: smallest cosine between a sample's answers; over the whole batch where a sample has one element.
    `top1_same`: samples [n, c > 1] whose largest column is the same. `mismatches`: elements of an integer or boolean
    output that differ, out of `elements`.
    """

    name: str
    samples: int
    abs_err_max: float | None = None
    reference_abs_max: float | None = None
    cosine_min: float | None = None
    top1_same: int | None = None
    mismatches: int | None = None
    elements: int | None = None
    failure: str = ""

    @property
    def rel_err(self) -> float | None:
        """Largest error / largest reference value; the error itself where the reference is zero throughout."""
        if self.abs_err_max is None or self.reference_abs_max is None:
            return None
        return self.abs_err_max / self.reference_abs_max if self.reference_abs_max else self.abs_err_max

    @property
    def top1_agreement(self) -> float | None:
        """Share of samples with the same top-1 answer."""
        return self.top1_same / self.samples if self.top1_same is not None and self.samples else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """All outputs of an engine against eager, at the limit of its precision."""

    precision: str
    limit: float
    outputs: tuple[OutputParity, ...]
    failure: str = ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it fails, one sentence an output; empty where it passes."""
        if self.failure:
            return (self.failure,)
        allowed = MISMATCHES.get(self.precision, 0.0)
        return tuple(reason for output in self.outputs if (reason := _reason(output, self.limit, allowed)))

    @property
    def ok(self) -> bool:
        """Whether every output is within the limit."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """A plain mapping, `ok`, `reasons`, and each output's `rel_err` and `top1_agreement` included."""
        rows = [asdict(o) | {"rel_err": o.rel_err, "top1_agreement": o.top1_agreement} for o in self.outputs]
        return {
            "precision": self.precision,
            "limit": self.limit,
            "ok": self.ok,
            "reasons": list(self.reasons),
            "outputs": [{key: _finite(value) for key, value in row.items()} for row in rows],
        }


def compare_outputs(
    reference: Sequence[Tensor],
    got: Sequence[Tensor],
    names: Sequence[str],
    precision: str,
    *,
    limit: float | None = None,
) -> ParityReport:
    """The engine's flat outputs `got` against eager's `reference` for one batch, batch axis first.

    `limit` takes the place of the precision's own.
    """
    if precision not in LIMITS:
        raise SettingsError(f"precision {precision!r} has no parity limit", f"known: {', '.join(LIMITS)}")
    report = ParityReport(precision=precision, limit=LIMITS[precision] if limit is None else limit, outputs=())
    if len(reference) != len(got):
        return replace(report, failure=f"the engine has {len(got)} outputs, the model has {len(reference)}")
    pairs = zip(names, reference, got, strict=True)
    return replace(report, outputs=tuple(_compare(name, ours, theirs) for name, ours, theirs in pairs))


def merge_reports(reports: Iterable[ParityReport]) -> ParityReport:
    """One report over several batches: worst errors, summed counts, the first failure of each output."""
    merged, *others = list(reports)
    for other in others:
        failure = merged.failure or other.failure
        pairs = zip(merged.outputs, other.outputs, strict=False)
        merged = replace(merged, failure=failure, outputs=tuple(_merge(a, b) for a, b in pairs))
    return merged


def _compare(name: str, reference: Tensor, got: Tensor) -> OutputParity:
    samples = int(reference.shape[0]) if reference.dim() else 1
    plain = OutputParity(name=name, samples=samples)
    if reference.shape != got.shape:
        return replace(plain, failure=f"has shape {list(got.shape)}, eager has {list(reference.shape)}")
    if reference.dtype != got.dtype:
        return replace(plain, failure=f"is {got.dtype}, eager gives {reference.dtype}")
    if not reference.is_floating_point():
        return replace(plain, mismatches=int(torch.count_nonzero(reference != got)), elements=reference.numel())
    ours, theirs = reference.detach().double(), got.detach().double()
    if bool((ours.isnan() != theirs.isnan()).any()):
        where = "engine" if bool((theirs.isnan() & ~ours.isnan()).any()) else "eager model"
        return replace(plain, failure=f"is NaN in the {where} alone")
    ours, theirs = (
        ours.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf),
        theirs.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf),
    )
    equal = ours == theirs
    difference = torch.where(equal, torch.zeros_like(ours), (ours - theirs).abs())
    finite = ours[ours.isfinite()].abs()
    return replace(
        plain,
        abs_err_max=float(difference.max()) if difference.numel() else 0.0,
        reference_abs_max=float(finite.max()) if finite.numel() else 0.0,
        cosine_min=_cosine_min(ours, theirs),
        top1_same=_top1_same(ours, theirs),
    )


def _cosine_min(ours: Tensor, theirs: Tensor) -> float | None:
    """Over samples; infinities, which have no direction, are left out where both agree."""
    if not ours.numel():
        return None
    keep = ours.isfinite() & theirs.isfinite()
    left, right = (
        torch.where(keep, t, torch.zeros_like(t)).reshape(t.shape[0] if t.dim() else 1, -1) for t in (ours, theirs)
    )
    if left.shape[1] == 1:
        left, right = left.reshape(1, -1), right.reshape(1, -1)
    lengths = left.norm(dim=1) * right.norm(dim=1)
    cosine = (left * right).sum(dim=1) / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    both_zero = (left.norm(dim=1) == 0) & (right.norm(dim=1) == 0)
    return min(1.0, float(torch.where(both_zero, torch.ones_like(cosine), cosine).min()))


def _top1_same(ours: Tensor, theirs: Tensor) -> int | None:
    if ours.dim() != 2 or ours.shape[1] < 2:
        return None
    return int((ours.argmax(dim=1) == theirs.argmax(dim=1)).sum())


def _reason(output: OutputParity, limit: float, allowed: float) -> str:
    if output.failure:
        return f"output {output.name!r} {output.failure}"
    if output.mismatches and output.mismatches > allowed * (output.elements or 0):
        return (
            f"output {output.name!r} differs from eager in {output.mismatches} of {output.elements} whole-number"
            f" elements, {allowed:.0%} may"
        )
    if output.rel_err is not None and not output.rel_err <= limit:
        return (
            f"output {output.name!r} differs from eager by {output.rel_err:.2e} of its range, the limit is {limit:.0e}"
        )
    return ""


def _merge(a: OutputParity, b: OutputParity) -> OutputParity:
    def worst(x: float | None, y: float | None, *, smallest: bool = False) -> float | None:
        known = [v for v in (x, y) if v is not None]
        return (min(known) if smallest else max(known)) if known else None

    def total(x: int | None, y: int | None) -> int | None:
        return None if x is None and y is None else (x or 0) + (y or 0)

    return OutputParity(
        name=a.name,
        samples=a.samples + b.samples,
        abs_err_max=worst(a.abs_err_max, b.abs_err_max),
        reference_abs_max=worst(a.reference_abs_max, b.reference_abs_max),
        cosine_min=worst(a.cosine_min, b.cosine_min, smallest=True),
        top1_same=total(a.top1_same, b.top1_same),
        mismatches=total(a.mismatches, b.mismatches),
        elements=total(a.elements, b.elements),
        failure=a.failure or b.failure,
    )


def _finite(value: Any) -> Any:
    """JSON has no infinity: such an error is null there, and `reasons` says it in words."""
    return None if isinstance(value, float) and value in (torch.inf, -torch.inf) else value
