"""A folder into which files land in any order, and what every retrain on it must and must not see.

Rows have numbers of their own: a row that is written anew, with other content, has a new number. The rules are checked
here from what was written, never from the ledger.
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plaster_ops.data.folder import FolderSource
from plaster_ops.domain.durations import parse_lookback
from plaster_ops.domain.frontier import parse_frontier
from plaster_ops.domain.window import Window

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Row:
    """`day` is its event time; `label` None: it has none yet."""

    number: int
    day: int
    label: int | None


@dataclass
class World:
    """`chain`: what each promoted run learned as new, and its watermark; a rollback takes the last one off."""

    folder: Path
    dated: bool
    source: FolderSource
    files: dict[str, list[Row]] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    written: int = 0
    chain: list[tuple[Counter[int], str]] = field(default_factory=list)
    seen: str | None = None
    trained: set[int] = field(default_factory=set)
    golden: set[int] = field(default_factory=set)
    cuts: list[int] = field(default_factory=list)
    retrains: int = 0
    late: int = 0

    @classmethod
    def new(cls, project: Path, *, dated: bool, holdout: str | int, delay: str) -> "World":
        shutil.rmtree(project, ignore_errors=True)
        folder = project / "in"
        (folder / "_golden").mkdir(parents=True)
        source = FolderSource(
            "in", name="w", time="when", label="label", holdout=holdout, label_delay=delay, settle_s=0.0,
            max_missing_ratio=1.0, schema={"number": "int64", "label": "int64"}, project=project,
        )  # fmt: skip
        world = cls(folder=folder, dated=dated, source=source)
        world.write("_golden/frozen.csv", [(3, 1), (9, 0)])
        world.golden = {row.number for row in world.files.pop("_golden/frozen.csv")}
        return world

    # ---- what lands ------------------------------------------------------------------------------------------------
    def write(self, path: str, content: list[tuple[int, int | None]], keep: int = 0) -> None:
        """A file with new rows after the first `keep` of what it holds; written whole, later than any file before."""
        rows = self.files.get(path, [])[:keep]
        for day, label in content:
            row = Row(len(self.rows), day, label)
            self.rows[row.number] = row
            rows = [*rows, row]
        self.files[path] = rows
        days = pa.array([row.day for row in rows], pa.int64())
        table = pa.table(
            {
                "number": pa.array([row.number for row in rows], pa.int64()),
                "when": pa.array([d.as_py() * DAY_US for d in days], pa.timestamp("us")) if self.dated else days,
                "label": pa.array([row.label for row in rows], pa.int64()),
            }
        )
        file = self.folder / path
        (pq.write_table if path.endswith("parquet") else pacsv.write_csv)(table, file)
        self._date(file)

    def _date(self, file: Path) -> None:
        self.written += 1
        os.utime(file, (1_000_000_000 + self.written, 1_000_000_000 + self.written))

    def copy(self, old: str, new: str) -> None:
        shutil.copy(self.folder / old, self.folder / new)
        self._date(self.folder / new)
        self.files[new] = list(self.files[old])

    def rename(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)
        self.files[new] = self.files.pop(old)

    def delete(self, path: str) -> None:
        (self.folder / path).unlink()
        del self.files[path]

    # ---- a retrain -------------------------------------------------------------------------------------------------
    def retrain(self, *, promoted: bool, lookback: str = "all", ratio: float | None = None) -> None:
        learned = self.chain[-1][1] if self.chain else None
        newest = self.source.newest()
        if newest is None or self.source.count(self.seen, newest) == 0:
            return
        cut = self.source.cut(learned, newest)
        window = Window(learned=learned, seen=self.seen, cut=cut, end=newest, lookback=lookback, replay_ratio=ratio)
        trained = self.numbers(self.source.train_rows(window))
        new = self.numbers(self.source.train_rows(self._only_new(window)))
        held = self.numbers(self.source.held_out_rows(window))
        self.check(window, trained, new, held)
        self.retrains += 1
        self.trained |= set(trained)
        self.seen = str(newest)
        if promoted:
            self.chain.append((Counter(new), str(cut)))

    @staticmethod
    def _only_new(window: Window) -> Window:
        return Window(learned=window.learned, seen=window.seen, cut=window.cut, end=window.end, replay_ratio=0.0)

    def numbers(self, table: pa.Table) -> list[int]:
        found: list[int] = table["number"].to_pylist()
        days = [self.day(number) for number in found]
        assert days == sorted(days), "rows come in the order of event time"
        return found

    def day(self, number: int) -> int:
        return self.rows[number].day

    def check(self, window: Window, trained: list[int], new: list[int], held: list[int]) -> None:
        cut, end = parse_frontier(str(window.cut)), parse_frontier(str(window.end))
        unit = DAY_US if self.dated else 1_000_000
        there = {row.number for rows in self.files.values() for row in rows if row.label is not None}
        past = {number for number in there if self.day(number) * unit <= cut.at_us}
        before: Counter[int] = sum((learned for learned, _ in self.chain), Counter())

        assert len(trained) == len(set(trained)), "no row twice in one window"
        assert len(held) == len(set(held))
        assert not set(held) & set(trained), "held out and trained on"
        assert not set(held) & self.trained, "held out, and an earlier run was trained on it"
        assert not self.golden & (set(trained) | set(held))
        assert all(self.day(number) * unit <= cut.at_us for number in trained), "the future was trained on"
        assert {n for n in there if cut.at_us < self.day(n) * unit <= end.at_us} == set(held)
        assert set(new) == past - set(before), "new is what is there, past the cut's time or before, and never learned"
        assert set(new) <= set(trained) <= past
        self._check_old(window, trained, new, past, cut.at_us, unit)
        assert self.source.count(window.learned, window.cut) == len(new)
        assert self.source.count(None, window.end) == len(past | set(held))
        assert not self.cuts or cut.at_us >= self.cuts[-1], "the cut went back in time"
        self.cuts.append(cut.at_us)
        if window.learned is not None:
            self.late += sum(self.day(n) * unit <= parse_frontier(str(window.learned)).at_us for n in new)

    def _check_old(
        self, window: Window, trained: list[int], new: list[int], past: set[int], cut_us: int, unit: int
    ) -> None:
        old, back = past - set(new), parse_lookback(window.lookback)
        if back.age_us is not None:
            old = {number for number in old if self.day(number) * unit > cut_us - back.age_us}
        repeated = set(trained) - set(new)
        assert repeated <= old
        if back.rows is None and window.replay_ratio is None:
            assert repeated == old
        elif back.rows is None and window.replay_ratio is not None:
            assert len(repeated) == min(len(old), round(window.replay_ratio * len(new)))
        elif window.replay_ratio is None:
            assert len(set(trained)) >= min(len(past), back.rows or 0)

    # ---- the end ---------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        """Lets so much time pass that nothing that is there now is held out, and checks that all of it was learned."""
        last = {row.number for rows in self.files.values() for row in rows if row.label is not None}
        self.write("zz-last.csv", [(2_000 + day, 1) for day in range(40)])
        self.retrain(promoted=True)
        learned: Counter[int] = sum((found for found, _ in self.chain), Counter())
        assert set(learned.values()) <= {1}, "a row was new twice"
        assert {number for number in last if learned[number] != 1} == set(), "a row was never learned"
        report = self.source.report()
        assert report["files"]["quarantined"] == report["files"]["waiting"] == 0
        whole = {tuple(rows) for rows in self.files.values() if rows}
        assert report["rows"]["accepted"] == sum(map(len, whole)), "counts are those of the files"
