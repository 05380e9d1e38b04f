"""The stage `page`: a retrain's HTML page into a file. A process of its own, because drawing loads much."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.ports import EventSink
from plaster_ops.report.page import render_page


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> Mapping[str, Any]:
    """Writes the page of `spec["sheet"]` to `spec["target"]`, whole or not at all. Returns its size."""
    del folder, emit
    target = Path(spec["target"])
    text = render_page(spec["sheet"])
    draft = target.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)
    return {"page_bytes": target.stat().st_size}
