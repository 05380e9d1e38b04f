import subprocess
import sys
from pathlib import Path

import pytest

from plaster_ops.engines.registry import BUILT_IN, find_backend, known_backends
from plaster_ops.errors import SettingsError
from tests.engines.doubles import NAME


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_backend_is_found_without_an_installed_package(name: str) -> None:
    backend = find_backend(name)
    assert backend.name == name
    assert "fp32" in backend.capabilities().precisions
    assert backend.probe().reason == "" or not backend.probe().ok


def test_a_backend_of_ones_own_is_found_by_its_reference() -> None:
    assert find_backend(NAME).name == "spinning"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(SettingsError, match="'openvin'") as caught:
        find_backend("openvin")
    for name in known_backends():
        assert name in caught.value.next_step
    assert "did you mean 'openvino'?" in caught.value.message


@pytest.mark.parametrize(
    "name", ["no.such.module:Backend", "tests.engines.doubles:Nothing", "tests.engines.doubles:NAME"]
)
def test_a_reference_that_leads_nowhere_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        find_backend(name)


def test_finding_probing_and_verifying_load_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from plaster_ops.engines import artifact, ladder, registry\n"
        "ladder.candidates(('tensorrt', 'openvino', 'inductor'), ('fp32', 'bf16'))\n"
        "heavy = {'torch', 'openvino', 'mlflow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert found.returncode == 0, found.stderr
