"""The wheel, installed outside the repository, in a project that has a `pipelines/` folder of its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import MODULE, run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the built wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("plaster_ops-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder


def test_the_wheel_holds_the_library_and_the_scheduler_and_no_examples(installed: Path) -> None:
    names = zipfile.ZipFile(next(installed.glob("*.whl"))).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {"plaster_ops", "scheduler"} <= tops
    assert not tops & {"pipelines", "tests", "mlruns", "benchmarks"}
    assert "plaster_ops/py.typed" in names


def test_it_retrains_a_project_whose_own_pipelines_come_first(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    shutil.copyfile(MODULE, tmp_path / "pipelines" / "mine.py")
    engine = 'engine = { backends = ["openvino"], precisions = ["fp32"] }'
    (tmp_path / "plaster.toml").write_text(f'[pipelines.mine]\nref = "pipelines.mine:pipeline"\n{engine}\n')
    env = {"PYTHONPATH": str(installed / "site")}
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import plaster_ops; print(plaster_ops.__file__)"],
        cwd=tmp_path,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed / "site"))
    ended = run_command(tmp_path, "retrain", "mine", "--no-measure", "--json", env=env)
    assert ended.code == 0, ended.err
    assert ended.payload["pipeline"] == "mine"
    assert ended.payload["engine"]["backend"] == "openvino"
