"""What a person types most often loads nothing heavy, and our names are ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import OURS, ROOT

PROBE = """
import contextlib, io, json, os, sys
from plaster_ops.cli.app import run

def loaded():
    heavy = "torch mlflow lightning pytorch_lightning torchmetrics openvino scipy sklearn pandas"
    return [name for name in heavy.split() if name in sys.modules]

answer = {}
LINES = "--help;retrain --help;history;history --json;drift;promotions;prune --dry-run;retrain nobody"
for line in map(str.split, LINES.split(";")):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = run(line)
    answer[" ".join(line)] = {"code": code, "out": out.getvalue(), "loaded": loaded()}
import plaster_ops.flow.session, plaster_ops.flow.comparison, plaster_ops.flow.plan, plaster_ops.flow.doctor
answer["imports of a retrain"] = {"code": 0, "out": "", "loaded": loaded()}
import pipelines, scheduler
where = {name: os.path.dirname(sys.modules[name].__file__) for name in ("plaster_ops", "pipelines", "scheduler")}
print(json.dumps({"answers": answer, "where": where}))
"""


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, object]]]:
    """One fresh interpreter in a project with three finished runs."""
    from plaster_ops.tracking.journal import Journal
    from tests.tracking.samples import finish

    project = tmp_path_factory.mktemp("project")
    (project / "plaster.toml").write_text('[pipelines.digits]\nref = "m:p"\n')
    with Journal.open(project / "mlruns") as journal:
        for _ in range(3):
            finish(journal)
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=project, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, dict[str, object]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("retrain --help", 0),
        ("history", 0),
        ("history --json", 0),
        ("drift", 0),
        ("promotions", 0),
        ("prune --dry-run", 0),
        ("retrain nobody", 2),
    ],
)
def test_a_question_and_a_mistake_load_nothing_heavy(
    probed: dict[str, dict[str, dict[str, object]]], line: str, code: int
) -> None:
    answer = probed["answers"][line]
    assert answer["loaded"] == []
    assert answer["code"] == code


def test_history_answered_from_the_journal(probed: dict[str, dict[str, dict[str, object]]]) -> None:
    assert len(json.loads(str(probed["answers"]["history --json"]["out"]))["runs"]) == 3


def test_the_parent_of_a_retrain_loads_neither_torch_nor_mlflow(
    probed: dict[str, dict[str, dict[str, object]]],
) -> None:
    assert probed["answers"]["imports of a retrain"]["loaded"] == []


@pytest.mark.parametrize("name", OURS)
def test_our_packages_are_the_ones_that_are_imported(
    probed: dict[str, dict[str, dict[str, object]]], name: str
) -> None:
    """`scheduler` and `pipelines` are names of other distributions too."""
    assert Path(str(probed["where"][name])) == ROOT / name
