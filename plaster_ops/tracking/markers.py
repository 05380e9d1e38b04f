"""What marks a retrain on the cadence run's lines beside its numbers: how it ended, and which alarms it raised.

They are no metrics: nothing compares or judges them. They are there to be seen in one chart with what they explain.
"""

from collections.abc import Iterator

from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.tracking.names import AXES

VERDICT_CODE = "verdict/code"
"""2 baseline, 1 promoted, 0 held, -1 failed."""

ALARM_KEYS = {letter: f"alarm/{axis}_count" for letter, axis in AXES.items()}
"""By letter: how many alarms the retrain raised for metrics of that letter; 0 where it looked and raised none."""

_CODES = {Verdict.BASELINE: 2.0, Verdict.PROMOTED: 1.0, Verdict.HELD: 0.0, Verdict.FAILED: -1.0}


def markers_of(record: RunRecord) -> Iterator[tuple[str, float]]:
    """Keys and values. No alarm keys where the record does not say that anybody looked for alarms."""
    code = {str(verdict): value for verdict, value in _CODES.items()}.get(record.verdict)
    if code is not None:
        yield VERDICT_CODE, code
    alarms = record.assessment.get("alarms")
    if alarms is None:
        return
    letters = [str(alarm.get("letter")) for alarm in alarms]
    yield from ((key, float(letters.count(letter))) for letter, key in ALARM_KEYS.items())
