"""CronJobs of Kubernetes, one a pipeline; `schedule once` in the pod decides which slot is due."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from plaster_ops.domain.schedule import Cadence, zone_of
from plaster_ops.errors import UsageError
from plaster_ops.settings import Settings
from plaster_ops.settings_base import nearest
from plaster_ops.settings_schedule import CadenceSettings
from plaster_ops.settings_sections import PipelineSettings
from scheduler.install.call import Call, cadence_text, cadences, slug_of, slugs_of
from scheduler.install.cron_times import by_hours, minutes_of_days, one_line
from scheduler.install.lines import listed, read_line
from scheduler.install.units import MARGIN_S
from scheduler.install.zones import YEARS_AHEAD, changes

LONGEST_NAME = 52
"""Characters that Kubernetes leaves to the name of a CronJob."""
DEADLINE_S = 3600
"""A start that is later is left out, and made up for by the next one. Without a deadline a CronJob that missed a
hundred starts ends for ever; of one a minute this is sixty."""

_CODES = """
# The exit code of a pod is the retrain's: 0 done, or nothing was due; 3 a gate held the new engine; 6 a required gate
# was not measured; 10 training failed; 11 no engine; 12 nothing could be recorded; 75 another run was going on;
# 124 timed out; 143 stopped, to go on at the next start. Kubernetes knows no success but 0, so a Job with 3 or 75
# shows as failed and is not tried again (backoffLimit 0); the ledger has what came of each slot: schedule history.
""".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What a manifest has to know of the cluster; `--set KEY=VALUE`. Empty: left to the cluster."""

    image: str = ""
    """With plaster-ops and all that the pipelines import in it."""
    pvc: str = ""
    """The claim that holds the project folder, with mlruns/; empty: plaster-ops-SLUG."""
    project: str = "/project"
    """Where it is mounted."""
    namespace: str = ""
    gpu: int = 0
    cpu: str = ""
    memory: str = ""
    shm: str = "1Gi"
    """Shared memory, for the workers of data loaders and for ranks."""
    secret: str = ""
    """With variables that settings name; empty: plaster-ops-SLUG, where there is one."""


def cluster_of(given: Iterable[str]) -> Cluster:
    """`KEY=VALUE` texts as a `Cluster`. Raises `UsageError` for an unknown key, a bad number, and without an image."""
    known = {each.name: each.type for each in fields(Cluster)}
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise UsageError(f"--set {text!r} is none of {', '.join(known)}{nearest(key, known)}", "give KEY=VALUE")
        if key == "gpu":
            if not value.isdecimal():
                raise UsageError(f"--set {text!r}: a whole number of GPUs", "for example --set gpu=1")
            found[key] = int(value)
        else:
            found[key] = value
    if not found.get("image"):
        raise UsageError(
            "no image is named", "give --set image=REGISTRY/IMAGE:TAG; docs/scheduler.md says what is in it"
        )
    return Cluster(**found)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestPlan:
    """Which CronJobs are wanted, of the project that is called `slug`."""

    cluster: Cluster
    slug: str
    program: tuple[str, ...] = field(default=("plaster-ops",))

    @property
    def stem(self) -> str:
        """How the names of all objects begin."""
        return f"plaster-ops-{slug_of(self.slug)}"

    @property
    def mark(self) -> str:
        """The first line of all our files of this project."""
        return f"# plaster-ops project {slug_of(self.slug)}"


def manifests(settings: Settings, plan: ManifestPlan, now_s: float) -> dict[str, str]:
    """Names and texts of the files. Raises `UsageError` for a cadence that a CronJob cannot say."""
    due = cadences(settings)
    found = {}
    for name, slug in slugs_of(due, LONGEST_NAME - len(plan.stem) - 1).items():
        schedule, zone = schedule_of(name, due[name])
        told = [plan.mark, f"# {name}: {cadence_text(due[name])}", *_never(due[name], now_s), _CODES]
        job = _cron_job(settings, plan, name, f"{plan.stem}-{slug}", schedule, zone)
        found[f"{plan.stem}-{slug}.yaml"] = "\n".join(told) + "\n" + _yaml(job)
    return found


