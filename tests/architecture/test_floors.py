"""Imports go down, the domain needs nothing but Python, and what is heavy is loaded only where it is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, imported, modules, name_of

ENGINE_LIBRARIES = (
    *("openvino", "nncf", "onnx", "onnxruntime", "onnxscript"),
    *("torchao", "tensorrt_rtx", "torch_tensorrt", "modelopt"),
)
HEAVY = {
    "torch",
    "lightning",
    "pytorch_lightning",
    "torchmetrics",
    "mlflow",
    "scipy",
    "sklearn",
    *ENGINE_LIBRARIES,
}
MAY_BE_NUMERIC = {
    f"plaster_ops/domain/{name}.py" for name in ("compare", "student", "scan", "scan_splits", "scan_levels")
}
LANDLORDS = {
    "mlflow": ("plaster_ops/tracking/",),
    **dict.fromkeys(ENGINE_LIBRARIES, ("plaster_ops/engines/",)),
    "typer": ("plaster_ops/cli/", "scheduler/cli.py", "scheduler/commands/"),
    "cronsim": ("plaster_ops/domain/schedule.py", "scheduler/"),
    "prometheus_client": ("scheduler/metrics.py",),
    "pydantic": ("plaster_ops/settings.py", "plaster_ops/settings_"),
    "apscheduler": ("scheduler/",),
    "pynvml": ("plaster_ops/plaster/", "plaster_ops/training/devices.py", "plaster_ops/engines/gpus.py"),
}
"""Where a package may be imported. NVML is asked for power, for GPUs to train on and for GPUs to run engines on, each
in a room of its own."""


def test_the_import_contracts_hold() -> None:
    """In a process of its own, because it switches off loggers that are there already."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


@pytest.mark.parametrize("file", [*modules("plaster_ops/domain"), ROOT / "plaster_ops/errors.py"], ids=name_of)
def test_the_domain_is_standard_library_only(file: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"plaster_ops"}
    if name_of(file) in MAY_BE_NUMERIC:
        allowed |= {"numpy", "scipy"}
    if name_of(file) == "plaster_ops/domain/schedule.py":
        allowed |= {"cronsim"}
    assert imported(file, at_the_door=False) <= allowed


@pytest.mark.parametrize(("package", "home"), LANDLORDS.items())
def test_a_heavy_package_has_its_landlord(package: str, home: tuple[str, ...]) -> None:
    elsewhere = [
        name_of(file)
        for file in modules()
        if package in imported(file, at_the_door=False) and not name_of(file).startswith(home)
    ]
    assert elsewhere == []


def test_nothing_the_parent_process_imports_loads_torch_at_the_door() -> None:
    """Stages, training workers and the torch side of data and engines run in children of their own."""
    light = [
        *modules("plaster_ops/cli", "plaster_ops/report", "plaster_ops/processes", "plaster_ops/tracking"),
        *(file for file in modules("plaster_ops/flow") if "stages" not in file.parts),
        *(
            ROOT / "plaster_ops" / name
            for name in (
                "settings.py",
                "settings_sections.py",
                "settings_schedule.py",
                "settings_base.py",
                "ports.py",
                "errors.py",
                "__main__.py",
            )
        ),
    ]
    heavy = {name_of(file): sorted(imported(file, at_the_door=True) & HEAVY) for file in light}
    found = {name: packages for name, packages in heavy.items() if packages}
    assert {name for name in found if not name.startswith("plaster_ops/tracking/mlflow")} == set()


def test_relative_imports_are_not_used() -> None:
    import ast

    from tests.architecture.sources import tree

    relative = [
        name_of(file)
        for file in modules()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree(file)))
    ]
    assert relative == []
