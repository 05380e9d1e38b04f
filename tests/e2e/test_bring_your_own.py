"""Models of other people, retrained by the wheel, which is installed outside the repository, in a project that has a
`pipelines/` folder of its own: seven letters, all outputs checked. By module:attribute alone, in a folder without
settings, where every backend and precision is tried that needs no C++ compiler (test_two_retrains compiles); but for
sequences, which openvino alone is asked to serve.

The pairs left out here, each a minute, run with BYO_ALL=1.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
OUTPUTS = {"regression": ["output"], "two_by_two": ["0", "1"], "reader": ["output"]}
USUAL = [("two_by_two", "lightning")]
OTHERS = [
    ("reader", "pytorch_lightning"),
    ("regression", "pytorch_lightning"),
    ("regression", "lightning"),
    ("two_by_two", "pytorch_lightning"),
    ("reader", "lightning"),
]


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


def test_the_installed_wheel_is_what_is_imported(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import plaster_ops; print(plaster_ops.__file__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed / "site"))


@pytest.mark.parametrize(("attribute", "package"), USUAL + (OTHERS if os.environ.get("BYO_ALL") else []))
def test_a_model_brought_along_gets_seven_letters_and_parity_on_every_output(
    installed: Path, tmp_path: Path, attribute: str, package: str
) -> None:
    (tmp_path / "pipelines").mkdir()
    shutil.copyfile(Path(__file__).with_name("byo_module.py"), tmp_path / "pipelines" / "byo_module.py")
    name = f"pipelines.byo_module:{attribute}"
    env = {"BYO_PACKAGE": package, "CXX": "no-such-compiler", "PYTHONPATH": str(installed / "site")}
    if attribute == "reader":
        engine = 'engine = { backends = ["openvino"], precisions = ["fp32"] }'
        (tmp_path / "plaster.toml").write_text(f'[pipelines.reader]\nref = "{name}"\n{engine}\n')
        name = "reader"
    ended = run_command(tmp_path, "retrain", name, "--profile", "smoke", "--json", env=env)
    assert ended.code == 0, ended.err
    payload = ended.payload
    heads = {row["letter"]: row for row in payload["card"] if row["headline"]}
    assert list(heads) == list("PLASTER")
    assert all(row["value"] is not None or row["reason"] for row in heads.values())
    assert all(heads[letter]["value"] is not None for letter in "PLASR")
    assert payload["engine"]["backend"] != "eager"
    folder = next((tmp_path / "mlruns" / "runs").glob("*/00001-*/artifacts"))
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    assert parity["ok"]
    assert [output["name"] for output in parity["outputs"]] == OUTPUTS[attribute]
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["sets"]["rolling"]["n"] == payload["data"]["eval_samples"]
