"""The description of one retrain on its MLflow page: verdict, numbers now and then, what changed, alarms, trade-off."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.tracking import addresses
from plaster_ops.tracking.markdown import code, link, plain, table_rule
from plaster_ops.tracking.names import MAX_TAG_CHARACTERS, cut
from plaster_ops.tracking.plans import REPORT

_SENTENCES = {
    Verdict.PROMOTED: "Promoted: this engine became the champion.",
    Verdict.HELD: "Held: the champion stays.",
    Verdict.BASELINE: "Baseline: the first engine of this pipeline, so there was nothing to compare it with.",
    Verdict.FAILED: "Failed: there is no engine of this run.",
}
_MOST_CHANGES = 12
_MOST_ROWS = 8


def verdict_sentence(record: RunRecord) -> str:
    """How it ended, in a sentence."""
    return {str(verdict): sentence for verdict, sentence in _SENTENCES.items()}.get(record.verdict, record.verdict)


def describe_run(record: RunRecord) -> str:
    """All of it but the links, which need the ids that MLflow gives."""
    lines = [f"**{plain(verdict_sentence(record))}**"]
    lines += [f"- {plain(reason)}" for reason in record.reasons]
    lines += _paragraph([plain(sentence) for sentence in _concluded(record)])
    lines += _paragraph(list(_alarms(record.assessment.get("alarms") or ())))
    lines += _paragraph(list(_table(record)))
    if record.baseline and record.baseline.get("index") is not None:
        how = {"remeasured": "measured again, beside the new engine", "stored": "as it was recorded"}
        told = str(record.baseline.get("how") or "stored")
        lines += ["", f"Compared with #{record.baseline['index']}: {how.get(told, plain(told))}."]
    lines += _paragraph(list(_changes(record.assessment.get("changed") or ())))
    return "\n".join(lines)


def with_links(note: str, links: Sequence[str]) -> str:
    """The note within what a tag holds, its links whole and under the first line: MLflow folds what is below."""
    first, _, rest = note.partition("\n")
    head = f"{first}\n\n{' · '.join(links)}\n\n" if links else f"{first}\n"
    return head + cut(rest, MAX_TAG_CHARACTERS - len(head))


def links_of(
    record_pipeline: str,
    experiment_id: str,
    run_id: str,
    *,
    has_report: bool,
    version: tuple[str, int] | None,
    compared: tuple[int, str] | None,
    cadence_run_id: str | None,
) -> list[str]:
    """Links to the report, the engine's version, the run compared with (its number and id), and the drift.

    `version`: the registered model's name and the version's number.
    """
    links = []
    if has_report:
        links.append(link("report", addresses.artifact_address(experiment_id, run_id, REPORT)))
    if version is not None:
        links.append(link(f"version {version[1]} of {record_pipeline}", addresses.model_address(*version)))
        links.append(link("champion, and all versions", addresses.model_address(version[0])))
    if compared is not None:
        links.append(link(f"compared with: #{compared[0]}", addresses.run_address(experiment_id, compared[1])))
    if cadence_run_id is not None:
        links.append(link("cadence run", addresses.lines_address(experiment_id, cadence_run_id)))
        links.append(
            link("drift over retrains", addresses.view_address(experiment_id, addresses.DRIFT_VIEW)),
        )
    return links


def describe_version(record: RunRecord) -> str:
    """What the registered version says: which retrain, how it ended and why, and the engine."""
    engine = record.engine
    kind = " ".join(plain(engine[name]) for name in ("backend", "precision") if engine.get(name))
    made = f", {plain(engine['decision'])}" if engine.get("decision") else ""
    lines = [f"#{record.index} {record.started_at[:10]}: **{plain(verdict_sentence(record))}**"]
    lines += [f"- {plain(reason)}" for reason in record.reasons]
    lines += _paragraph([f"Engine: {kind}{made}."] if kind else [])
    return "\n".join(lines)


def _paragraph(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []


def _concluded(record: RunRecord) -> Iterator[str]:
    assessment = record.assessment
    if assessment.get("tradeoff"):
        yield f"Trade-off: {assessment['tradeoff']}"
    environment = assessment.get("environment")
    if isinstance(environment, Mapping) and environment.get("sentence"):
        yield str(environment["sentence"])


def _alarms(alarms: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if alarms:
        yield "Alarms that this retrain raised:"
        yield ""
    for alarm in alarms[:_MOST_ROWS]:
        levels = f"{_number(alarm.get('before'))} to {_number(alarm.get('after'))} {plain(alarm.get('unit'))}".strip()
        worse = ", worse" if alarm.get("worse") else ""
        yield (
            f"- **{plain(alarm.get('letter'))}** {code(alarm.get('key'))}: {plain(alarm.get('shape'))} since"
            f" #{plain(alarm.get('index'))}, {levels}{_change(alarm, before=', ')}{worse}"
        )
    if len(alarms) > _MOST_ROWS:
        yield f"- and {len(alarms) - _MOST_ROWS} more"


def _table(record: RunRecord) -> Iterator[str]:
    """The headlines, and what else is better or worse; a letter without a value says why."""
    compared = {row["key"]: row for row in record.comparison}
    told = {"better", "worse"}
    rows = [row for row in record.card if row.get("headline")]
    others = [row for row in record.card if not row.get("headline") and _verdict(compared, row) in told]
    if not rows:
        return
    then = "then" if not record.baseline else f"then #{record.baseline.get('index')}"
    yield f"| | metric | now #{record.index} | 95 % interval | {then} | change | verdict |"
    yield table_rule(7)
    for row in [*rows, *others[:_MOST_ROWS]]:
        yield _row(row, compared.get(row["key"]))


def _verdict(compared: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    return str((compared.get(row["key"]) or {}).get("verdict"))


def _row(row: Mapping[str, Any], compared: Mapping[str, Any] | None) -> str:
    value = "not measured" if row.get("value") is None else f"{_number(row['value'])} {plain(row['unit'])}"
    bounds = row.get("ci95")
    interval = f"{_number(bounds[0])} to {_number(bounds[1])}" if bounds else ""
    then = change = ""
    words = [row["status"]] if compared is None or row["status"] != "measured" else [compared["verdict"]]
    reason = row.get("reason") or (compared or {}).get("reason")
    if compared is not None:
        then, change = _number(compared.get("then")), _change(compared)
    verdict = plain(words[0]) if not reason else f"{plain(words[0])} ({plain(reason)})"
    letter, key = plain(row["letter"]), code(row["key"])
    return f"| **{letter}** | {key} | {value} | {interval} | {then} | {change} | {verdict} |"


def _changes(changed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if changed:
        yield "What differs between both retrains:"
        yield ""
    for each in changed[:_MOST_CHANGES]:
        then, now = ("none" if each.get(side) is None else plain(each[side]) for side in ("then", "now"))
        yield f"- {plain(each.get('kind'))}: {plain(each.get('name'))} {then} → {now}"
    if len(changed) > _MOST_CHANGES:
        yield f"- and {len(changed) - _MOST_CHANGES} more: the artifact `compare.json`"


def _change(row: Mapping[str, Any], *, before: str = "") -> str:
    ratio, difference = row.get("change_ratio"), row.get("change_difference")
    if ratio is not None:
        return f"{before}{ratio:+.1%}".replace("%", " %")
    return "" if difference is None else f"{before}{difference:+.4g}"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"
