"""Descriptions in markdown that MLflow's pages show above the numbers."""

import hashlib
from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.run import RunRecord, Verdict

_SENTENCES = {
    Verdict.PROMOTED: "Promoted: this engine is the champion.",
    Verdict.HELD: "Held: the champion stays.",
    Verdict.BASELINE: "Baseline: the first engine of this pipeline, so there was nothing to compare it with.",
    Verdict.FAILED: "Failed: there is no engine of this run.",
}


def describe_run(record: RunRecord) -> str:
    """The verdict in a sentence, its reasons, and the seven headlines as a table."""
    known = {str(verdict): sentence for verdict, sentence in _SENTENCES.items()}
    lines = [f"**{known.get(record.verdict, record.verdict)}**"]
    lines += [f"- {reason}" for reason in record.reasons]
    headlines = [row for row in record.card if row.get("headline")]
    if headlines:
        lines += ["", "| | metric | value | 95 % interval | status |", "|-|-|-|-|-|"]
        lines += [_headline(row) for row in headlines]
    if record.baseline and record.baseline.get("index") is not None:
        lines += ["", f"Compared with #{record.baseline['index']} ({record.baseline.get('how') or 'stored'})."]
    return "\n".join(lines)


def describe_training(record: RunRecord, dropped: int) -> str:
    """What the train child holds."""
    note = f"Training curves of #{record.index}, as the model logged them."
    return note if not dropped else f"{note} {dropped} points were not finite numbers and are left out."


def describe_build(record: RunRecord) -> str:
    """Why this engine, and the candidates that were tried, one row each; the step of the metrics is the row."""
    engine = record.engine
    lines = [f"**{engine['decision']}**: {_cell(engine['why'])}"] if engine.get("why") else []
    lines += [f"Chosen for {_cell(engine['chosen'])}"] if engine.get("chosen") else []
    lines += [
        "",
        "Engine candidates, in the order tried. `error`: the largest difference to eager FP32 over an output's range.",
        "",
        "| step | backend | precision | passed | build s | MB | error | score kept | p50 ms | samples/s | why not |",
        "|-|-|-|-|-|-|-|-|-|-|-|",
    ]
    for step, row in enumerate(engine.get("tried") or (), start=1):
        passed = "chosen" if row.get("chosen") else "yes" if row.get("ok") else "no"
        size = row.get("engine_bytes")
        cells = (
            row.get("backend"),
            row.get("precision"),
            passed,
            _short(row.get("build_s")),
            _short(None if size is None else size / 1e6),
            _short(row.get("rel_err_max")),
            _short(row.get("retained_ratio")),
            _short(row.get("p50_ms")),
            _short(row.get("samples_per_s")),
            row.get("reason"),
        )
        lines.append(f"| {step} | {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines).strip()


def describe_measuring(record: RunRecord) -> str:
    """What the measure child holds."""
    return f"How many samples each number of #{record.index} rests on; the numbers themselves are on the parent run."


def describe_cadence(pipeline: str, device: str) -> str:
    """What the cadence run holds."""
    return (
        f"The seven headlines of `{pipeline}` over its retrains, the score on the newest data, the staleness, and how"
        f" the schedule was kept, measured on {device}. The step is the retrain's index."
        " Open *Model metrics* for the lines."
    )


def describe_experiment(pipeline: str) -> str:
    """What the experiment holds."""
    return (
        f"Retrains of `{pipeline}`, kept by plaster-ops.\n\n"
        "- `#N date`: one retrain, with every comparable number on it; children are `train`, `build`, `measure`.\n"
        "- `cadence · device`: the seven PLASTER headlines, the score on the newest data, the staleness and how"
        " the schedule was kept; the step is the retrain's index.\n\n"
        "A metric that could not be measured is absent, and the tag `plaster.<axis>.status` says so."
    )


def describe_model(pipeline: str) -> str:
    """What the registered model holds."""
    return f"Engines of the pipeline `{pipeline}`, a version a retrain. `champion` is the one in use."


def cadence_id(pipeline: str, device: str) -> str:
    """The text by which the cadence run of a pipeline on a device model is found again."""
    return hashlib.sha256(f"{pipeline}\n{device}".encode()).hexdigest()[:32]


def _headline(row: Mapping[str, Any]) -> str:
    value = "not measured" if row.get("value") is None else f"{row['value']:.6g} {row['unit']}"
    interval = row.get("ci95")
    bounds = "" if not interval else f"{interval[0]:.6g} to {interval[1]:.6g}"
    status = row["status"] if not row.get("reason") else f"{row['status']} ({row['reason']})"
    return f"| **{row['letter']}** | `{row['key']}` | {value} | {bounds} | {_cell(status)} |"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _cell(text: Any) -> str:
    return "" if text is None else str(text).replace("|", "\\|").replace("\n", " ")
