"""The TensorRT backend without a GPU: what it calls is on the list, what it says of itself is so, and it refuses."""

import ast
import json
import os
import sys
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from benchmarks import torch_tensorrt_api as checker
from plaster_ops.engines import gpus, tensorrt_build, tensorrt_engine
from plaster_ops.engines.export import export_program, flatten_inputs, input_specs
from plaster_ops.engines.gpus import Gpu
from plaster_ops.engines.tensorrt_engine import TensorRtBackend, cache_key, checked_call
from plaster_ops.errors import BuildFailed, SettingsError
from plaster_ops.ports import EngineSpec
from tests.architecture.sources import ROOT, modules, name_of, tree
from tests.engines.conftest import Exported, export_model

LISTED = json.loads((Path(__file__).parent / "torch_tensorrt_api.json").read_text(encoding="utf-8"))
ENGINE, BUILD = (ROOT / "plaster_ops" / "engines" / f"tensorrt_{half}.py" for half in ("engine", "build"))
HOPPER = Gpu(name="NVIDIA H200", capability=(9, 0), driver="580.65")
TURING = Gpu(name="Tesla T4", capability=(7, 5), driver="535.1")
OBJECTS = {
    "tt": "torch_tensorrt",
    "piece": "torch_tensorrt.dynamo.runtime.TorchTensorRTModule",
    "settings": "torch_tensorrt.dynamo.CompilationSettings",
}
"""Names that the backend binds to the package and to what it gives; an attribute of one of them is a use of it."""


