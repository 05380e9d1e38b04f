"""Opens what a question about the schedule is answered from; a question makes no file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings
from plaster_ops.settings_base import nearest
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import FILE_NAME
from plaster_ops.tracking.slots import SlotLedger


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[SlotLedger, Journal]]:
    """The ledger and the journal of a project; empty ones where it has none yet, gone at the end of the block."""
    if (settings.memory / FILE_NAME).exists():
        with Journal.open(settings.memory) as journal:
            yield SlotLedger(journal.file), journal
        return
    with TemporaryDirectory(prefix="plaster-") as folder, Journal.open(Path(folder)) as journal:
        yield SlotLedger(journal.file), journal


def declared(settings: Settings, name: str) -> str:
    """That pipeline's name, also where it was given as its module:attribute. Raises `UsageError` for any other."""
    if name in settings.pipelines:
        return name
    known = next((known for known, pipeline in settings.pipelines.items() if pipeline.ref == name), None)
    if known is not None:
        return known
    file = settings.file.name if settings.file is not None else "plaster.toml"
    raise UsageError(
        f"unknown pipeline {name!r}{nearest(name, settings.pipelines)}",
        f"{file} declares {', '.join(settings.pipelines) or 'none'}; the scheduler keeps no others",
    )


def declared_all(settings: Settings, names: list[str] | None) -> list[str]:
    """Those pipelines, each once, in the order given; all of the settings where none is named."""
    return list(dict.fromkeys(declared(settings, name) for name in names)) if names else list(settings.pipelines)
