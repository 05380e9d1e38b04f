"""What lies in scheduler/deploy/, each file by the program that can judge it; examples are what `install` writes."""

import re
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from scheduler.install.call import Call
from scheduler.install.crontab import crontab_block
from scheduler.install.manifests import Cluster, ManifestPlan, manifests
from scheduler.install.units import UnitPlan, units
from tests.scheduler.install.samples import NOW_S, settings_of, tool
from tests.scheduler.install.test_manifests import validate
from tests.scheduler.install.test_units import values, verify

DEPLOY = Path(__file__).parents[2] / "scheduler" / "deploy"
EXAMPLE = """
[pipelines.churn]
ref = "churn.pipeline:pipeline"
cadence = { cron = "0 4 * * *", timezone = "Europe/Paris", jitter_s = 60, timeout_s = 7200 }
"""
CALL = Call(project="/srv/churn", program=("/opt/plaster-ops/bin/plaster-ops",))


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def test_the_unit_of_the_service_is_what_install_writes(tmp_path: Path) -> None:
    plan = UnitPlan(call=CALL, slug="churn", user="plaster", service=True)
    written = units(settings_of(tmp_path, EXAMPLE), plan, NOW_S)
    assert text_of("plaster-ops.service") == written["plaster-ops-churn.service"]


def test_the_crontab_is_what_install_writes_and_cron_reads_it(tmp_path: Path) -> None:
    block = crontab_block(settings_of(tmp_path, EXAMPLE), CALL, ZoneInfo("Europe/Paris"), "Europe/Paris", NOW_S)
    assert text_of("crontab.example").endswith(block)
    words = [tool("crontab"), "-n", str(DEPLOY / "crontab.example")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cronjob_is_what_install_writes(tmp_path: Path) -> None:
    cluster = Cluster(image="registry.example/churn:1", gpu=1)
    written = manifests(settings_of(tmp_path, EXAMPLE), ManifestPlan(cluster=cluster, slug="churn"), NOW_S)
    assert text_of("kubernetes/cronjob.yaml") == written["plaster-ops-churn-churn.yaml"]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    names = {
        "plaster-ops.service": "plaster-ops.service",
        "plaster-ops@.service": "plaster-ops@churn.service",
        "plaster-ops@.timer": "plaster-ops@churn.timer",
    }
    here = {
        name: text_of(file).replace(CALL.program[0], sys.executable).replace("User=plaster", "User=daemon")
        for file, name in names.items()
    }
    assert verify(tmp_path / "units", here) == ""


def test_the_template_stops_and_ends_as_the_written_units_do(tmp_path: Path) -> None:
    plan = UnitPlan(call=CALL, slug="churn", user="plaster")
    written = units(settings_of(tmp_path, EXAMPLE), plan, NOW_S)["plaster-ops-churn-churn.service"]
    template = text_of("plaster-ops@.service")
    for key in ("Type", "SuccessExitStatus", "KillMode", "TimeoutStopSec", "WorkingDirectory", "EnvironmentFile"):
        assert values(template, key) == values(written, key), key
    assert values(template, "ExecStart") == [values(written, "ExecStart")[0].replace(" churn ", " %i ")]


@pytest.mark.parametrize("name", ["cronjob.yaml", "service.yaml", "project.yaml"])
def test_manifests_fit_the_schemas_of_kubernetes(name: str) -> None:
    found = list(yaml.safe_load_all(text_of(f"kubernetes/{name}")))
    assert found
    for manifest in found:
        validate(manifest)


def test_the_deployment_keeps_one_service_that_is_looked_after_and_may_drain() -> None:
    deployment, _ = yaml.safe_load_all(text_of("kubernetes/service.yaml"))
    spec = deployment["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/healthz"
    assert pod["terminationGracePeriodSeconds"] > 600 + 60
    (claim,) = yaml.safe_load_all(text_of("kubernetes/project.yaml"))
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_hadolint_finds_nothing_wrong_with_the_dockerfile() -> None:
    words = [tool("hadolint"), "--no-color", str(DEPLOY / "Dockerfile")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_in_particular_and_asks_for_its_health() -> None:
    text = text_of("Dockerfile")
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert "127.0.0.1:8075/healthz" in text