# ---- the list of what is called -------------------------------------------------------------------------------------
class Uses(ast.NodeVisitor):
    """Names, keywords and attributes of foreign packages in a module: `name`, `name(keyword)`, `name.attribute`."""

    def __init__(self, module: ast.Module, packages: tuple[str, ...], objects: dict[str, str]) -> None:
        self.found: set[str] = set()
        self._bound = dict(objects)
        self._functions = {node.name: node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                self._bound |= {a.asname: a.name for a in node.names if a.asname and a.name.startswith(packages)}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(packages):
                self._bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        self._scope: list[ast.FunctionDef] = []
        self.visit(module)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._scope.append(node)
        self.generic_visit(node)
        self._scope.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self.dotted(node)
        if name:
            self.found.add(name)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called, given = node.func, {k.arg for k in node.keywords if k.arg}
        if isinstance(called, ast.Name) and called.id == "checked_call":
            called, given = node.args[0], self.keys_of(node.args[1])
        name = self.dotted(called)
        if name:
            self.found |= {name, *(f"{name}({keyword})" for keyword in given)}
        self.generic_visit(node)

    def dotted(self, node: ast.expr) -> str:
        """`torch_tensorrt.a.b` for `tt.a.b`, else nothing."""
        if isinstance(node, ast.Attribute):
            owner = self.dotted(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return self._bound.get(node.id, "") if isinstance(node, ast.Name) else ""

    def keys_of(self, node: ast.expr) -> set[str]:
        """Keys of a dict: written there, of the variable in the same function, or of what a function returns."""
        if isinstance(node, ast.Dict):
            return {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.keys_in(self._functions[node.func.id], "settings")
        assert isinstance(node, ast.Name), ast.unparse(node)
        return self.keys_in(self._scope[-1], node.id)

    def keys_in(self, function: ast.FunctionDef, variable: str) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and target.id == variable and isinstance(node.value, ast.Dict):
                        found |= self.keys_of(node.value)
                    if isinstance(target, ast.Subscript) and ast.unparse(target.value) == variable:
                        assert isinstance(target.slice, ast.Constant)
                        found.add(str(target.slice.value))
        assert found, f"{function.name} has no dict {variable}"
        return found


def listed(package: str) -> set[str]:
    entries: set[str] = set()
    for name, asked in LISTED[package].items():
        keywords = [*asked.get("keywords", ()), *asked.get("keywords_in", {})]
        attributes = {f"{name}.{attribute}" for attribute in asked.get("attributes", ())}
        is_called_by_name = name not in (OBJECTS["settings"],)
        entries |= (
            attributes | {f"{name}({keyword})" for keyword in keywords} | ({name} if is_called_by_name else set())
        )
    return entries


def test_every_name_keyword_and_attribute_of_torch_tensorrt_is_on_the_list_and_nothing_else() -> None:
    used = Uses(tree(ENGINE), ("torch_tensorrt",), OBJECTS).found
    assert len(used) > 40
    assert used == listed("torch_tensorrt")


def test_everything_that_is_used_of_modelopt_is_on_the_list_and_nothing_else() -> None:
    module = tree(BUILD)
    used = Uses(module, ("modelopt",), {}).found
    called = {
        node.func.id for node in ast.walk(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "export_torch_mode" in called
    assert used == listed("modelopt")


def test_torch_tensorrt_is_named_in_code_in_one_file_only() -> None:
    """As a word of code: an import, or a text that is given to one."""
    words = {
        name_of(file)
        for file in modules("plaster_ops")
        for node in ast.walk(tree(file))
        if (isinstance(node, ast.Import) and any(a.name.startswith("torch_tensorrt") for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch_tensorrt"))
        or (isinstance(node, ast.Constant) and node.value == "torch_tensorrt")
    }
    assert words == {name_of(ENGINE)}


def test_every_release_that_may_be_installed_is_on_the_list() -> None:
    releases = {tuple(asked["releases"]) for asked in LISTED["torch_tensorrt"].values()}
    assert releases == {("2.11.0", "2.12.1", "2.13.0")}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package in which names are defined, imported again, and swallowed."""
    file = tmp_path / "torch_tensorrt-9.9.9-py3-none-any.whl"
    with ZipFile(file, "w") as archive:
        archive.writestr("torch_tensorrt/__init__.py", "from ._build import *\nfrom .inner import Shape as Input\n")
        archive.writestr("torch_tensorrt/_build.py", "def compile(program, *, device=None, **kwargs): ...\n")
        archive.writestr(
            "torch_tensorrt/inner/__init__.py",
            "if True:\n    from .. import _build as built\n"
            "class Shape:\n    size: int = 1\n"
            "    def __init__(self, **kwargs):\n        self.low = kwargs['low']\n"
            "    def grow(self): ...\n",
        )
    return file


def test_the_checker_follows_imports_and_finds_no_keyword_in_a_swallowing_one(wheel: Path) -> None:
    every = {"releases": ["9.9.9"]}
    names = {
        "torch_tensorrt.compile": every | {"keywords": ["device", "precision"]},
        "torch_tensorrt.Input": every
        | {"keywords": ["low", "high"], "reads_kwargs": True, "attributes": ["grow", "low"]},
        "torch_tensorrt.inner.Shape": every | {"keywords": ["low"], "attributes": ["size", "shrink"]},
        "torch_tensorrt.inner.gone": every,
        "torch_tensorrt.gone.deeper": every,
    }
    found = dict(checker.look_up(checker.Sources.of_wheel(wheel), names, "9.9.9"))
    assert {entry for entry, there in found.items() if there} == {
        "torch_tensorrt.compile",
        "torch_tensorrt.compile(device)",
        "torch_tensorrt.Input",
        "torch_tensorrt.Input(low)",
        "torch_tensorrt.Input.grow",
        "torch_tensorrt.Input.low",
        "torch_tensorrt.inner.Shape",
        "torch_tensorrt.inner.Shape.size",
    }
    assert len(found) == 14


def test_the_checker_exits_1_where_something_is_missing(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for entry, code in (("torch_tensorrt.compile", 0), ("torch_tensorrt.gone", 1)):
        (tmp_path / "list.json").write_text(json.dumps({"torch_tensorrt": {entry: {"releases": ["9.9.9"]}}}))
        monkeypatch.setattr(checker, "LIST", tmp_path / "list.json")
        monkeypatch.setattr(sys, "argv", ["torch_tensorrt_api", "--wheels", str(wheel.parent)])
        assert checker.main() == code
    assert "missing" in capsys.readouterr().out


# ---- probe and capabilities -----------------------------------------------------------------------------------------
def installed(monkeypatch: pytest.MonkeyPatch, *found: Gpu, **packages: str) -> None:
    """Makes the backend see these packages (`_` for `-`) and GPUs, and nothing else."""
    known = {name.replace("_", "-"): number for name, number in packages.items()}

    def fake_version(package: str) -> str:
        if package not in known:
            raise PackageNotFoundError(package)
        return known[package]

    monkeypatch.setattr(tensorrt_engine, "version", fake_version)
    monkeypatch.setattr(tensorrt_engine, "visible_gpus", lambda: found)


def test_the_probe_says_all_that_is_missing_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, torch="2.13.0+cpu")
    available = TensorRtBackend().probe()
    assert not available.ok
    assert available.reason == (
        "torch-tensorrt is not installed (pip install 'plaster-ops[tensorrt]'); torch 2.13.0+cpu is built without CUDA"
        " (install torch from PyPI); no NVIDIA GPU is visible"
    )


def test_the_probe_names_the_one_thing_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, torch="2.13.0", torch_tensorrt="2.13.0")
    assert TensorRtBackend().probe().reason == "no NVIDIA GPU is visible"
    installed(monkeypatch, HOPPER, torch="2.13.0")
    assert TensorRtBackend().probe().reason == "torch-tensorrt is not installed (pip install 'plaster-ops[tensorrt]')"


def test_the_probe_tells_versions_and_driver_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, HOPPER, torch="2.13.0", torch_tensorrt="2.13.0", tensorrt="11.0.0")
    available = TensorRtBackend().probe()
    assert (available.ok, available.reason) == (True, "")
    assert dict(available.versions) == {
        "torch-tensorrt": "2.13.0",
        "tensorrt": "11.0.0",
        "torch": "2.13.0",
        "driver": "580.65",
    }


@pytest.mark.parametrize("where", ["nvmlInit", "nvmlDeviceGetCount"])
def test_the_probe_does_not_raise_where_nvml_does(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class NvmlError(Exception):
        pass

    def fail(*_: object) -> None:
        raise NvmlError("Driver/library version mismatch")

    calls: dict[str, Any] = {"nvmlInit": lambda: None, "nvmlShutdown": lambda: None, "nvmlDeviceGetCount": lambda: 1}
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NvmlError, **calls | {where: fail}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "no NVIDIA GPU is visible" in TensorRtBackend().probe().reason


def test_the_probe_sees_the_gpu_that_nvml_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlSystemGetDriverVersion=lambda: "580.65",
        nvmlDeviceGetName=lambda _: "NVIDIA H200",
        nvmlDeviceGetUUID=lambda _: "GPU-1",
        nvmlDeviceGetPciInfo=lambda _: SimpleNamespace(busId="00000000:01:00.0"),
        nvmlDeviceGetCudaComputeCapability=lambda _: (9, 0),
    )
    installed(monkeypatch, torch="2.13.0", torch_tensorrt="2.13.0")
    monkeypatch.setattr(tensorrt_engine, "visible_gpus", gpus.visible_gpus)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert TensorRtBackend().probe().ok
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert TensorRtBackend().probe().reason == "no NVIDIA GPU is visible"


def test_8_bit_precisions_need_modelopt_and_fp8_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ("fp32", "fp16", "bf16")
    installed(monkeypatch, HOPPER, torch="2.13.0")
    assert TensorRtBackend().capabilities().precisions == typed
    installed(monkeypatch, HOPPER, torch="2.13.0", nvidia_modelopt="0.47.0")
    assert TensorRtBackend().capabilities().precisions == (*typed, "int8", "fp8")
    installed(monkeypatch, TURING, torch="2.13.0", nvidia_modelopt="0.47.0")
    assert TensorRtBackend().capabilities().precisions == (*typed, "int8")


def test_it_runs_on_gpus_only_refits_in_place_and_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    found = TensorRtBackend().capabilities()
    assert (found.devices, found.refit, found.falls_back, found.runs_here) == (("cuda",), "in_place", True, False)
    assert found.calibrated == ("int8", "fp8")
    installed(monkeypatch, HOPPER)
    assert TensorRtBackend().capabilities().runs_here


# ---- what is refused ------------------------------------------------------------------------------------------------
def on_gpu(exported: Exported, precision: str = "fp32", **options: Any) -> EngineSpec:
    return replace(exported.spec("tensorrt", precision, **options), device="cuda:0")


def test_an_unknown_option_is_an_error_before_anything_else(tmp_path: Path) -> None:
    exported = export_model("mlp")
    with pytest.raises(SettingsError, match="enabled_precisions"):
        TensorRtBackend().build(exported.program, on_gpu(exported, enabled_precisions="fp16"), tmp_path, ())
    with pytest.raises(SettingsError, match="workspace_bytes = True"):
        TensorRtBackend().build(exported.program, on_gpu(exported, workspace_bytes=True), tmp_path, ())
    with pytest.raises(SettingsError, match="typing = 'weak'"):
        TensorRtBackend().load(tmp_path, on_gpu(exported, typing="weak"))
    assert not list(tmp_path.iterdir())


def test_a_precision_that_it_has_not_and_a_calibration_without_inputs_are_refused(tmp_path: Path) -> None:
    exported = export_model("mlp")
    with pytest.raises(BuildFailed, match="cannot be built as int4"):
        TensorRtBackend().build(exported.program, on_gpu(exported, "int4"), tmp_path, ())
    with pytest.raises(BuildFailed, match="nothing to calibrate int8 with"):
        TensorRtBackend().build(exported.program, on_gpu(exported, "int8"), tmp_path, ())


def test_8_bits_without_modelopt_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = export_model("mlp")
    installed(monkeypatch, HOPPER, torch="2.13.0", torch_tensorrt="2.13.0")
    with pytest.raises(BuildFailed, match="fp8 needs nvidia-modelopt"):
        TensorRtBackend().build(
            exported.program, on_gpu(exported, "fp8"), tmp_path, [flatten_inputs(exported.inputs(4))]
        )


@pytest.mark.skipif(TensorRtBackend().probe().ok, reason="this machine can use it")
def test_where_it_cannot_be_used_a_build_and_a_load_fail_with_the_probes_reason(tmp_path: Path) -> None:
    exported = export_model("mlp")
    reason = TensorRtBackend().probe().reason
    assert reason
    for call in (
        lambda: TensorRtBackend().build(exported.program, on_gpu(exported), tmp_path, ()),
        lambda: TensorRtBackend().load(tmp_path, on_gpu(exported)),
    ):
        with pytest.raises(BuildFailed) as caught:
            call()
        assert reason in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_package_that_raises_when_it_is_imported_is_a_failed_build(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, HOPPER, torch="2.13.0", torch_tensorrt="2.13.0")

    def fail(name: str) -> None:
        raise AssertionError(f"{name}: Torch not compiled with CUDA enabled")

    monkeypatch.setattr(tensorrt_engine, "importlib", SimpleNamespace(import_module=fail))
    with pytest.raises(BuildFailed, match="does not import: AssertionError: torch_tensorrt: Torch not compiled"):
        tensorrt_engine.import_torch_tensorrt()


def test_a_device_that_is_no_gpu_is_refused_and_one_without_number_gets_the_first() -> None:
    spec = export_model("mlp").spec("tensorrt")
    with pytest.raises(BuildFailed, match="not on 'cpu'"):
        tensorrt_engine._indexed(spec)
    assert tensorrt_engine._indexed(replace(spec, device="cuda")).device == "cuda:0"
    assert tensorrt_engine._indexed(replace(spec, device="cuda:1")).device == "cuda:1"


def swallowing(program: object, inputs: object = None, *, device: object = None, **kwargs: object) -> object:
    return program, inputs, device, kwargs


def test_a_keyword_that_would_be_swallowed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, torch_tensorrt="2.13.0")
    assert checked_call(swallowing, {"device": "cuda:0", "inputs": 1}, "graph") == ("graph", 1, "cuda:0", {})
    with pytest.raises(BuildFailed, match=r"torch-tensorrt 2\.13\.0 has no keyword 'enabled_precisions' in swallowing"):
        checked_call(swallowing, {"device": "cuda:0", "enabled_precisions": {"fp16"}}, "graph")


def test_the_name_of_the_swallowing_parameter_is_no_keyword() -> None:
    with pytest.raises(BuildFailed, match="no keyword 'kwargs'"):
        checked_call(swallowing, {"kwargs": {}}, "graph")


# ---- the key of what the builder keeps ------------------------------------------------------------------------------
class Conv(nn.Module):
    """Weights of one shape whatever the stride and the slope."""

    def __init__(self, stride: int = 1, slope: float = 0.01, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=stride, padding=1)
        self.slope = slope

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.conv(image), self.slope)


def program_of(module: nn.Module) -> ExportedProgram:
    return export_program(module.eval(), IMAGES, input_specs([(IMAGES,)], None, ["image"]), 8)


IMAGES = torch.rand(3, 3, 12, 12)


@cache
def plain() -> ExportedProgram:
    return program_of(Conv())


def key_of(program: ExportedProgram | None = None, precision: str = "fp32", **options: Any) -> str:
    spec = EngineSpec(
        backend="tensorrt",
        precision=precision,
        device="cuda:0",
        inputs=input_specs([(IMAGES,)], None, ["image"]),
        batch=(1, 4, 8),
        options=tuple(sorted(options.items())),
    )
    return cache_key(program or plain(), spec)


def test_the_key_does_not_depend_on_the_weights_nor_on_options_that_are_given_as_they_are_anyway() -> None:
    key = key_of()
    assert len(key) == 64
    assert key_of(program_of(Conv())) == key
    assert key_of(None, min_block_size=1, tf32=False) == key


@pytest.mark.parametrize("other", [Conv(stride=2), Conv(slope=0.3), Conv(width=16)], ids=["stride", "slope", "width"])
def test_the_key_differs_where_the_graph_does(other: nn.Module) -> None:
    assert key_of(program_of(other)) != key_of()


def test_the_key_differs_by_precision_and_by_every_option() -> None:
    changed = {
        name: default[-1] if isinstance(default, tuple) else not default if isinstance(default, bool) else default + 1
        for name, default in TensorRtBackend().capabilities().options.items()
        if not isinstance(default, str)
    }
    keys = [key_of(), key_of(None, "fp16"), *(key_of(None, **{name: value}) for name, value in changed.items())]
    assert len(changed) == 12
    assert len(set(keys)) == len(keys)


def test_the_key_differs_by_version_and_by_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import plaster_ops.engines.key as key_module

    keys = []
    for number, gpu in (("2.12.1", HOPPER), ("2.13.0", HOPPER), ("2.13.0", replace(HOPPER, driver="580.82"))):
        installed(monkeypatch, gpu, torch="2.13.0", torch_tensorrt=number)
        monkeypatch.setattr(key_module, "visible_gpus", lambda gpu=gpu: (gpu,))
        keys.append(key_of())
    monkeypatch.setattr(key_module, "visible_gpus", lambda: (TURING,))
    keys.append(key_of())
    assert len(set(keys)) == 4


def test_the_key_differs_by_the_inputs_that_were_calibrated_with() -> None:
    exported = export_model("mlp")
    keys = {
        cache_key(exported.program, replace(on_gpu(exported, "int8"), calibration=digest)) for digest in ("", "a", "b")
    }
    assert len(keys) == 3


def test_the_builders_files_lie_under_that_key_and_the_eight_used_last_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_CACHE", str(tmp_path / "cache"))
    for number in range(10):
        with tensorrt_build.kept_files(tmp_path / "engine", f"key{number}", timings=True) as kept:
            (kept / tensorrt_build.TIMINGS).write_text("t")
            assert kept == tmp_path / "cache" / "tensorrt" / f"key{number}"
            os.utime(kept, (1_000_000_000 + number,) * 2)
    left = {path.name for path in (tmp_path / "cache" / "tensorrt").iterdir()}
    assert "key9" in left
    assert len(left) == 8
    with tensorrt_build.kept_files(tmp_path / "engine", "key9", timings=False) as kept:
        assert not list(kept.iterdir())


def test_where_nobody_said_where_to_keep_files_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLASTER_CACHE", raising=False)
    with tensorrt_build.kept_files(tmp_path / "engine", "key", timings=True) as kept:
        assert kept.parent == tmp_path
        (kept / tensorrt_build.TIMINGS).write_text("t")
    assert not list(tmp_path.iterdir())
