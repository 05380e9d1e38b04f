"""Sections of the record that tell of the data and the engine, as `--json` and the tracker have them."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.flow.optimise import Built


def data_section(prepared: Mapping[str, Any]) -> dict[str, Any]:
    """The section `data` of `--json`."""
    window = prepared.get("window", {})
    return {
        "from": window.get("learned"),
        "to": window.get("end"),
        "cut": window.get("cut"),
        "seen_before": window.get("seen"),
        "new_samples": prepared.get("new_samples"),
        "absorbed_samples": prepared.get("absorbed_samples"),
        "newest_trained_at": (prepared.get("times") or {}).get("newest_trained"),
        "newest_at": (prepared.get("times") or {}).get("newest"),
        "train_samples": prepared.get("train_samples"),
        "eval_samples": prepared.get("eval_samples"),
        "golden_samples": prepared.get("golden_samples"),
        "source": prepared.get("source"),
        "lookback": window.get("lookback"),
        "replay_ratio": window.get("replay_ratio"),
        "arrival": prepared.get("arrival"),
        "drift": drift_section(prepared.get("drift")),
    }


def drift_section(drift: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The section `data.drift` of `--json`; None where the data was not looked at."""
    return {key: value for key, value in drift.items() if key not in ("figures", "sketch")} if drift else None


def engine_section(built: Built) -> dict[str, Any]:
    """The section `engine` of `--json`; the next retrain decides by it."""
    manifest, how = built.manifest, built.how
    spec = manifest["spec"]
    return {
        "backend": spec["backend"],
        "precision": spec["precision"],
        "effective_precision": manifest["effective_precision"],
        "device": spec["device"],
        "decision": built.decision,
        "why": how.get("why"),
        "chosen": how.get("chosen"),
        "tried": [dict(row) for row in built.tried],
        "graph_digest": manifest["graph_digest"],
        "weights_digest": manifest["weights_digest"],
        "key": manifest["key"],
        "refits_since_build": manifest["refits"],
        "stage_s": how.get("stage_s"),
        "refit_s": manifest["refit_s"] if built.decision == "refit" else None,
        "full_build_stage_s": how.get("full_build_stage_s"),
        "ladder_at": how.get("ladder_at"),
        "last_resort": bool(how.get("last_resort")),
        "calibrated_with": manifest["calibrated_with"],
        "stack": dict(how.get("stack") or {}),
        "wanted": dict(how.get("wanted") or {}),
    }


def datasets(prepared: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What was trained and scored on, each with its digest."""
    source = str(prepared["source"])
    rows = [
        ("train", "training", prepared["train_digest"], prepared["train_samples"]),
        ("rolling", "eval", prepared["eval_digest"], prepared["eval_samples"]),
        ("golden", "golden", prepared["golden_digest"], prepared["golden_samples"]),
    ]
    return tuple(
        {"name": name, "context": context, "digest": digest, "source": source, "samples": samples}
        for name, context, digest, samples in rows
        if digest is not None
    )


def input_shapes(exported: Mapping[str, Any]) -> tuple[str, ...]:
    """Per input `float32[1, 8, 8]`, without the batch axis, "?" for a dynamic axis."""
    return tuple(
        f"{spec['dtype']}[{', '.join('?' if size is None else str(size) for size in spec['shape'])}]"
        for spec in exported["inputs"]
    )
