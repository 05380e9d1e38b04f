"""Models of other people: seven letters, all outputs checked. By module:attribute alone, in a folder without settings,
where every backend and precision is tried that needs no C++ compiler (test_refits compiles); but for sequences, which
openvino alone is asked to serve.

The pairs left out here, each a minute, run with BYO_ALL=1.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import run_command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
OUTPUTS = {"regression": ["output"], "two_by_two": ["0", "1"], "reader": ["output"]}
USUAL = [("two_by_two", "lightning")]
OTHERS = [
    ("reader", "pytorch_lightning"),
    ("regression", "pytorch_lightning"),
    ("regression", "lightning"),
    ("two_by_two", "pytorch_lightning"),
    ("reader", "lightning"),
]


@pytest.mark.parametrize(("attribute", "package"), USUAL + (OTHERS if os.environ.get("BYO_ALL") else []))
def test_a_model_brought_along_gets_seven_letters_and_parity_on_every_output(
    tmp_path: Path, attribute: str, package: str
) -> None:
    shutil.copyfile(Path(__file__).with_name("byo_module.py"), tmp_path / "byo_module.py")
    name, env = f"byo_module:{attribute}", {"BYO_PACKAGE": package, "CXX": "no-such-compiler"}
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
