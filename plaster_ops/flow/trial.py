"""Candidates on real data, in one child for all: who kills it, hangs in it or eats its memory is named and left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.errors import PlasterError
from plaster_ops.flow.candidates import FAILURES, memory_limit, one_line, score_limits
from plaster_ops.flow.context import Context


def try_candidates(
    ctx: Context,
    folders: Mapping[str, Path],
    exported: Mapping[str, Any],
    weights: str,
    prepared: Mapping[str, Any],
    *,
    name: str = "trial",
) -> dict[str, Any]:
    """`{"results": label -> result of the stage `trial`, "parity_s"}`; a candidate that ended its child has a reason.

    Each may go without a sign of life for `engine.timeout_s`. After a crash the child is started again for the rest.
    Raises what is nobody's fault: a pipeline that does not load, data that cannot be scored.
    """
    results: dict[str, Any] = {}
    attempt = 0
    while left := [label for label in folders if label not in results]:
        current: list[str] = []

        def listen(event: Mapping[str, Any], current: list[str] = current) -> None:
            if event.get("event") == "trying":
                current[:] = [str(event["label"])]
                ctx.tell({"event": "note", "text": f"trying {event['label']}"})
            elif event.get("event") == "tried":
                results[str(event["label"])] = event["result"]
                current.clear()
            elif event.get("event") != "alive":
                ctx.tell(event)

        try:
            ctx.child(
                "trial",
                _spec(ctx, {label: folders[label] for label in left}, exported, weights, prepared),
                folder=f"{name}-{attempt}",
                idle_s=ctx.pipeline.engine.timeout_s,
                memory_bytes=memory_limit(ctx),
                threads=ctx.pipeline.engine.threads,
                tell=listen,
            )
        except FAILURES as error:
            if not current:
                raise
            results[current[0]] = _failure(error)
            ctx.tell({"event": "note", "text": f"{current[0]}: {one_line(error)}"})
        attempt += 1
    return {"results": results, "parity_s": sum(result.get("parity_s") or 0.0 for result in results.values())}


def _spec(
    ctx: Context,
    folders: Mapping[str, Path],
    exported: Mapping[str, Any],
    weights: str,
    prepared: Mapping[str, Any],
) -> dict[str, Any]:
    largest = ctx.pipeline.max_batch()
    return {
        "reference": ctx.pipeline.ref,
        "project": str(ctx.project),
        "window": prepared["window"],
        "samples": prepared["samples"],
        "weights": weights,
        "structure": exported["structure"],
        "max_batch": largest,
        "batch": min(8, largest),
        "timeout_s": ctx.pipeline.engine.timeout_s,
        "candidates": [{"label": label, "folder": str(folder)} for label, folder in folders.items()],
        **score_limits(ctx),
    }


def _failure(error: PlasterError) -> dict[str, Any]:
    return {
        "accepted": False,
        "reason": one_line(error),
        "parity": None,
        "retention": None,
        "rough_ms": None,
        "rough_batch_ms": None,
        "parity_s": 0.0,
    }
