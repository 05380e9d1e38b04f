"""May the new engine become champion, and the swap itself. Gates are always against the champion."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.gates import GateOutcome, GateState, apply_gates
from plaster_ops.domain.judgement import Comparison
from plaster_ops.domain.run import Verdict
from plaster_ops.errors import ExitCode
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal_rows import Promotion


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How a retrain ends: the verdict, one sentence per reason, the exit code, and the gates behind it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    exit_code: ExitCode
    gates: tuple[GateOutcome, ...] = ()
    against: tuple[int, str] | None = None
    """Index and uid of the champion that the gates were answered against; None where there was none."""

    def to_json(self) -> dict[str, Any]:
        """The section `gates` of `--json`, which a promotion by hand goes by later."""
        index, uid = self.against or (None, None)
        return {
            "against": None if uid is None else {"index": index, "uid": uid},
            "outcomes": [outcome.to_json() for outcome in self.gates],
        }

    @property
    def promotes(self) -> bool:
        """Whether the new engine becomes champion."""
        return self.verdict in (Verdict.PROMOTED, Verdict.BASELINE)


def decide(
    pipeline: PipelineSettings,
    against_champion: Sequence[Comparison] | None,
    *,
    card: Card | None = None,
    against: tuple[int, str] | None = None,
    allowed: bool = True,
    has_golden: bool = True,
) -> Decision:
    """The decision from the comparison with the champion (None where there is none yet) and the engine's own card.

    Floors and ceilings are asked of the first engine too: one that is beyond them is held, and there is still no
    champion. `has_golden`: see `PipelineSettings.declared_gates`. `allowed` False (`--no-promote`) holds a run that the
    gates would have let through.
    """
    gates = pipeline.declared_gates(has_golden=has_golden)
    decision = _from_outcomes(pipeline, apply_gates(gates, against_champion, card), is_first=against_champion is None)
    decision = replace(decision, against=against)
    if decision.promotes and not allowed:
        return replace(decision, verdict=Verdict.HELD, reasons=("held by --no-promote", *decision.reasons))
    return decision


def _from_outcomes(pipeline: PipelineSettings, outcomes: tuple[GateOutcome, ...], *, is_first: bool) -> Decision:
    failed = [o.sentence for o in outcomes if o.state is GateState.FAILED]
    unmeasured = [o.sentence for o in outcomes if o.state is GateState.WAIVED and o.gate.required]
    undecided = [o.sentence for o in outcomes if o.state is GateState.UNDECIDED]
    held = ["so this pipeline still has no champion"] if is_first else []
    if failed:
        return Decision(verdict=Verdict.HELD, reasons=(*failed, *held), exit_code=ExitCode.HELD, gates=outcomes)
    if unmeasured:
        return Decision(
            verdict=Verdict.HELD, reasons=(*unmeasured, *held), exit_code=ExitCode.NOT_MEASURED, gates=outcomes
        )
    if undecided and pipeline.inconclusive == "hold":
        return Decision(verdict=Verdict.HELD, reasons=tuple(undecided), exit_code=ExitCode.DONE, gates=outcomes)
    silent = (GateState.PASSED, GateState.NO_CHAMPION)
    notes = [o.sentence for o in outcomes if o.state not in silent]
    sentence = "no gate failed" if outcomes else "no gates are declared"
    if is_first:
        first = "first engine of this pipeline: it is the baseline that later retrains are compared with"
        reasons = (first, *([] if outcomes else [sentence]), *notes)
        return Decision(verdict=Verdict.BASELINE, reasons=reasons, exit_code=ExitCode.DONE, gates=outcomes)
    return Decision(verdict=Verdict.PROMOTED, reasons=(sentence, *notes), exit_code=ExitCode.DONE, gates=outcomes)


def promotion_of(decision: Decision, expected: str | None) -> Promotion | None:
    """The swap that goes with the decision: valid only while the champion is still `expected`; None for a held run."""
    if not decision.promotes:
        return None
    return Promotion(expected=expected, by=who(), reason="; ".join(decision.reasons))


def overtaken(decision: Decision) -> Decision:
    """What the decision becomes where another run became champion meanwhile."""
    reason = "another run became champion while this one was measured: compare and promote it by hand"
    return replace(decision, verdict=Verdict.HELD, reasons=(reason,), exit_code=ExitCode.HELD)


def who() -> str:
    """The user of this process, as the ledger names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def narrowed_exit_code(decision: Decision, shown: Sequence[Comparison], fail_on: frozenset[str]) -> ExitCode:
    """The exit code with `--fail-on`: named judgements of headline rows count as failures where nothing else did."""
    return failing(shown, fail_on) if decision.exit_code is ExitCode.DONE else decision.exit_code


def failing(shown: Sequence[Comparison], fail_on: frozenset[str]) -> ExitCode:
    """3, 4 or 5 where a headline row has a verdict that `fail_on` names; else 0."""
    judgements = {row.judgement.value for row in shown if row.metric.headline}
    if "worse" in fail_on and "worse" in judgements:
        return ExitCode.HELD
    if "not_comparable" in fail_on and "not_comparable" in judgements:
        return ExitCode.NOT_COMPARABLE
    if "inconclusive" in fail_on and "inconclusive" in judgements:
        return ExitCode.INCONCLUSIVE
    return ExitCode.DONE
