"""P, programmability: how much of the model the optimiser took, in how many pieces, and what it took to get there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Status, Unmeasured
from plaster_ops.domain.metrics import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class UserCode:
    """What the user had to write and set for the engine: lines of code in adapter files, options, hand-made resumes.

    `custom_ops`: operators of the graph that are not torch's own. `torch_executed`: operators kept out by an option.
    `unread`: adapters that could not be read, whose lines are not known.
    """

    adapter_lines: int = 0
    unread: tuple[str, ...] = ()
    adapters: int = 0
    options: int = 0
    custom_ops: tuple[str, ...] = ()
    torch_executed: int = 0
    resumes: int = 0


def read(
    manifest: Mapping[str, Any],
    tried: Sequence[Mapping[str, Any]],
    *,
    export_ok: bool = True,
    eager_p50_ms: float | None = None,
    p50_ms: float | None = None,
    speedup_status: str = Status.MEASURED,
    speedup_reason: str | None = None,
    decision: str = "build",
    ladder: bool = True,
    user: UserCode | None = None,
) -> list[Row]:
    """All programmability rows. `tried`: rows `{"backend", "precision", "ok", "reason", ...}` of the ladder.

    `speedup_status`, `speedup_reason`: how far the two medians may be trusted, or why they cannot be held together.
    `decision` other than "build" means that no engine was built, so there is no build time. `ladder` False: only the
    last winner was tried.
    """
    rows = [*_coverage_rows(manifest["coverage"], export_ok), *_ladder_rows(tried, ladder=ladder)]
    rows += [*_build_rows(manifest, decision), *_user_rows(user or UserCode())]
    return [*rows, _speedup_row(eager_p50_ms, p50_ms, Status(speedup_status), speedup_reason)]


def count_code_lines(files: Sequence[Path]) -> tuple[int, tuple[str, ...]]:
    """Lines that are neither blank nor a comment, over all files, and the names of those that cannot be read.

    Lines of bytes: a file need not be UTF-8, nor Python.
    """
    total, unread = 0, []
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError:
            unread.append(file.name)
            continue
        total += sum(bool(line.strip()) and not line.lstrip().startswith(b"#") for line in lines)
    return total, tuple(unread)


def _speedup_row(eager_p50_ms: float | None, p50_ms: float | None, status: Status, reason: str | None) -> Row:
    metric = m.SPEEDUP_VS_EAGER_RATIO
    if not eager_p50_ms or not p50_ms:
        return Unmeasured(metric=metric, reason=reason or "eager was not measured beside the engine")
    return Reading(metric=metric, value=eager_p50_ms / p50_ms, status=status, reason=reason)


def _coverage_rows(coverage: Mapping[str, Any], export_ok: bool) -> list[Row]:
    total = coverage["ops_total"]
    fallback = sorted(set(coverage.get("fallback_ops") or ()))
    empty = "the graph holds no operator"
    return [
        Reading(
            metric=m.ENGINE_FLOPS_RATIO,
            value=coverage["flops_ratio"],
            n=total,
            reason=_flops_note(coverage),
        ),
        _ratio(m.ENGINE_OPS_RATIO, coverage["ops_in_engine"], total, empty),
        _ratio(m.SUPPORTED_OPS_RATIO, coverage.get("ops_supported"), total, "the backend does not say what it knows"),
        _or_unmeasured(m.ENGINE_TIME_RATIO, coverage.get("time_ratio"), "no profile of this backend tells"),
        Reading(metric=m.ENGINES_COUNT, value=coverage["engines"]),
        Reading(metric=m.FALLBACK_SEGMENTS_COUNT, value=coverage.get("segments", 0)),
        _or_unmeasured(m.BOUNDARY_BYTES, coverage.get("boundary_bytes"), "the backend does not say what crosses"),
        Reading(metric=m.GRAPH_BREAKS_COUNT, value=coverage["graph_breaks"]),
        Reading(metric=m.EXPORT_OK_COUNT, value=1 if export_ok else 0),
        Reading(metric=m.UNSUPPORTED_OP_KINDS_COUNT, value=len(fallback), reason=", ".join(fallback) or None),
        _or_unmeasured(
            m.PRECISION_FLOPS_RATIO, coverage.get("precision_ratio"), "the backend does not tell precisions apart"
        ),
    ]


def _flops_note(coverage: Mapping[str, Any]) -> str | None:
    uncounted = ", ".join(coverage.get("uncounted_ops") or ())
    notes = [
        "" if coverage.get("has_flops", True) else "no operator has FLOPs that are counted: the share of operators",
        f"no FLOP formula is known for {uncounted}, outside the engine" if uncounted else "",
    ]
    return "; ".join(note for note in notes if note) or None


def _ladder_rows(tried: Sequence[Mapping[str, Any]], *, ladder: bool) -> list[Row]:
    reason = None if ladder else "only the winner of the last ladder was tried"
    passed = [row for row in tried if row["ok"]]
    return [
        Reading(metric=m.PRECISIONS_TRIED_COUNT, value=len(tried), reason=reason),
        Reading(metric=m.PRECISIONS_BUILT_COUNT, value=sum(bool(row.get("built") or row["ok"]) for row in tried)),
        Reading(metric=m.PRECISIONS_PASSED_COUNT, value=len(passed), reason=_refusals(tried)),
        Reading(metric=m.BACKENDS_PASSED_COUNT, value=len({row["backend"] for row in passed})),
    ]


def _build_rows(manifest: Mapping[str, Any], decision: str) -> list[Row]:
    built_s, refit_s = manifest.get("build_s"), manifest.get("refit_s")
    from_cache = bool(manifest["coverage"].get("from_cache"))
    rows: list[Row] = []
    for metric, is_this, other in (
        (m.BUILD_COLD_S, not from_cache, "a cache of the backend's held a part of the build"),
        (m.BUILD_CACHED_S, from_cache, "no cache of the backend's held a part of the build"),
    ):
        if decision != "build" or built_s is None:
            rows.append(Unmeasured(metric=metric, reason=f"no engine was built: {decision}"))
        elif is_this:
            rows.append(Reading(metric=metric, value=float(built_s)))
        else:
            rows.append(Unmeasured(metric=metric, reason=other))
    if decision == "refit" and refit_s is not None:
        rows.append(Reading(metric=m.REFIT_S, value=float(refit_s)))
    else:
        rows.append(Unmeasured(metric=m.REFIT_S, reason=f"the engine was not refitted: {decision}"))
    return rows


def _user_rows(user: UserCode) -> list[Row]:
    converters: Row = Reading(metric=m.CUSTOM_CONVERTERS_COUNT, value=0)
    if user.adapters:
        converters = Unmeasured(
            metric=m.CUSTOM_CONVERTERS_COUNT, reason=f"what {user.adapters} adapter files register is not counted"
        )
    lines: Row = Reading(metric=m.USER_CODE_LINES, value=user.adapter_lines + user.options)
    if user.unread:
        lines = Unmeasured(metric=m.USER_CODE_LINES, reason=f"adapters cannot be read: {', '.join(user.unread)}")
    return [
        lines,
        converters,
        Reading(metric=m.PLUGINS_COUNT, value=len(user.custom_ops), reason=", ".join(user.custom_ops) or None),
        Reading(metric=m.TORCH_EXECUTED_OPS_COUNT, value=user.torch_executed),
        Reading(metric=m.HUMAN_INTERVENTIONS_COUNT, value=user.resumes),
    ]


def _ratio(metric: Metric, part: int | None, total: int, reason: str) -> Row:
    if part is None or not total:
        return Unmeasured(metric=metric, reason=reason if total else "the graph holds no operator")
    return Reading(metric=metric, value=part / total)


def _or_unmeasured(metric: Metric, value: float | None, reason: str) -> Row:
    return Unmeasured(metric=metric, reason=reason) if value is None else Reading(metric=metric, value=value)


def _refusals(tried: Sequence[Mapping[str, Any]]) -> str | None:
    reasons = [f"{row['backend']} {row['precision']}: {row['reason']}" for row in tried if not row["ok"]]
    return "; ".join(reasons)[:500] or None