def schedule_of(name: str, cadence: Cadence) -> tuple[str, str]:
    """`(schedule, timeZone)`: every slot is at one of their instants, but for local times that do not exist."""
    if cadence.cron is not None:
        return one_line(read_line(cadence.line)), cadence.timezone
    pairs = by_hours(minutes_of_days(name, cadence))
    minutes = set[int]().union(*(minutes for minutes, _ in pairs))
    hours = set[int]().union(*(hours for _, hours in pairs))
    return f"{listed(minutes, 60)} {listed(hours, 24)} * * *", "Etc/UTC"


def _never(cadence: Cadence, now_s: float) -> list[str]:
    """A warning where a slot's local time does not exist on some day: Kubernetes starts nothing then."""
    if cadence.cron is None or read_line(cadence.line).goes_by_hours:
        return []
    ends = [c.at_s for c in changes(zone_of(cadence.timezone), now_s, YEARS_AHEAD) if c.forward_s > 0]
    if not any(cadence.next_after(end_s - 1) == end_s for end_s in ends):
        return []
    return [
        "# On the day on which clocks skip that hour Kubernetes starts nothing: that slot is made up for at the next",
        '# one, or not at all with missed = "skip". Another hour, or timezone = "UTC", has no such day.',
    ]


def _cron_job(
    settings: Settings, plan: ManifestPlan, name: str, job_name: str, schedule: str, zone: str
) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "plaster-ops",
        "app.kubernetes.io/instance": slug_of(plan.slug),
        "app.kubernetes.io/component": job_name.removeprefix(f"{plan.stem}-"),
    }
    namespace = {"namespace": plan.cluster.namespace} if plan.cluster.namespace else {}
    call = Call(project=plan.cluster.project, program=plan.program)
    limit_s = _limit_s(settings.pipelines[name], settings.scheduler.stop_s)
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": job_name, **namespace, "labels": labels},
        "spec": {
            "schedule": schedule,
            "timeZone": zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": DEADLINE_S,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    **({} if limit_s is None else {"activeDeadlineSeconds": limit_s}),
                    "podFailurePolicy": {
                        "rules": [
                            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                        ]
                    },
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": _pod(plan, call.once(name, quiet=False), settings.scheduler.stop_s),
                    },
                }
            },
        },
    }


def _pod(plan: ManifestPlan, words: list[str], stop_s: float) -> dict[str, Any]:
    cluster = plan.cluster
    wanted = {"cpu": cluster.cpu, "memory": cluster.memory, "nvidia.com/gpu": str(cluster.gpu or "")}
    limits = {key: value for key, value in wanted.items() if value}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": round(stop_s) + MARGIN_S,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
        "containers": [
            {
                "name": "once",
                "image": cluster.image,
                "command": words,
                "workingDir": cluster.project,
                "envFrom": [{"secretRef": {"name": cluster.secret or plan.stem, "optional": True}}],
                **({"resources": {"limits": limits}} if limits else {}),
                "volumeMounts": [
                    {"name": "project", "mountPath": cluster.project},
                    {"name": "shm", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "project", "persistentVolumeClaim": {"claimName": cluster.pvc or plan.stem}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shm}},
        ],
    }


def _limit_s(pipeline: PipelineSettings, stop_s: float) -> int | None:
    """How long a visit may take at most: all its attempts and what lies between them; None where one has no limit."""
    cadence: CadenceSettings = pipeline.cadence
    if cadence.timeout_s is None:
        return None
    waits_s = cadence.jitter_s + sum(cadence.backoff_s * 2.0**turn for turn in range(cadence.retries))
    return round(waits_s + (cadence.retries + 1) * (cadence.timeout_s + stop_s)) + 20 * MARGIN_S


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        """Without anchors: a label that stands twice is written twice."""

        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    text: str = yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=False, width=120)
    return text
