"""Where the sketches of earlier runs' data lie, and what the stage `prepare` is asked about them."""

from pathlib import Path
from typing import Any

from plaster_ops.flow.context import Context

SKETCH = "data_sketch.json"


def inspection_spec(ctx: Context) -> dict[str, Any]:
    """`{"check_samples", "earlier": [{"which", "index", "file"}]}`: the last finished run and, where it is another one,
    the champion, as far as they kept a sketch."""
    last, champion = ctx.journal.last_finished(ctx.name), ctx.journal.champion(ctx.name)
    earlier: list[dict[str, Any]] = []
    for which, row in (("last", last), ("champion", champion)):
        if row is None or any(row.index == found["index"] for found in earlier):
            continue
        record = ctx.journal.record(row.uid)
        file = Path(record.artifacts) / SKETCH if record is not None and record.artifacts else None
        if file is not None and file.is_file():
            earlier.append({"which": which, "index": row.index, "file": str(file)})
    return {"check_samples": ctx.pipeline.data.check_samples, "earlier": earlier}
