"""CronJobs, held against the schemas of Kubernetes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from plaster_ops.errors import UsageError
from scheduler.install.manifests import Cluster, ManifestPlan, cluster_of, manifests
from tests.scheduler.install.samples import NIGHTLY, NOW_S, settings_of

VERSION = "1.30"


def validate(manifest: dict[str, Any]) -> None:
    """Raises where the schema of that kind, as Kubernetes publishes it, has no room for something in it."""
    checker = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    checker.validate(manifest, VERSION, strict=True)


def written(folder: Path, text: str = NIGHTLY, **cluster: Any) -> list[dict[str, Any]]:
    plan = ManifestPlan(cluster=Cluster(image="registry.example/churn:7", **cluster), slug="My Churn")
    files = manifests(settings_of(folder, text), plan, NOW_S)
    found = [yaml.safe_load(file) for file in files.values()]
    assert [f"{each['metadata']['name']}.yaml" for each in found] == list(files)
    return found


def test_every_cronjob_fits_the_schema(tmp_path: Path) -> None:
    text = NIGHTLY + '[pipelines."a b%c"]\nref = "m:p"\ncadence = { every = "90m", timeout_s = 600 }\n'
    jobs = written(tmp_path, text, gpu=2, cpu="8", memory="32Gi", namespace="ml", pvc="data", secret="keys")
    assert len(jobs) == 2
    for job in jobs:
        validate(job)
    jobs[0]["spec"]["concurencyPolicy"] = "Forbid"
    checker = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    with pytest.raises(checker.ValidationError):
        validate(jobs[0])


def test_a_cronjob_forbids_overlap_tries_once_and_may_stop_in_order(tmp_path: Path) -> None:
    (job,) = written(tmp_path, NIGHTLY + "[scheduler]\nstop_s = 45\n", gpu=1)
    spec = job["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 2 * * *", "Europe/Paris")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert 0 < spec["startingDeadlineSeconds"] < 100 * 60
    attempt = spec["jobTemplate"]["spec"]
    assert attempt["backoffLimit"] == 0
    assert "activeDeadlineSeconds" not in attempt
    pod = attempt["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 75
    (container,) = pod["containers"]
    assert container["command"] == [
        "plaster-ops",
        "schedule",
        "once",
        "churn",
        "--trigger",
        "cron",
        "--project",
        "/project",
    ]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "plaster-ops-my-churn"}


def test_the_deadline_leaves_room_for_all_attempts(tmp_path: Path) -> None:
    limits = "timeout_s = 1000, retries = 2, backoff_s = 60, jitter_s = 30"
    (job,) = written(tmp_path, NIGHTLY.replace('"Europe/Paris"', f'"UTC", {limits}'))
    needed_s = 3 * (1000 + 60) + 60 + 120 + 30
    assert needed_s < job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] < needed_s + 900


def test_an_interval_is_a_schedule_in_utc_that_has_all_its_slots(tmp_path: Path) -> None:
    text = '[pipelines.p]\nref = "m:p"\ncadence = { every = "90m" }\n'
    (job,) = written(tmp_path, text)
    spec = job["spec"]
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["schedule"] == "0,30 0,1,3,4,6,7,9,10,12,13,15,16,18,19,21,22 * * *"


def test_an_hour_that_does_not_exist_on_some_day_is_warned_of(tmp_path: Path) -> None:
    plan = ManifestPlan(cluster=Cluster(image="i"), slug="s")
    told = "clocks skip that hour"

    def text(cron: str, zone: str) -> str:
        line = NIGHTLY.replace("0 2 * * *", cron).replace("Europe/Paris", zone)
        return next(iter(manifests(settings_of(tmp_path, line), plan, NOW_S).values()))

    assert told in text("0 2 * * *", "Europe/Paris")
    assert told not in text("0 4 * * *", "Europe/Paris")
    assert told not in text("0 * * * *", "Europe/Paris")
    assert told not in text("0 2 * * *", "UTC")


def test_names_are_short_enough_for_kubernetes(tmp_path: Path) -> None:
    text = "".join(f'[pipelines.{"x" * 60}{n}]\nref = "m:p"\ncadence = {{ cron = "@daily" }}\n' for n in range(2))
    names = [job["metadata"]["name"] for job in written(tmp_path, text)]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 52


@pytest.mark.parametrize(
    ("given", "told"),
    [(["gpu=1"], "no image"), (["image=i", "gpus=1"], "did you mean 'gpu'"), (["image=i", "gpu=one"], "whole number")],
)
def test_what_is_not_known_of_the_cluster_is_an_error(given: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cluster_of(given)
