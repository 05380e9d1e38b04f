"""What a retrain measured, judged: its card, the comparisons with champion and shown run, the gates' decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.flow.assessment import Against
from plaster_ops.flow.baseline import Baseline, Baselines
from plaster_ops.flow.cards import build_card, machine_fingerprint, with_gate
from plaster_ops.flow.context import Context
from plaster_ops.flow.earlier import earlier_values
from plaster_ops.flow.learned import with_learned
from plaster_ops.flow.noise import calibrated
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.promote import decide
from plaster_ops.flow.record import Measured
from plaster_ops.flow.sidebyside import SideBySide, card_of, compare_on, terms_of
from plaster_ops.flow.train import Trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the stages of a retrain brought home. `accepted_s`: seconds of the cycle until the engine was accepted."""

    prepared: Mapping[str, Any]
    trained: Trained
    built: Built
    measured: SideBySide | None
    accepted_s: float

    def has_remeasured(self, baseline: Baseline) -> bool:
        """Whether that run's engine was measured beside the new one."""
        return self.measured is not None and baseline.label in self.built.opponent_labels()


def judge(ctx: Context, baselines: Baselines, found: Found, *, may_promote: bool) -> Measured:
    """The card, the comparisons with the champion (which gates) and the shown run, and the decision."""
    champion, shown, measured, built = baselines.champion, baselines.shown, found.measured, found.built
    fingerprint = machine_fingerprint(ctx, built, found.prepared, measured)
    noise = calibrated(ctx.journal, ctx.name, fingerprint, ctx.pipeline.measure.profile)
    card, sheet = build_card(
        ctx,
        prepared=found.prepared,
        trained=found.trained,
        built=built,
        measured=measured,
        accepted_s=found.accepted_s,
        noise=noise,
        baseline=shown.label if shown else None,
    )
    card, need, curve = with_learned(
        ctx, card, sheet, trained=found.trained, built=built, champion=champion, shown=shown
    )
    evidence = measured.evidence if measured else None
    terms = {b.label: _terms(ctx, b, found, fingerprint, noise) for b in baselines.distinct()}
    compared = {label: compare_on(card, asked, evidence, built.evaluation) for label, asked in terms.items()}
    decision = decide(
        ctx.pipeline,
        compared[champion.label] if champion else None,
        card=card,
        against=(champion.record.index, champion.record.uid) if champion else None,
        allowed=may_promote,
        has_golden=found.prepared["golden_samples"] is not None,
    )
    card = with_gate(card, sheet, decision, champion)
    return Measured(
        prepared=found.prepared,
        trained=found.trained,
        built=built,
        card=card,
        rows=compared[shown.label] if shown else (),
        baseline=shown.to_json("remeasured" if found.has_remeasured(shown) else "stored") if shown else None,
        fingerprint=fingerprint,
        decision=decision,
        raw=measured.folders if measured else (),
        sheet=sheet,
        terms=terms[shown.label] if shown else None,
        against=_against(ctx, shown, terms[shown.label], found) if shown else None,
        need=need,
        curve=curve,
    )


def _terms(
    ctx: Context, baseline: Baseline, found: Found, fingerprint: Fingerprint, noise: Mapping[str, float]
) -> dict[str, Any]:
    return terms_of(
        baseline,
        remeasured=found.has_remeasured(baseline),
        margins=ctx.pipeline.margins(),
        history=earlier_values(ctx.journal, ctx.name, fingerprint=fingerprint.digest),
        fingerprint=fingerprint,
        noise=noise,
    )


def _against(ctx: Context, shown: Baseline, terms: Mapping[str, Any], found: Found) -> Against:
    evidence = found.measured.evidence if found.measured is not None and terms["remeasured"] else None
    digest = str(shown.record.fingerprint.get("digest") or "")
    return Against(
        record=shown.record,
        today=card_of(terms, evidence, found.built.evaluation) if evidence is not None else None,
        history=earlier_values(ctx.journal, ctx.name, fingerprint=digest, before=shown.record.index + 1),
        noise=terms["noise"],
    )
