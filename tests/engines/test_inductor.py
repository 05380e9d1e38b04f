import os
from pathlib import Path

import pytest

from plaster_ops.engines.inductor import InductorBackend, _handed_back
from plaster_ops.errors import BuildFailed, DataError
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, export_model
from tests.engines.test_backends import assert_parity

available = InductorBackend().probe()


def test_without_a_compiler_the_probe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert InductorBackend().probe().reason.startswith("no C++ compiler: no-such-compiler")


@pytest.mark.skipif(not available.ok, reason=available.reason or "usable")
def test_a_compiled_library_agrees_with_eager_and_leaves_no_file_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setenv("TMPDIR", str(outside))
    monkeypatch.delenv("PLASTER_CACHE", raising=False)
    exported = export_model("two")
    coverage, engine = exported.build(tmp_path / "engine", "inductor")
    assert (coverage.ops_in_engine, coverage.flops_ratio, coverage.engines) == (coverage.ops_total, 1.0, 1)
    assert_parity(exported, engine, [exported.inputs(rows) for rows in (1, 5, MAX_BATCH)], "fp32")
    transposed = tuple(tensor.t().contiguous().t() for tensor in models.two_inputs(4))
    assert_parity(exported, engine, [transposed], "fp32")
    with pytest.raises(DataError):
        engine.run(*models.two_inputs(MAX_BATCH + 1))
    engine.close()
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["model.pt2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "outside"]
    assert not any(path.is_file() for path in outside.rglob("*"))
    assert os.environ["TMPDIR"] == str(outside)
    assert _handed_back(tmp_path / "engine" / "model.pt2") == []


def test_a_damaged_library_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(BuildFailed, match=r"model\.pt2 does not load here"):
        InductorBackend().load(tmp_path, export_model("mlp").spec("inductor"))
