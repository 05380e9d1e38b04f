"""Rows of accuracy, size and programmability from plain mappings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanSquaredError, R2Score

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Better, Metric
from plaster_ops.plaster import accuracy, programmability, size
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.proportions import paired_interval


def value_of(rows: list[Row], metric: Metric) -> float | None:
    (row,) = [row for row in rows if row.metric.key == metric.key]
    return row.value if isinstance(row, Reading) else None


def reason_of(rows: list[Row], metric: Metric) -> str | None:
    (row,) = [row for row in rows if row.metric.key == metric.key]
    return row.reason


def row_of(rows: list[Row], metric: Metric) -> Any:
    (row,) = [row for row in rows if row.metric.key == metric.key]
    return row


def every_row(rows: list[Row], letter: str) -> list[Row]:
    """The rows, where each metric of the letter is there once; but those of the data, which speak of no engine."""
    wanted = (k for k, v in m.CATALOGUE.items() if v.letter == letter and v not in m.INPUTS)
    assert sorted(row.metric.key for row in rows) == sorted(wanted)
    return rows


def answers(wrong: int, n: int = 100) -> list[Answers]:
    truth = torch.arange(n) % 3
    said = truth.clone()
    said[:wrong] += 1
    return [Answers(outputs=torch.nn.functional.one_hot(said % 3, 3).float(), targets=truth, n=n)]


@pytest.fixture
def evaluation() -> dict[str, Any]:
    metric = MulticlassAccuracy(num_classes=3, average="micro")
    engines = {"now": answers(4), "then": answers(10)}
    found = {
        "better": "higher",
        "sets": {
            "rolling": accuracy.judge_set(metric, engines, which="rolling", reference=answers(5)),
            "golden": accuracy.judge_set(metric, {"now": answers(1, 40), "then": answers(2, 40)}, which="golden"),
        },
        "parity": {"cosine_min": 0.999, "abs_err_max": 0.01},
    }
    return dict(json.loads(json.dumps(found)))


def test_the_headline_is_the_golden_score_and_the_rolling_one_stands_beside_it(evaluation: dict[str, Any]) -> None:
    rows = accuracy.read(evaluation, "now", baseline="then")
    assert value_of(rows, m.ENGINE_SCORE) == pytest.approx(39 / 40)
    assert value_of(rows, m.ROLLING_SCORE) == pytest.approx(0.96)
    assert value_of(rows, m.REFERENCE_SCORE) == pytest.approx(0.95)
    assert value_of(rows, m.RETAINED_RATIO) == pytest.approx(0.96 / 0.95)
    assert value_of(rows, m.AGREEMENT_RATIO) == pytest.approx(0.99)
    assert value_of(rows, m.FLIPS_RATIO) == pytest.approx(0.01)
    assert str(reason_of(rows, m.OUTPUT_KL_MEAN_NATS)).startswith("not finite")
    assert value_of(rows, m.DELTA_VS_LAST_SCORE) == pytest.approx(0.06)
    assert row_of(rows, m.DELTA_VS_LAST_SCORE).ci95 == paired_interval(6, 0, 100)
    assert reason_of(rows, m.WORST_SLICE_SCORE) == "the pipeline declares no slices"
    assert reason_of(rows, m.GATE_PASSED_COUNT) == "no gate was asked"
    assert value_of(rows, m.CHURN_VS_LAST_RATIO) == pytest.approx(0.06)
    assert value_of(rows, m.NEGATIVE_FLIPS_VS_LAST_RATIO) == 0.0
    assert value_of(rows, m.MCNEMAR_PVALUE) == pytest.approx(2 * 0.5 / 2**6)
    assert value_of(rows, m.OUTPUT_COSINE_MIN_RATIO) == 0.999
    assert value_of(rows, m.EVAL_SAMPLES_COUNT) == 100
    assert value_of(rows, m.GOLDEN_SAMPLES_COUNT) == 40
    assert all(row.direction is Better.HIGHER for row in rows if row.metric is m.ENGINE_SCORE)
    every_row(rows, "A")


def test_the_baseline_has_its_own_scores_and_nothing_of_the_reference(evaluation: dict[str, Any]) -> None:
    rows = accuracy.read(evaluation, "then")
    assert value_of(rows, m.ENGINE_SCORE) == pytest.approx(38 / 40)
    assert value_of(rows, m.ROLLING_SCORE) == pytest.approx(0.9)
    assert "new engine only" in str(reason_of(every_row(rows, "A"), m.REFERENCE_SCORE))


def test_without_a_golden_set_the_headline_is_the_rolling_score_and_says_so(evaluation: dict[str, Any]) -> None:
    evaluation["sets"]["golden"] = None
    rows = accuracy.read(evaluation)
    assert value_of(rows, m.ENGINE_SCORE) == pytest.approx(0.96)
    assert reason_of(rows, m.ENGINE_SCORE) == "rolling set: no golden set"
    assert {p.key for p in accuracy.paired_differences(evaluation, "then")} == {m.ENGINE_SCORE.key, m.ROLLING_SCORE.key}


def test_without_a_baseline_the_caller_says_why(evaluation: dict[str, Any]) -> None:
    assert "first retrain" in str(reason_of(accuracy.read(evaluation), m.CHURN_VS_LAST_RATIO))
    rows = accuracy.read(evaluation, alone="bench compares with no other engine")
    assert reason_of(rows, m.MCNEMAR_PVALUE) == "bench compares with no other engine"


def test_paired_differences_are_keyed_by_their_set(evaluation: dict[str, Any]) -> None:
    golden, rolling = accuracy.paired_differences(evaluation, "then")
    assert (golden.key, golden.n) == (m.ENGINE_SCORE.key, 40)
    assert (rolling.key, rolling.n, rolling.delta) == (m.ROLLING_SCORE.key, 100, pytest.approx(0.06))
    assert accuracy.paired_differences(evaluation, "nobody") == ()


def test_an_engine_that_was_not_scored_has_a_reason(evaluation: dict[str, Any]) -> None:
    assert "'nobody' was not scored" in str(reason_of(accuracy.read(evaluation, "nobody"), m.ENGINE_SCORE))


def test_a_score_below_zero_is_lost_not_retained() -> None:
    truth = torch.linspace(-1, 1, 50)
    engines = {"now": [Answers(outputs=-truth, targets=truth, n=50)]}
    reference = [Answers(outputs=truth * 0.9, targets=truth, n=50)]
    section = accuracy.judge_set(R2Score(), engines, which="rolling", reference=reference, budget_s=0.2)
    rows = accuracy.read({"better": "higher", "sets": {"rolling": section, "golden": None}})
    assert m.LOST_SCORE.key in str(reason_of(every_row(rows, "A"), m.RETAINED_RATIO))
    assert value_of(rows, m.LOST_SCORE) == pytest.approx(0.99 + 3.0, abs=0.01)
    for metric in (m.AGREEMENT_RATIO, m.FLIPS_RATIO, m.OUTPUT_KL_MEAN_NATS):
        assert "no class axis" in str(reason_of(rows, metric))
    assert "first retrain" in str(reason_of(rows, m.CHURN_VS_LAST_RATIO))


def test_retained_is_turned_round_where_lower_is_better() -> None:
    scored = {"value": 2.0, "ci95": None, "n": 9, "method": "mean"}
    section = {
        "n": 9,
        "engines": {"now": scored},
        "reference": scored | {"value": 1.0},
        "agreement": None,
        "paired": {},
        "changed": {},
    }
    rows = accuracy.read({"better": "lower", "sets": {"rolling": section, "golden": None}})
    assert value_of(rows, m.RETAINED_RATIO) == 0.5
    section["reference"] = None
    rows = accuracy.read({"better": "lower", "sets": {"rolling": section, "golden": None}})
    assert "no eager reference" in str(reason_of(rows, m.REFERENCE_SCORE))
    assert "no eager reference" in str(reason_of(rows, m.OUTPUT_COSINE_MIN_RATIO))
    every_row(rows, "A")


def test_a_score_that_is_not_right_or_wrong_has_a_difference_and_no_p_value_of_mcnemar() -> None:
    truth = torch.linspace(-1, 1, 50)
    engines = {
        label: [Answers(outputs=truth * factor, targets=truth, n=50)] for label, factor in (("now", 0.9), ("then", 0.5))
    }
    metric = MeanSquaredError()
    section = accuracy.judge_set(metric, engines, which="rolling", better=Better.LOWER)
    rows = accuracy.read({"better": "lower", "sets": {"rolling": section, "golden": None}}, baseline="then")
    assert value_of(rows, m.DELTA_VS_LAST_SCORE) == pytest.approx((0.01 - 0.25) * float(truth.square().mean()))
    assert reason_of(rows, m.MCNEMAR_PVALUE) == "the score is not 0 or 1 a sample: paired by paired_bootstrap"
    assert "no class axis" in str(reason_of(rows, m.CHURN_VS_LAST_RATIO))


def test_without_any_answers_every_row_has_a_reason() -> None:
    rows = every_row(accuracy.read({"better": "higher", "sets": {"rolling": None, "golden": None}}), "A")
    assert all(isinstance(row, Unmeasured) and row.reason for row in rows)


def test_what_became_of_the_gate_is_1_or_0_or_a_reason() -> None:
    assert [value_of(accuracy.gate_rows(passed), m.GATE_PASSED_COUNT) for passed in (True, False)] == [1, 0]
    assert reason_of(accuracy.gate_rows(None, "waived"), m.GATE_PASSED_COUNT) == "waived"


FACTS = {
    "params_count": 100,
    "params_trainable_count": 90,
    "weights_bytes": 400,
    "layers_count": 3,
    "depth_count": 7,
    "weights_fp32_bytes": 400,
    "nodes_count": 20,
    "nodes_per_layer_mean": 20 / 3,
    "nodes_per_layer_max": 12,
    "sample_macs": 1000,
    "sample_flops": 2000,
    "layer_flops_max": 1500,
    "flops_uncounted_ops": ["aten.erf"],
    "connections_count": 95,
    "connections_unique_count": 19,
    "connections_effective_count": 990,
}
MANIFEST = {
    "files": [{"name": "a.xml", "bytes": 50}, {"name": "a.bin", "bytes": 150}],
    "build_s": 1.5,
    "coverage": {
        "ops_total": 8,
        "ops_in_engine": 6,
        "flops_ratio": 0.9,
        "engines": 2,
        "graph_breaks": 1,
        "fallback_ops": ["aten.sort", "aten.sort"],
    },
}


PROCESSES: list[dict[str, Any]] = [
    {"device": "cpu", "peak_host_bytes": 12_345, "gpu_memory": {"reason": "the engine runs on the CPU"}},
    {"device": "cpu", "peak_host_bytes": 12_000, "gpu_memory": {"reason": "the engine runs on the CPU"}},
]


def test_size_sums_the_engines_files_and_repeats_the_graphs_facts() -> None:
    trained = size.Trained(checkpoint_bytes=77)
    rows = every_row(size.read(FACTS, MANIFEST, PROCESSES, trained=trained), "S")
    assert value_of(rows, m.ENGINE_BYTES) == 200
    assert value_of(rows, m.COMPRESSION_RATIO) == 2.0
    assert (value_of(rows, m.SAMPLE_MACS), value_of(rows, m.SAMPLE_FLOPS)) == (1000, 2000)
    assert value_of(rows, m.LAYER_FLOPS_MAX_RATIO) == 0.75
    assert value_of(rows, m.DENSITY_RATIO) == 0.2
    assert (value_of(rows, m.CONNECTIONS_UNIQUE_COUNT), value_of(rows, m.CONNECTIONS_EFFECTIVE_COUNT)) == (19, 990)
    assert value_of(rows, m.NODES_PER_LAYER_MEAN_COUNT) == pytest.approx(20 / 3)
    assert value_of(rows, m.FLOPS_UNCOUNTED_OPS_COUNT) == 1
    assert reason_of(rows, m.FLOPS_UNCOUNTED_OPS_COUNT) == "aten.erf"
    assert value_of(rows, m.PEAK_HOST_BYTES) == 12345
    assert value_of(rows, m.CHECKPOINT_BYTES) == 77
    for metric in (m.PEAK_GPU_BYTES, m.TORCH_PEAK_GPU_BYTES):
        assert reason_of(rows, metric) == "the engine runs on the CPU"
    assert reason_of(rows, m.TRAIN_PEAK_GPU_BYTES) == "trained on the CPU"
    Card.of(rows)


def test_size_says_what_the_graph_does_not_tell() -> None:
    rows = every_row(size.read({}, MANIFEST), "S")
    for metric in (m.DEPTH_COUNT, m.COMPRESSION_RATIO, m.FLOPS_UNCOUNTED_OPS_COUNT, m.DENSITY_RATIO):
        assert isinstance(next(row for row in rows if row.metric is metric), Unmeasured)
    assert reason_of(rows, m.PEAK_HOST_BYTES) == reason_of(rows, m.PEAK_GPU_BYTES) == "no engine was measured"
    assert reason_of(rows, m.CHECKPOINT_BYTES) == "nothing was trained"


def test_a_model_without_products_has_no_share_of_them() -> None:
    nothing = {"sample_flops": 0, "layer_flops_max": 0, "connections_count": 0, "connections_unique_count": 0}
    rows = size.read(FACTS | nothing, MANIFEST)
    assert "no operator" in str(reason_of(rows, m.LAYER_FLOPS_MAX_RATIO))
    assert "no layer multiplies" in str(reason_of(rows, m.DENSITY_RATIO))


def test_memory_on_a_gpu_is_the_largest_of_the_processes_or_says_why_not() -> None:
    told = {"torch_peak_bytes": 5, "process_peak_bytes": None, "reason": "NVML does not tell"}
    processes = [{"device": "cuda:0", "gpu_memory": told | {"torch_peak_bytes": peak}} for peak in (5, 9)]
    trained = size.Trained(peak_gpu_bytes=11, on_gpu=True)
    rows = size.read(FACTS, MANIFEST, processes, trained=trained)
    assert value_of(rows, m.TORCH_PEAK_GPU_BYTES) == 9
    assert reason_of(rows, m.PEAK_GPU_BYTES) == "NVML does not tell"
    assert value_of(rows, m.TRAIN_PEAK_GPU_BYTES) == 11
    assert "not readable" in str(reason_of(rows, m.PEAK_HOST_BYTES))


def test_memory_that_fell_while_an_engine_was_loaded_is_not_zero() -> None:
    reason = "less memory was in use after loading the engine than before"
    rows = size.read(FACTS, MANIFEST, PROCESSES, engine_memory_reason=reason)
    assert reason_of(rows, m.ENGINE_MEMORY_BYTES) == reason


def test_the_newest_checkpoint_counts(tmp_path: Path) -> None:
    assert size.checkpoint_bytes(tmp_path) is None
    (tmp_path / "epoch-000001.ckpt").write_bytes(b"123")
    (tmp_path / "epoch-000002.ckpt").write_bytes(b"12345")
    assert size.checkpoint_bytes(tmp_path) == 5


TRIED = [
    {"backend": "tensorrt", "precision": "fp32", "ok": False, "reason": "no CUDA device"},
    {"backend": "openvino", "precision": "fp32", "ok": True, "reason": None},
]


def test_programmability_counts_coverage_pieces_and_attempts() -> None:
    rows = programmability.read(MANIFEST, TRIED, eager_p50_ms=3.0, p50_ms=1.5)
    assert value_of(rows, m.ENGINE_FLOPS_RATIO) == 0.9
    assert value_of(rows, m.ENGINE_OPS_RATIO) == 0.75
    assert value_of(rows, m.ENGINES_COUNT) == 2
    assert value_of(rows, m.UNSUPPORTED_OP_KINDS_COUNT) == 1
    assert reason_of(rows, m.UNSUPPORTED_OP_KINDS_COUNT) == "aten.sort"
    assert value_of(rows, m.PRECISIONS_TRIED_COUNT) == 2
    assert value_of(rows, m.PRECISIONS_PASSED_COUNT) == 1
    assert reason_of(rows, m.PRECISIONS_PASSED_COUNT) == "tensorrt fp32: no CUDA device"
    assert value_of(rows, m.BUILD_COLD_S) == 1.5
    assert value_of(rows, m.SPEEDUP_VS_EAGER_RATIO) == 2.0
    Card.of(rows)


def test_a_reused_engine_has_no_build_time_and_no_eager_means_no_speedup() -> None:
    rows = programmability.read(MANIFEST, TRIED, decision="reuse")
    assert "reuse" in str(reason_of(rows, m.BUILD_COLD_S))
    assert "eager was not measured" in str(reason_of(rows, m.SPEEDUP_VS_EAGER_RATIO))


def test_a_speedup_on_a_suspect_machine_is_suspect_and_one_between_two_devices_is_none() -> None:
    spoiled: dict[str, Any] = {"speedup_status": "suspect", "speedup_reason": "steal"}
    row = row_of(
        programmability.read(MANIFEST, TRIED, eager_p50_ms=3.0, p50_ms=1.5, **spoiled), m.SPEEDUP_VS_EAGER_RATIO
    )
    assert (row.value, row.status, row.reason) == (2.0, "suspect", "steal")
    apart = programmability.read(MANIFEST, TRIED, p50_ms=1.5, speedup_reason="eager ran on cpu, the engine on cuda:0")
    assert reason_of(apart, m.SPEEDUP_VS_EAGER_RATIO) == "eager ran on cpu, the engine on cuda:0"


def test_a_graph_without_flops_says_that_its_share_is_of_operators() -> None:
    manifest = MANIFEST | {"coverage": MANIFEST["coverage"] | {"has_flops": False}}  # type: ignore[operator]
    assert "the share of operators" in str(reason_of(programmability.read(manifest, []), m.ENGINE_FLOPS_RATIO))
    assert reason_of(programmability.read(MANIFEST, []), m.ENGINE_FLOPS_RATIO) is None


def test_lines_of_code_are_counted_in_any_encoding_and_a_missing_adapter_is_not_zero(tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    old.write_bytes("# -*- coding: latin-1 -*-\nname = 'Zo\u00eb'\n\n  # more\nx = 1\n".encode("latin-1"))
    assert programmability.count_code_lines([old]) == (2, ())
    lines, unread = programmability.count_code_lines([old, tmp_path / "gone.py"])
    assert (lines, unread) == (2, ("gone.py",))
    user = programmability.UserCode(adapter_lines=lines, unread=unread, adapters=2)
    rows = programmability.read(MANIFEST, TRIED, user=user)
    assert reason_of(rows, m.USER_CODE_LINES) == "adapters cannot be read: gone.py"


def test_an_empty_graph_has_no_share_of_operators() -> None:
    manifest = MANIFEST | {"coverage": MANIFEST["coverage"] | {"ops_total": 0}}  # type: ignore[operator]
    assert reason_of(programmability.read(manifest, []), m.ENGINE_OPS_RATIO) == "the graph holds no operator"
