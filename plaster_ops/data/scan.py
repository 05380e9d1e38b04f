"""One look at a folder: which files are new or changed, in which order they are taken in, and what is missing.

Nothing is moved, and a file that did not change is not opened. `intake` says what becomes of a single file;
docs/pipelines.md has the rules as a table.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from plaster_ops.data.accept import Reader
from plaster_ops.data.intake import Intake
from plaster_ops.data.ledger import FileState, Ledger
from plaster_ops.data.listing import Found
from plaster_ops.errors import DataError
from plaster_ops.ports import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """How a folder is looked at."""

    reader: Reader
    clock: Clock
    settle_s: float
    patience_s: float
    waits: bool = True
    """False: a file that moved within `settle_s` is left for the next look, instead of being waited for."""

    def run(self, ledger: Ledger) -> None:
        """Looks, inside one transaction of the ledger. Raises `DataError` where all that was accepted is gone."""
        found, moving = self._list()
        with ledger.writing():
            known = ledger.files()
            self._check_there(ledger, found)
            intake = Intake.opened(
                ledger, self.reader, found=found, known=known, moving=moving, now=self.clock.now_utc(),
                patience_s=self.patience_s,
            )  # fmt: skip
            intake.take_in()
            ledger.set_meta("last_scan", intake.noted.to_json())

    def _list(self) -> tuple[Mapping[str, Found], set[str]]:
        """The files, and which of them moved within `settle_s`; where any is that young, after waiting once for it."""
        before = self.reader.folder.list()
        young = {path for path, file in before.items() if self._is_young(file)}
        if not young or not self.waits:
            return before, young
        time.sleep(self.settle_s)
        after = self.reader.folder.list()
        moved = {path for path, file in after.items() if path not in before or before[path].stamp != file.stamp}
        return after, {path for path in moved if self._is_young(after[path])}

    def _is_young(self, file: Found) -> bool:
        return file.modified_at is not None and self.clock.now_utc() - file.modified_at < self.settle_s

    def _check_there(self, ledger: Ledger, found: Mapping[str, Found]) -> None:
        kept = [path for path, row in ledger.files().items() if row.state is FileState.ACCEPTED]
        if kept and not any(self.reader.kind(path) for path in found):
            raise DataError(
                f"{self.reader.folder.address} holds no file of data, and {len(kept)} were accepted from it "
                f"(such as {kept[0]}): is it mounted?",
                f"bring it back; or, to begin anew, remove {ledger.file}",
            )
        folder = self.reader.folder
        if folder.is_local and not folder.exists():
            raise DataError(f"the folder {folder.address} is not there", "make it, or correct the source's path")
