"""From the settings to what the planner wants to know of each pipeline."""

from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from scheduler.clockwork import Plan


def plan_of(pipeline: PipelineSettings) -> Plan:
    """What the settings want of one pipeline."""
    cadence = pipeline.cadence
    return Plan(
        cadence=cadence.cadence(),
        rules=cadence.rules(),
        priority=cadence.priority,
        retries=cadence.retries,
        backoff_s=cadence.backoff_s,
    )


def plans_of(settings: Settings) -> dict[str, Plan]:
    """Every pipeline that is declared; one without a cadence is there too, for data, drift and hands."""
    return {name: plan_of(pipeline) for name, pipeline in settings.pipelines.items()}
