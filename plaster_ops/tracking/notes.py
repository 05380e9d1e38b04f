"""Descriptions in markdown of what lies beside a retrain: its children, the cadence run, the registered model."""

import hashlib

from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking.markdown import code, plain, table_rule

_OURS = "Engines of the pipeline"


def describe_training(record: RunRecord, dropped: int) -> str:
    """What the train child holds."""
    note = f"Training curves of #{record.index}, as the model logged them."
    return note if not dropped else f"{note} {dropped} points were not finite numbers and are left out."


def describe_build(record: RunRecord) -> str:
    """Why this engine, and the candidates that were tried, one row each; the step of the metrics is the row."""
    engine = record.engine
    lines = [f"**{engine['decision']}**: {plain(engine['why'])}"] if engine.get("why") else []
    lines += [f"Chosen for {plain(engine['chosen'])}"] if engine.get("chosen") else []
    lines += [
        "",
        "Engine candidates, in the order tried. `error`: the largest difference to eager FP32 over an output's range.",
        "",
        "| step | backend | precision | passed | build s | MB | error | score kept | p50 ms | samples/s | why not |",
        table_rule(11),
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
        lines.append(f"| {step} | {' | '.join(plain(cell) for cell in cells)} |")
    return "\n".join(lines).strip()


def describe_measuring(record: RunRecord) -> str:
    """What the measure child holds."""
    return f"How many samples each number of #{record.index} rests on; the numbers themselves are on the parent run."


def describe_cadence(pipeline: str, device: str) -> str:
    """What the cadence run holds."""
    return (
        f"The seven headlines of {code(pipeline)} over its retrains, the score on the newest data, the staleness, and"
        f" how the schedule was kept, on {plain(device)}. The step is the retrain's number, its time the slot's."
        "\n\n`verdict/code`: 2 baseline, 1 promoted, 0 held, -1 failed. `alarm/<letter>_count`: alarms that a retrain"
        " raised for that letter, 0 where it looked and raised none.\n\nOpen *Model metrics* for the lines."
    )


def describe_model(pipeline: str, champion: tuple[int, str] | None = None, *, was_held: bool = False) -> str:
    """What the registered model holds. `champion`: the version in use, and that version's own description.

    `was_held`: its retrain left another one champion, so it was promoted by hand since.
    """
    held = f"{_OURS} {code(pipeline)}, a version a retrain."
    if champion is None:
        return f"{held} `champion` is the one in use."
    version, told = champion
    since = "promoted by hand since its retrain, which said: " if was_held else ""
    return f"{held}\n\n`champion`, the one in use, is version {version}, {since}{told}"


def is_ours(description: str | None) -> bool:
    """Whether a registered model's description is one that `describe_model` made."""
    return not description or description.startswith(_OURS)


def cadence_id(pipeline: str, device: str) -> str:
    """The text by which the cadence run of a pipeline on a device model is found again."""
    return hashlib.sha256(f"{pipeline}\n{device}".encode()).hexdigest()[:32]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
