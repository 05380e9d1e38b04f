"""Single backends on many models, and what only one of them can do; what all must do is in tests/contracts."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from plaster_ops.engines.export import flatten_inputs, output_names, run_eager
from plaster_ops.engines.openvino_model import import_openvino
from plaster_ops.engines.parity import compare_outputs
from plaster_ops.errors import BuildFailed, SettingsError
from plaster_ops.ports import Engine
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, Exported, export_model
from tests.engines.doubles import NAME
from tests.engines.test_export import ALL

CASES = [("eager", "fp32"), ("openvino", "fp32"), ("onnxruntime", "fp32")]


def assert_parity(exported: Exported, engine: Engine, values: Sequence[object], precision: str) -> None:
    names = output_names(exported.program)
    for value in values:
        wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
        report = compare_outputs(wanted, engine.run(*flatten_inputs(value)), names, precision)
        assert report.ok, report.reasons


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("backend", "precision"), CASES)
def test_every_output_agrees_with_eager_at_any_batch(name: str, backend: str, precision: str, tmp_path: Path) -> None:
    exported = export_model(name)
    coverage, engine = exported.build(tmp_path, backend, precision)
    assert engine.effective_precision() == precision
    assert coverage.ops_total > 0
    assert_parity(exported, engine, [exported.inputs(rows) for rows in (1, 5, MAX_BATCH, 1)], precision)
    engine.close()


@pytest.mark.parametrize(("backend", "precision"), CASES)
def test_sequences_of_any_length_are_served_one_after_the_other(backend: str, precision: str, tmp_path: Path) -> None:
    exported = export_model("sequence")
    _, engine = exported.build(tmp_path, backend, precision)
    shapes = ((1, 4), (3, 14), (8, 9), (1, 4), (1, 5))
    assert_parity(exported, engine, [models.sequences(rows, length) for rows, length in shapes], precision)


def test_an_option_for_another_backend_is_passed_over_and_a_wrong_type_is_not(tmp_path: Path) -> None:
    export_model("mlp").build(tmp_path, "eager", **{"openvino.pinning": True})
    export_model("mlp").build(tmp_path, "openvino", **{"openvino.pinning": True})
    with pytest.raises(SettingsError, match="pinning = 1"):
        export_model("mlp").build(tmp_path, "openvino", pinning=1)


def test_eager_is_no_engine_and_says_so(tmp_path: Path) -> None:
    coverage, _ = export_model("mlp").build(tmp_path, "eager")
    assert (coverage.ops_total, coverage.ops_in_engine, coverage.engines, coverage.flops_ratio) == (3, 0, 0, 0.0)


def test_openvino_takes_the_whole_graph(tmp_path: Path) -> None:
    coverage, _ = export_model("sequence").build(tmp_path, "openvino")
    assert coverage.ops_in_engine == coverage.ops_total > 50
    assert (coverage.flops_ratio, coverage.engines, coverage.graph_breaks) == (1.0, 1, 0)
    assert coverage.fallback_ops == ()


def test_openvino_keeps_its_weights_at_full_size(tmp_path: Path) -> None:
    exported = export_model("conv")
    exported.build(tmp_path, "openvino")
    assert (tmp_path / "model.bin").stat().st_size >= 4 * exported.module.head.weight.numel()


def has_bf16() -> bool:
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_openvino_bf16_is_bf16_and_never_silently_so(tmp_path: Path) -> None:
    exported = export_model("conv")
    if not has_bf16():
        with pytest.raises(BuildFailed, match="where bf16 was asked for"):
            exported.build(tmp_path / "bf16", "openvino", "bf16")
        return
    _, engine = exported.build(tmp_path / "bf16", "openvino", "bf16")
    assert engine.effective_precision() == "bf16"
    assert_parity(exported, engine, [exported.inputs(4)], "bf16")
    _, exact = exported.build(tmp_path / "fp32", "openvino", "fp32")
    value = exported.inputs(4)
    assert not torch.equal(engine.run(value)[0], exact.run(value)[0])


def test_a_large_input_is_read_where_it_lies_and_a_small_one_after_it_is_right(tmp_path: Path) -> None:
    exported = export_model("conv")
    _, engine = exported.build(tmp_path, "openvino")
    small, threshold = exported.inputs(1), 65_536
    import plaster_ops.engines.openvino_engine as module

    module._COPY_UP_TO_BYTES = small.nbytes
    try:
        assert_parity(exported, engine, [exported.inputs(2), small, exported.inputs(2), exported.inputs(1)], "fp32")
    finally:
        module._COPY_UP_TO_BYTES = threshold


def test_a_process_still_takes_signals_after_openvinos_engines_came_and_went(tmp_path: Path) -> None:
    """In a process of its own, as the signal would end it."""
    exported = export_model("mlp")
    for name in ("first", "second"):
        exported.build(tmp_path / name, "openvino")
    code = (
        "import faulthandler, gc, os, pickle, signal, sys; faulthandler.enable()\n"
        "from pathlib import Path; from plaster_ops.engines.registry import find_backend\n"
        "spec = pickle.loads(sys.stdin.buffer.read())\n"
        "engines = [find_backend('openvino').load(Path(folder), spec) for folder in sys.argv[1:]]\n"
        "while engines: engines.pop(0).close(); gc.collect()\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('taken'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "first"), str(tmp_path / "second")]
    given = pickle.dumps(exported.spec("openvino", "fp32"))
    done = subprocess.run(command, input=given, capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, b"taken\n"), done.stderr


def test_openvino_writes_nothing_to_the_home_folder(tmp_path: Path) -> None:
    code = "import sys; from plaster_ops.engines.openvino_model import import_openvino as f; f().Core()"
    environment = {**os.environ, "HOME": str(tmp_path)}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)
    assert not list(tmp_path.iterdir())


def test_a_backend_of_ones_own_wraps_another_and_takes_longer(tmp_path: Path) -> None:
    exported = export_model("conv")
    _, engine = exported.build(tmp_path, NAME, inner="openvino", slow_ratio=0.2)
    assert_parity(exported, engine, [exported.inputs(4)], "fp32")
