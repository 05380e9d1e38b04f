"""How noisy a machine is, per pipeline, device and profile: what `calibrate` found, read by later verdicts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plaster_ops.tracking.journal_file import JournalFile, now_iso


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFloor:
    """Two copies of one engine differed by up to `half_width` (a ratio) in `key`, with 95 % confidence.

    `comparisons` is how many A/A comparisons that rests on, `at` when (ISO 8601, UTC).
    """

    key: str
    half_width: float
    comparisons: int
    at: str = ""


class NoiseFloors:
    """The part of the journal that knows the machine's noise. A new calibration takes the place of the last one."""

    file: JournalFile

    def remember_noise(self, pipeline: str, fingerprint: str, profile: str, floors: Iterable[NoiseFloor]) -> None:
        """Keeps the floors of one calibration; all of them or none."""
        rows = [
            (pipeline, fingerprint, profile, floor.key, floor.half_width, floor.comparisons, floor.at or now_iso())
            for floor in floors
        ]
        with self.file.write() as db:
            db.execute(
                "DELETE FROM noise WHERE pipeline = ? AND fingerprint = ? AND profile = ?",
                (pipeline, fingerprint, profile),
            )
            db.executemany(
                "INSERT INTO noise (pipeline, fingerprint, profile, key, half_width, comparisons, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def noise_floors(self, pipeline: str, fingerprint: str, profile: str) -> Mapping[str, NoiseFloor]:
        """By metric key; empty where this pipeline was never calibrated on such a device under that profile."""
        rows = self.file.rows(
            "SELECT key, half_width, comparisons, at FROM noise WHERE pipeline = ? AND fingerprint = ? AND profile = ?",
            (pipeline, fingerprint, profile),
        )
        return {row["key"]: NoiseFloor(**dict(row)) for row in rows}
